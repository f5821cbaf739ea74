"""What is at hand on a terminal: runs chosen and compared, completion, deletion, a training again."""

import csv
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

from cnnlab.comparison.verdicts import ArmResult, Tried, Tuning, best_so_far
from cnnlab.config import as_config
from cnnlab.errors import BadInput
from cnnlab.metrics import ACCURACY
from cnnlab.reading.several import chosen, differing, labels
from cnnlab.records import Epoch, RunStarted, Steps
from cnnlab.tracking import RunDir, find_run, list_runs, read
from tests.runs import records_of, small_config

Cli = Callable[..., Result]

QUICK = ("--tracking-uri", "none", "--epochs", "1", "-s", "data.train_size=128", "-q")


def config(**settings: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in settings.items():
        section, _, name = key.partition("__")
        values.setdefault(section, {})[name] = value
    return as_config(values).model_dump(mode="json")


@pytest.fixture
def three(cli: Cli) -> list[RunDir]:
    """Runs that differ in the optimizer and the learning rate."""
    for flags in (["--lr", "0.05"], ["--lr", "0.5"], ["--optimizer", "adam"]):
        assert cli("train", *QUICK, *flags).exit_code == 0
        time.sleep(1)  # ids of another second: their order is that of the runs
    return list_runs()


# settings that differ


def test_the_settings_that_differ_leave_out_what_follows_from_another() -> None:
    configs = [config(), config(optimizer__name="adam"), config(optimizer__lr=0.1, place__threads=2)]
    assert differing(configs) == [
        {"optimizer.name": "sgd", "optimizer.lr": 0.05},
        {"optimizer.name": "adam", "optimizer.lr": 0.001},
        {"optimizer.name": "sgd", "optimizer.lr": 0.1},
    ]
    assert labels(configs, ["a", "b", "c"]) == ["sgd, lr 0.05", "adam, lr 0.001", "sgd, lr 0.1"]
    assert labels(configs[:1] * 2, ["a", "b"]) == ["a", "b"]
    masks = config(data__dataset="shapes_masks")
    assert differing([config(), masks])[1] == {"data.dataset": "shapes_masks"}, "its network and loss follow from it"


ROWS = [{"lr": lr, "epochs": epochs, "model": model} for lr in (0.1, 0.01) for epochs in (1, 5) for model in ("a", "b")]


@pytest.mark.parametrize(
    "where",
    [
        "lr < 0.05",
        "lr <= 0.1 and epochs > 1",
        "not lr == 0.1 or model != 'a'",
        "0.001 < lr < 0.05",
        "not (epochs >= 5 and model == 'b') and lr > -1",
    ],
)
def test_a_condition_holds_as_in_python(where: str) -> None:
    assert chosen(ROWS, where, None) == [row for row in ROWS if eval(where, {}, dict(row))]


def test_a_missing_value_is_in_no_comparison_and_sorted_last() -> None:
    rows = [{"lr": None}, {"lr": 0.2}, {"lr": 0.1}]
    assert chosen(rows, "lr < 1", "lr") == [{"lr": 0.1}, {"lr": 0.2}]
    assert chosen(rows, None, "-lr") == [{"lr": 0.2}, {"lr": 0.1}, {"lr": None}]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("lr <", "not a condition"),
        ("lr", "lr is not a comparison"),
        ("__import__('os').system('true')", "is not a comparison"),
        ("lr < open('x')", "is not a value"),
        ("lr in [1]", "is not a comparison"),
        ("lr < 'a'", "cannot be compared"),
        ("epoch < 1", "no run has 'epoch'; did you mean epochs?"),
        ("(" * 500 + "lr" + ")" * 500, "not a condition"),
        ("", "not a condition"),
    ],
)
def test_another_condition_is_refused(where: str, said: str) -> None:
    with pytest.raises(BadInput, match=r"^--where ") as refused:
        chosen(ROWS, where, None)
    assert said in str(refused.value)


# commands


def test_runs_are_filtered_sorted_and_written_as_csv(cli: Cli, three: list[RunDir]) -> None:
    ids = [run.run_id for run in three]
    listed = cli("runs").stdout.splitlines()
    assert [line.split()[0] for line in listed[1:]] == ids
    assert [line.split("  ")[-1].strip() or line.rstrip().rpartition("  ")[2] for line in listed[1:]] == [
        "sgd, lr 0.05",
        "sgd, lr 0.5",
        "adam, lr 0.001",
    ]
    some = json.loads(cli("runs", "--where", "lr > 0.01", "--sort", "-lr", "--json").stdout)
    assert [result["run_id"] for result in some] == [ids[1], ids[0]]
    rows = list(csv.DictReader(cli("runs", "--csv", "--columns", "run_id,lr,test_accuracy").stdout.splitlines()))
    assert [(row["run_id"], float(row["lr"])) for row in rows] == list(zip(ids, (0.05, 0.5, 0.001), strict=True))
    assert {"optimizer.lr", "test_accuracy"} <= set(cli("runs", "--csv").stdout.splitlines()[0].split(","))
    assert "no run of 3" in cli("runs", "--where", "lr > 9").stdout


@pytest.mark.parametrize("width", [60, 80])
def test_a_terminal_of_60_columns_shows_each_run_and_its_settings(
    width: int, three: list[RunDir], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "from cnnlab.cli import main; import sys; main(sys.argv[1:])"
    monkeypatch.setenv("COLUMNS", str(width))
    import pty

    seen = b""

    def keep(master: int) -> bytes:
        nonlocal seen
        seen += (part := os.read(master, 9999))
        return part

    pty.spawn([sys.executable, "-c", script, "runs"], keep, lambda _: b"")
    lines = re.sub(r"\x1b\[[0-9;]*m|\r", "", seen.decode()).splitlines()
    assert all(len(line) <= width for line in lines), lines
    text = " ".join(" ".join(lines).split())
    assert "…" not in text
    assert all(word in text for word in ("sgd, lr 0.05", "sgd, lr 0.5", "adam, lr 0.001"))
    for line in lines[1:]:
        assert find_run(line.split()[0]) in three, "the beginning of the id that is shown finds the run"


def test_several_runs_have_their_curves_in_one_plot(cli: Cli, three: list[RunDir]) -> None:
    ids = [run.run_id for run in three]
    done = cli("show", *ids, "--plot", "figures")
    assert done.exit_code == 0, done.output
    assert Path("figures/curves.png").exists()
    assert [line for line in done.stdout.splitlines() if line[:2] in ("A ", "B ", "C ")] == [
        "A sgd, lr 0.05",
        "B sgd, lr 0.5",
        "C adam, lr 0.001",
    ]
    found = json.loads(cli("diff", ids[0], ids[1], "--json").stdout)
    assert found["settings"] == {"optimizer.lr": [0.05, 0.5]}
    results = json.loads(cli("runs", "--json").stdout)
    assert found["results"]["test accuracy"] == [results[0]["test_accuracy"], results[1]["test_accuracy"]]
    assert "optimizer.lr  0.05  0.5" in cli("diff", ids[0], ids[1]).stdout


def test_rm_shows_what_it_would_delete_and_deletes_it_with_yes(cli: Cli, three: list[RunDir]) -> None:
    word = three[0].run_id
    shown = cli("rm", word)
    assert (shown.exit_code, f"runs/{word} (" in shown.stdout, three[0].path.exists()) == (0, True, True)
    with three[0].hold():
        assert cli("rm", word, three[1].run_id, "--yes").exit_code == 3
    assert len(list_runs()) == 3
    assert cli("rm", word, "--yes").exit_code == 0
    assert list_runs() == three[1:]


def test_rm_deletes_a_study_whole(cli: Cli) -> None:
    done = cli("sweep", *QUICK, "--trials", "2", "--confirm", "0", "--workers", "1", "--study", "mine", "--json")
    assert done.exit_code == 0, done.output
    trial = json.loads(done.stdout)["best"]["run_id"]
    refused = cli("rm", trial, "--yes")
    assert (refused.exit_code, "cnnlab rm mine" in refused.stderr) == (2, True)
    with find_run(trial).hold():
        assert cli("rm", "mine", "--yes").exit_code == 3
    assert "2 runs below it" in cli("rm", "mine").stdout
    assert cli("rm", "mine", "--yes").exit_code == 0
    assert list(Path("mlruns/studies").iterdir()) == []


def test_rerun_trains_the_recorded_config_to_the_same_weights(cli: Cli) -> None:
    first = json.loads(cli("train", *QUICK, "--lr", "0.07", "--json").stdout)
    again = cli("rerun", "last", "-q", "--json")
    assert (again.exit_code, again.stderr) == (0, "")
    assert json.loads(again.stdout)["weights_sha256"] == first["weights_sha256"]
    assert json.loads(again.stdout)["run_id"] != first["run_id"]


def test_rerun_warns_if_the_commit_or_a_version_differs(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import cnnlab.run

    assert cli("train", *QUICK).exit_code == 0
    now = cnnlab.run.provenance()
    monkeypatch.setattr(cnnlab.run, "provenance", lambda: {**now, "version.torch": "0.1"})
    said = cli("rerun", "last", "-q").stderr
    assert said.count("\n") == 1
    assert "and is 0.1 now; the results may differ" in said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["runs", "--where", "lr <"], "not a condition"),
        (["runs", "--sort", "lrr"], "--sort: no run has 'lrr'; did you mean lr?"),
        (["runs", "--columns", "run_id,nothing_like_it"], "--columns: no run has 'nothing_like_it'"),
        (["runs", "--json", "--csv"], "keep one"),
        (["show", "last", "no-such"], "no-such: no run begins so"),
        (["diff", "last", "last"], "the same run twice"),
        (["diff", "last", "no-such"], "no-such: no run begins so"),
        (["rm", "no-such"], "no-such: no run begins so"),
        (["rm", "outside"], "it lies outside mlruns"),
        (["rerun", "no-such"], "no-such: no run begins so"),
        (["--install-completion", "tcsh"], "it must be one of bash, zsh, fish"),
        (["compare", "--over", "lr=0.1,0.2"], "add --tune none"),
        (["compare", "--over", "lr=0.1,0.2", "--tune", "none", "--trials", "3"], "--tune none and --trials"),
        (["compare", "--over", "lr=0.1,0.2", "--tune", "all"], "tune: 'all' is not allowed"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(args: list[str], said: str, cli: Cli) -> None:
    assert cli("train", *QUICK).exit_code == 0
    assert cli("train", *QUICK, "--run-dir", "outside").exit_code == 0
    done = cli(*args)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


# curves


def test_the_curves_of_a_sweep_share_one_scale() -> None:
    from cnnlab.cli.display.sweep_display import BARS, curves

    slots: Any = [
        SimpleNamespace(trial=SimpleNamespace(intermediate_values=dict(enumerate(values))))
        for values in ([0.0, 0.5], [0.9, 1.0], [float("nan")])
    ]
    drawn, scale = curves([*slots, SimpleNamespace(trial=None)])
    assert drawn[0][0] == BARS[0]
    assert drawn[1][1] == BARS[-1]
    assert BARS.index(drawn[0][1]) < BARS.index(drawn[1][0])
    assert drawn[2:] == ["", ""]
    assert scale == "0 to 1"


def test_after_a_resume_the_curve_begins_at_the_first_step(cli: Cli) -> None:
    from cnnlab.cli.display.run_display import LiveRun

    assert cli("train", "--tracking-uri", "none", "--epochs", "3", "-q", "-s", "data.train_size=128").exit_code == 0
    records = read(find_run("last").journal_file)[0]
    at = next(index for index, record in enumerate(records) if isinstance(record, Epoch))
    started = next(record for record in records if isinstance(record, RunStarted))
    from dataclasses import replace

    live = LiveRun(lambda *parts: None, records)
    live.show(replace(started, step=records[at].last, epoch=1))
    for record in records[at + 1 :]:
        live.show(record)
    steps = [step for r in live.records if isinstance(r, Steps) for step in range(r.first, r.last + 1)]
    assert steps == list(range(1, steps[-1] + 1)), "each step once, from the first"
    assert [record.epoch for record in live.records if isinstance(record, Epoch)] == [1, 2, 3]


def test_the_bar_ends_at_the_last_step_even_if_batches_grow() -> None:
    from cnnlab.cli.display.run_display import LiveRun

    growing = {"schedule__name": "step", "schedule__step_epochs": 1, "schedule__max_batch_size": 32}
    for settings, totals in (({}, {12}), (growing, {12, 4 + 2 * 4, 6 + 2})):
        live, found = LiveRun(lambda *parts: None), set()
        for record in records_of(small_config(**settings)):
            live.show(record)
            assert live.started
            found.add(live._total(live.started))
        assert found == totals
        assert live._total(live.started) == live.step


def test_the_expected_best_counts_the_untuned_trial_first() -> None:
    values = [0.5, 0.3, 0.9, 0.6]
    tried = (Tried(values[0], 0.1, untuned=True), *(Tried(value, 0.1) for value in values[1:]))
    arm = ArmResult("a", (Tuning(0, tried, 2, {}, (), ()),))
    orders = list(itertools.permutations(values[1:]))
    expected = [fmean(max(values[0], *order[: k - 1]) if k > 1 else values[0] for order in orders) for k in range(1, 5)]
    assert [mean for mean, _ in best_so_far(arm, ACCURACY)] == pytest.approx(expected)


# completion


def completed(text: str, home: Path) -> list[str]:
    """The candidates of a real bash that has read the installed script."""
    (home / "bin").mkdir(exist_ok=True)
    program = home / "bin" / "cnnlab"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cnnlab "$@"\n')
    program.chmod(0o755)
    words = [
        part for word in text.split(" ") for part in (word.replace("=", " = ").split(" ") if "=" in word else [word])
    ]
    words = [word for word in words[:-1] if word] + words[-1:]
    script = (
        f"source {home}/.config/cnnlab/complete.bash; COMP_WORDS=({' '.join(map(repr, words))}); "
        f"COMP_CWORD={len(words) - 1}; compopt() {{ :; }}; _cnnlab_completion cnnlab; "
        f"printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    environment = {
        **os.environ,
        "PATH": f"{home}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


def test_bash_completes_commands_settings_values_and_runs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for _ in range(2):
        assert cli("--install-completion", "bash").exit_code == 0
    assert (tmp_path / ".bashrc").read_text().count("source") == 1
    result = json.loads(cli("train", *QUICK, "--json").stdout)
    assert cli("train", *QUICK).exit_code == 0
    assert completed("cnnlab tra", tmp_path) == ["train"]
    assert completed("cnnlab train -s model.act", tmp_path) == ["model.activation="]
    assert completed("cnnlab train -s model.activation=r", tmp_path) == ["relu"]
    assert completed("cnnlab train --optimizer adamw", tmp_path) == ["adamw"]
    shown = completed("cnnlab show 2", tmp_path)
    assert len(shown) == 2
    (line,) = [line for line in shown if line.startswith(result["run_id"])]  # two runs of one second have any order
    assert line.startswith(f"{result['run_id']}  (20")
    assert line.endswith(f", acc {result['test_accuracy']:.4f})")
    assert completed(f"cnnlab rm {result['run_id'][:-1]}", tmp_path) == [result["run_id"]]


@pytest.mark.parametrize("words", ["train --opt", "show 2", "train -s model.a", "runs --s"])
def test_completion_imports_nothing_heavy(words: str, cli: Cli) -> None:
    assert cli("train", *QUICK).exit_code == 0
    code = (
        "import sys\nfrom cnnlab.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "print({'torch', 'mlflow', 'optuna', 'rich', 'matplotlib'} & set(sys.modules), file=sys.stderr)"
    )
    count = str(len(words.split()))
    environment = {"_CNNLAB_COMPLETE": "zsh_complete", "COMP_WORDS": f"cnnlab {words}", "COMP_CWORD": count}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "PYTHONPATH": str(Path(__file__).parents[1])},
        check=True,
    )
    assert done.stderr == "set()\n"
    assert done.stdout


# learning rates


def test_a_comparison_of_learning_rates_tunes_nothing_and_draws_their_losses(cli: Cli) -> None:
    over = ("--over", "optimizer.lr=0.001,0.05,1e30", "--tune", "none", "--seeds", "2")
    done = cli("compare", *QUICK, *over, "--workers", "1", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    arms = {arm["name"]: arm for arm in found["optimizers"]}
    assert [(arms[name]["trials"], arms[name]["seeds"]) for name in ("0.001", "0.05")] == [(1, 2), (1, 2)]
    assert arms["1e-30"]["failed"] == 1, "an arm that diverges is drawn and judged too"
    report = Path("mlruns/studies", found["study"], "report")
    assert {"losses.png", "curves.png"} <= {path.name for path in report.iterdir()}
    assert "losses" in (report / "compare.html").read_text() or "Training loss" in (report / "compare.html").read_text()
