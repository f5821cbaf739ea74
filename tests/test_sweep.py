"""`cnnlab sweep` with real Optuna, MLflow and training: budget, resuming, pruning, findings, bad input."""

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import yaml
from click.testing import Result

from cnnlab.errors import BadInput
from cnnlab.records import Epoch, RunEnded, RunStarted, SweepEnded, TrialEnded
from cnnlab.search import Sweep, sweep_report
from cnnlab.search.sampling import make_pruner
from cnnlab.search.study import stored_plan
from cnnlab.tracking import RunDir, last, list_studies, list_trials, read
from tests.runs import workers_of

Cli = Callable[..., Result]
Process = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.usefixtures("one_plot")

QUICK = ("--tracking-uri", "none", "--epochs", "2", "-s", "data.train_size=128", "--confirm", "0", "--json")
HERE = (*QUICK, "--workers", "1")


def swept(done: Any) -> dict[str, Any]:
    assert done.stdout.count("\n") == 1, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def study() -> optuna.Study:
    (run,) = list_studies()
    plan = stored_plan(run.path.name, str(run.path / "optuna.journal"))
    assert plan is not None
    from cnnlab.search.study import open_or_make

    return open_or_make(plan.study, plan.storage, plan.score)


def values() -> dict[int, tuple[dict[str, Any], Any]]:
    return {trial.number: (trial.params, trial.values) for trial in study().trials}


# what it prints and leaves


PLOTS = dict(sweep_report.PLOTS)


def test_a_sweep_from_end_to_end(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_report, "PLOTS", PLOTS)
    done = cli("sweep", "--trials", "6", "--pruner", "none", *HERE)
    found = swept(done)
    assert done.exit_code == 0
    for key in "study storage sampler pruner trials best seconds warnings".split():  # noqa: SIM905
        assert key in found
    assert found["trials"] == {"total": 6, "complete": 6, "pruned": 0, "infeasible": 0, "failed": 0}
    assert set(found["best"]) == {"trial", "value", "params", "run_id"}
    assert found["best"]["value"] >= found["baseline"]
    folder = Path("mlruns/studies", found["study"])
    rows = list(csv.DictReader((folder / "report/trials.csv").read_text().splitlines()))
    assert [row["trial"] for row in rows] == list("012345")
    assert max(float(row["value"]) for row in rows) == found["best"]["value"]
    page = (folder / "report/report.html").read_text()
    assert "too few trials to tell" in page
    assert "src=" not in page.replace("src=data:", "").split("<body>")[0], "the page loads something"
    assert {path.name for path in folder.glob("report/*.png")} >= {"history.png", "slice.png", "timeline.png"}


def test_nothing_in_a_plot_lies_on_anything_else(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    save = Figure.savefig
    boxes: dict[str, list[Any]] = {}
    names: list[str] = []

    def saved(figure: Figure, path: Path, **how: Any) -> None:
        save(figure, path, **how)
        boxes[path.stem] = [axes.get_window_extent() for axes in figure.axes]
        if path.stem == "parallel":
            names.extend(text.get_text() for text in figure.axes[0].get_xticklabels())

    monkeypatch.setattr(Figure, "savefig", saved)
    monkeypatch.setattr(sweep_report, "PLOTS", {name: PLOTS[name] for name in ("slice", "contour", "parallel")})
    cli("sweep", "--trials", "4", "--pruner", "none", "--sampler", "random", *HERE)
    for plot in ("slice", "contour"):
        assert len(boxes[plot]) > 5
        assert not any(a.overlaps(b) for a, b in combinations(boxes[plot], 2)), plot
    assert "optimizer.weight_decay" in names, "Optuna cuts names at 20 characters"


@pytest.mark.parametrize("width", [60, 100])
def test_the_live_view_cuts_the_settings_first(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from cnnlab.cli.display import sweep_display

    monkeypatch.setattr(sweep_display, "settings_text", lambda settings: "lr 0.1, " * 20)
    plan: Any = SimpleNamespace(searched=lambda config: {})
    slot: Any = SimpleNamespace(
        number=12, config={}, trial=SimpleNamespace(intermediate_values=dict(enumerate(range(20))))
    )
    console = Console(width=width)
    with console.capture() as capture:
        drawn, scale = sweep_display.curves([slot])
        console.print(sweep_display._table("best", plan, [slot], ["0.9790"], drawn, scale))
    heading, row = capture.get().splitlines()
    assert heading.split() == ["best", "curve,", "0", "to", "19", "settings"]
    assert row.startswith(f" trial 12  0.9790  {drawn[0]}  lr 0.1")
    assert row.rstrip().endswith("…")
    assert len(row) <= width


def test_trial_0_is_the_experiment_as_written_and_best_yaml_repeats_the_best(cli: Cli) -> None:
    found = swept(cli("sweep", "--trials", "3", "--pruner", "none", "--search", "lr=0.01:0.02", *HERE))
    alone = swept(cli("train", *QUICK[:6], "--json"))
    assert found["baseline"] == alone["best_val_accuracy"]
    run = cli("show", found["best"]["run_id"], "--json")
    again = swept(cli("train", f"mlruns/studies/{found['study']}/best.yaml", "--tracking-uri", "none", "--json"))
    assert again["weights_sha256"] == json.loads(run.stdout)["weights_sha256"]
    trial_0 = read(RunDir(Path("mlruns/studies", found["study"], "trials/000")).journal_file)[0]
    config = last(trial_0, RunStarted)
    assert config is not None
    assert trial_0[0].config["optimizer"]["lr"] == 0.05  # type: ignore[union-attr]  # outside the range, and trained all the same


def test_a_grid_is_tried_whole_and_the_experiment_beside_it(cli: Cli) -> None:
    """Its learning rate, 0.05, is on neither grid point, nor is it a batch size's fault."""
    words = ("--sampler", "grid", "--pruner", "none", "--trials", "30", *HERE)
    found = swept(cli("sweep", "--search", "lr=0.1,0.2", "--search", "batch_size=32,64", *words))
    assert found["trials"]["total"] == 5
    tried = [(run.created.config["optimizer"]["lr"], run.created.config["data"]["batch_size"]) for run in list_trials()]
    assert sorted(tried) == [(0.05, 64), (0.1, 32), (0.1, 64), (0.2, 32), (0.2, 64)]
    assert not any("are few" in warning for warning in found["warnings"]), "there are no more"


@pytest.mark.parametrize(("lr", "trials"), [("0.01,0.02,0.03,0.04,0.06", 6), ("0.01,0.02,0.03,0.04,0.05", 5)])
@pytest.mark.parametrize("asked", [(), ("--trials", "5")])
def test_a_grid_of_five_values_is_these_and_the_experiment(
    lr: str, trials: int, asked: tuple[str, ...], cli: Cli
) -> None:
    found = swept(cli("sweep", "--sampler", "grid", "--search", f"lr={lr}", *asked, *HERE))
    assert found["trials"]["total"] == found["trials"]["complete"] + found["trials"]["pruned"] == trials
    assert not any("trials" in warning for warning in found["warnings"])
    assert {run.created.config["optimizer"]["lr"] for run in list_trials()} == {0.05, *map(float, lr.split(","))}


def test_the_command_that_is_suggested_searches_each_setting_once() -> None:
    from cnnlab.cli.display.sweep_display import _again

    typed = ["sweep", "--search", "lr=1:2", "--search=dropout=0:0.5", "--study", "a", "--trials", "3"]
    assert _again(typed, ("--extend", "a", "--search", "optimizer.lr=1:3")) == (
        "cnnlab sweep --search=dropout=0:0.5 --trials 3 --extend a --search optimizer.lr=1:3"
    )
    assert _again(typed, ("--trials", "20")) == (
        "cnnlab sweep --search lr=1:2 --search=dropout=0:0.5 --study a --trials 20"
    )
    assert _again(typed, ("-s", "model.dropout=0.0")) == (
        "cnnlab sweep --search lr=1:2 --trials 3 -s model.dropout=0.0"
    )


@pytest.mark.parametrize(
    "typed", ["--epochs 1", "--epochs=1", "-s training.epochs=1", "-straining.epochs=1", "--set=training.epochs=1"]
)
def test_the_command_that_is_suggested_gives_no_setting_twice(typed: str) -> None:
    from cnnlab.cli.display.sweep_display import _again

    assert _again(["sweep", "-q", *typed.split(), "--lr", "0.1"], ("--epochs", "2")) == (
        "cnnlab sweep -q --lr 0.1 --epochs 2"
    )


@pytest.mark.long
def test_what_is_suggested_is_not_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the epochs are another experiment, so another study."""
    words = ("sweep", "--study", "mine", "--trials", "2", "--confirm", "0", "--workers", "1", "--tracking-uri", "none")
    monkeypatch.setattr(sys, "argv", ["cnnlab", *words, "--epochs", "1"])
    for shown in (cli(*words, "--epochs", "1").stdout, cli("show", "mine").stdout):
        assert shown.splitlines()[-1] == "  cnnlab diagnose mine", "there are several warnings"
    (line,) = [line for line in cli("diagnose", "mine").stdout.splitlines() if "--epochs 2" in line]
    assert "--study" not in line
    assert "--tracking-uri none" in line, "what was typed is there"


def test_the_same_seed_gives_the_same_trials_and_values(cli: Cli, tmp_path: Path, monkeypatch: Any) -> None:
    found = []
    for name in "ab":
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert cli("sweep", "--trials", "12", *HERE).exit_code == 0
        found.append(values())
    assert found[0] == found[1]
    assert len({str(params) for params, _ in found[0].values()}) == 12


def test_seeds_are_averaged_and_confirmation_uses_fresh_ones(cli: Cli) -> None:
    words = [*HERE, "--seeds", "2", "--confirm-seeds", "2", "--pruner", "none"]
    words[words.index("--confirm") + 1] = "2"
    found = swept(cli("sweep", "--trials", "4", *words))
    for trial in study().trials:
        scores = trial.user_attrs["cnnlab:scores"]
        assert len(scores) == 2
        assert trial.value == sum(scores) / 2
    assert {confirmed["trial"] for confirmed in found["confirmed"]} >= {0, found["best"]["trial"]}
    seeds: dict[str, set[int]] = {"trials": set(), "confirm": set()}
    for run in list_trials():
        stage = run.path.relative_to(Path("mlruns/studies", found["study"]).absolute()).parts[0]
        seeds[stage].add(run.created.config["training"]["seed"])
        ended = last(read(run.journal_file)[0], RunEnded)
        assert ended is not None
        assert (ended.test_score is None) == (stage == "trials"), "a search does not look at the test split"
    assert seeds["trials"] == {0, 1}
    assert len(seeds["confirm"]) == 2
    assert not seeds["trials"] & seeds["confirm"]
    for confirmed in found["confirmed"]:
        assert len(confirmed["scores"]) == 2
        assert confirmed["ci_low"] is None, "two values are no sample"
    means = {confirmed["trial"]: confirmed["mean"] for confirmed in found["confirmed"]}
    assert means[found["best"]["trial"]] == max(means.values()), "the best is that of the confirmation"
    best = Path("mlruns/studies", found["study"], "best.yaml").read_text()
    assert f"trial {found['best']['trial']}," in best
    assert "the best mean on fresh seeds" in best
    runs = {run.path: run.created for run in list_trials()}
    for path, created in runs.items():
        if path.name.startswith("seed-"):
            assert created.parent == runs[path.parent].run_id, "the seeds are below their trial"
            ended = last(read(path.parent / "journal.jsonl")[0], RunEnded)
            assert ended is not None
            assert ended.best_score is not None


def test_a_grid_tries_every_point_once(cli: Cli) -> None:
    optimizers = {"sgd": {"lr": [0.01, 0.05], "momentum": [0.5, 0.9]}, "adam": {"lr": [0.001, 0.01]}}
    Path("grid.yaml").write_text(yaml.safe_dump({"search": {"optimizer": optimizers, "batch_size": [32, 64]}}))
    found = swept(cli("sweep", "grid.yaml", "--sampler", "grid", "--pruner", "none", "--trials", "50", *HERE))
    assert found["trials"]["total"] == 2 * (4 + 2)
    assert len({str(sorted(trial.params.items())) for trial in study().trials}) == 12


def test_a_space_of_a_few_points_is_tried_point_by_point(cli: Cli) -> None:
    words = ("--search", "epochs=1,2,3", "--search", "model.activation=ReLU,tanh", "--only", "--pruner", "none", *HERE)
    done = cli("sweep", *words)
    assert "the space has only 6 points; each is tried once" in done.stderr
    tried = [run.created.config for run in list_trials()]
    assert sorted((config["training"]["epochs"], config["model"]["activation"]) for config in tried) == [
        (epochs, activation) for epochs in (1, 2, 3) for activation in ("relu", "tanh")
    ]
    assert swept(done)["sampler"] == "grid"
    again = cli("sweep", *words, "--trials", "30")
    assert (again.exit_code, swept(again)["trials"]["total"], len(list_studies())) == (0, 6, 1)
    assert swept(cli("sweep", "--search", "epochs=1,2", "--only", "--sampler", "TPE", *HERE))["sampler"] == "tpe"


def test_doubts_about_the_data_are_said_before_and_after(cli: Cli) -> None:
    few = "few validation images (30): each is 3.3 % of them"
    words = ("sweep", "--trials", "2", *HERE, "-s", "data.val_fraction=0.02")
    done = cli(*words)
    assert few in done.stderr.splitlines()
    found = swept(done)
    assert few in found["warnings"]
    assert few in json.loads(cli("show", found["study"], "--json").stdout)["warnings"]


@pytest.mark.parametrize("sampler", ["random", "qmc", "gp", "cmaes"])
def test_every_sampler_draws_a_conditional_space(sampler: str, cli: Cli) -> None:
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    words = ("--search", "optimizer=sgd,adam", "--search", "momentum=0.5:0.9", "--search", "batch_size=16:64")
    found = swept(cli("sweep", "--sampler", sampler, "--pruner", "none", "--trials", "5", *words, *HERE))
    assert found["trials"]["complete"] + found["trials"]["infeasible"] == 5
    for run in list_trials():
        optimizer = run.created.config["optimizer"]
        assert ("momentum" in optimizer) == (optimizer["name"] == "sgd")
        assert ("betas" in optimizer) == (optimizer["name"] == "adam")


def test_the_patient_pruner_waits_for_a_fall() -> None:
    study = optuna.create_study(direction="maximize", pruner=make_pruner("patient", epochs=4))

    def last_epoch(curve: list[float]) -> int:
        """The epoch after which a trial with this curve is pruned, or its last."""
        trial = study.ask()
        for epoch, accuracy in enumerate(curve, 1):
            trial.report(accuracy, epoch)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                return epoch
        study.tell(trial, curve[-1])
        return len(curve)

    for _ in range(4):
        last_epoch([0.6, 0.7, 0.8, 0.9])
    assert last_epoch([0.1, 0.1, 0.1, 0.2]) == 4  # below the median all along, and not worse than it was
    assert last_epoch([0.3, 0.2, 0.2, 0.2]) == 3


@pytest.mark.parametrize("pruner", ["median", "asha", "hyperband"])
def test_a_pruned_trial_has_its_curve_up_to_where_it_was_pruned(pruner: str, cli: Cli) -> None:
    learns = ("-s", "data.train_size=400", "--batch-size", "16", "--epochs", "4", *QUICK[:2], *QUICK[-3:])
    learns_or_not = "lr=0.03,0.04,0.05,1e-6,1e-7"  # an accuracy at chance stays below that of most
    words = ("--search", learns_or_not, "--only", "--sampler", "random", "--trials", "12", "--workers", "1", *learns)
    found = swept(cli("sweep", "--pruner", pruner, *words))
    assert found["trials"]["pruned"] > 0
    assert found["trials"]["pruned"] + found["trials"]["complete"] == 12
    assert study().trials[0].state == optuna.trial.TrialState.COMPLETE
    for trial in study().trials:
        records = read(RunDir(Path(trial.user_attrs["cnnlab:run_dir"])).journal_file)[0]
        curve = {record.epoch: record.val["accuracy"] for record in records if isinstance(record, Epoch)}
        assert trial.intermediate_values == curve
        ended = last(records, RunEnded)
        assert ended is not None
        if trial.state == optuna.trial.TrialState.PRUNED:
            assert ended.status == "pruned"
            assert len(curve) < 4


def test_a_diverged_trial_is_infeasible_and_the_sweep_goes_on_and_says_so(cli: Cli) -> None:
    done = cli("sweep", "--search", "lr=1e18,1e19,0.05", "--sampler", "grid", "--pruner", "none", *HERE)
    found = swept(done)
    assert found["trials"]["infeasible"] == 2
    assert found["best"]["params"] == {"optimizer.lr": 0.05}
    assert any("diverged" in warning for warning in found["warnings"])


def test_a_wider_range_takes_over_the_trials_of_the_old_study(cli: Cli) -> None:
    more = [word.replace("train_size=128", "train_size=500") for word in HERE]
    words = [*more, "--batch-size", "16", "--lr", "1e-3", "--only", "--pruner", "none"]
    old = swept(cli("sweep", "--trials", "8", *words, "--search", "lr=1e-5:1e-3:log"))["study"]
    widened = ["--extend", old, "--search", "lr=1e-5:1e-2:log"]
    wider = swept(cli("sweep", "--trials", "10", *words, *widened))
    assert wider["study"] != old
    assert wider["trials"]["total"] == 10
    trained = [run for run in list_trials() if wider["study"] in str(run.path)]
    assert len(trained) == 2, "the other eight were taken over"


# interrupted, killed, gone on with


def test_the_same_command_goes_on_to_exactly_what_was_asked(cli: Cli) -> None:
    assert swept(cli("sweep", "--trials", "2", *HERE))["trials"]["total"] == 2
    before = values()
    assert swept(cli("sweep", "--trials", "5", *HERE))["trials"]["total"] == 5
    assert swept(cli("sweep", "--trials", "5", *HERE))["trials"]["total"] == 5
    assert len(study().trials) == 5
    assert {number: values()[number] for number in before} == before


def test_a_sweep_that_was_interrupted_ends_with_the_trials_of_one_that_was_not(
    cli: Cli, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "whole").mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    words = ("--trials", "8", "--sampler", "random", "--pruner", "none", *HERE)
    assert cli("sweep", *words).exit_code == 0
    whole = {tuple(params.items()): value for params, value in values().values()}
    monkeypatch.chdir(tmp_path)
    running = subprocess.Popen(
        [sys.executable, "-m", "cnnlab", "sweep", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _wait_until(lambda: len(list(Path("mlruns").glob("studies/*/trials/003/journal.jsonl"))) == 1)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130
    assert swept(cli("sweep", *words))["trials"]["total"] == 8
    complete = [trial for trial in study().trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert {tuple(trial.params.items()): trial.values for trial in complete} == whole


def test_100_trials_are_100_whatever_is_killed_meanwhile(tmp_path: Path) -> None:
    words = ["--trials", "100", "--workers", "4", "--pruner", "none", "--sampler", "random", *QUICK]
    running = subprocess.Popen(
        [sys.executable, "-m", "cnnlab", "sweep", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    chance, kills = random.Random(0), 0
    while running.poll() is None:
        time.sleep(chance.uniform(0.0, 0.1))
        workers = workers_of(running.pid)
        begun = len(list(Path("mlruns").glob("studies/*/trials/*/journal.jsonl")))
        if workers and begun > 8 * (kills + 1):  # by what has been done, for a machine may be fast
            os.kill(chance.choice(workers), signal.SIGKILL)
            kills += 1
    found = json.loads(running.communicate()[0])
    assert kills > 3
    assert found["trials"]["total"] == 100
    assert found["trials"]["failed"] == 0
    ended = [trial for trial in study().trials if trial.state.is_finished() and trial.state.name != "FAIL"]
    assert len(ended) == len({trial.user_attrs["cnnlab:slot"] for trial in ended}) == 100
    records = read(list_studies()[0].journal_file)[0]
    assert sorted(record.trial for record in records if isinstance(record, TrialEnded)) == list(range(100))


@pytest.mark.slow
def test_a_tmpdir_too_long_for_sockets(process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork server has its socket there, and so has each process that prepares batches."""
    folder = tmp_path / ("x" * 90)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    streamed = ("--tracking-uri", "none", "--epochs", "1", "-s", "place.residence=stream", "--json")
    assert json.loads(process("train", *streamed).stdout)["status"] == "finished"
    found = swept(process("sweep", "--workers", "2", "--trials", "2", "--confirm", "0", *streamed, timeout=400))
    assert found["trials"]["failed"] == 0


def test_a_sweep_whose_process_was_killed_is_marked_and_goes_on(cli: Cli) -> None:
    words = ("--trials", "6", "--workers", "2", "--pruner", "none", *QUICK)
    running = subprocess.Popen(
        [sys.executable, "-m", "cnnlab", "sweep", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _wait_until(lambda: len(list(Path("mlruns").glob("studies/*/trials/002/journal.jsonl"))) == 1)
    running.kill()
    running.wait()
    assert swept(cli("sweep", *words))["trials"]["total"] == 6
    ended = last(read(list_studies()[0].journal_file)[0], SweepEnded)
    assert ended is not None
    assert ended.status == "finished"


def test_two_processes_join_one_study(cli: Cli) -> None:
    words = ("--study", "ours", "--trials", "12", "--pruner", "none", "--workers", "1", *QUICK)
    first = subprocess.Popen(
        [sys.executable, "-m", "cnnlab", "sweep", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    second = swept(cli("sweep", *words))
    assert json.loads(first.communicate()[0])["trials"] == second["trials"]
    assert first.returncode == 0
    assert second["trials"]["total"] == 12
    assert len(study().trials) == 12


def test_without_a_study_named_a_second_process_is_told_how_to_join(cli: Cli) -> None:
    words = ("--trials", "1000", "--workers", "1", *QUICK)
    first = subprocess.Popen(
        [sys.executable, "-m", "cnnlab", "sweep", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _wait_until(lambda: len(list(Path("mlruns").glob("studies/*/trials/000/journal.jsonl"))) == 1)
    second = cli("sweep", *words)
    first.terminate()
    assert first.wait(60) == 143
    assert second.exit_code == 3
    assert "join it by --study" in second.stderr


@pytest.mark.parametrize("written", ["", '{"record": "run_cre'])
def test_a_run_that_is_only_being_made_is_looked_at_again_later(written: str) -> None:
    from cnnlab.courier import Deliveries
    from cnnlab.search.run_sweep import deliver_begun

    Path("trial").mkdir()
    Path("trial/journal.jsonl").write_text(written)
    slot: Any = SimpleNamespace(run_dir="trial", attempts=(None,))
    with Deliveries("none") as deliveries:
        deliver_begun([slot], deliveries)
        assert not deliveries.has(RunDir(Path("trial")), 1)
        assert deliveries.wait() is None


def test_a_signal_while_the_plots_are_drawn_ends_with_its_code(cli: Cli, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        "cnnlab.search.sweep_report.write_report", lambda findings: os.kill(os.getpid(), signal.SIGTERM)
    )
    ended = cli("sweep", "--trials", "2", *HERE)
    assert ended.exit_code == 143
    assert "the same command goes on" in ended.stderr


def test_a_trial_that_crashes_is_tried_again_and_then_left(cli: Cli, monkeypatch: Any) -> None:
    from cnnlab.search import trial as trials

    true = trials.record_run

    def faulty(prepared: Any, run: RunDir, **settings: Any) -> Any:
        if run.path.name == "002":
            raise RuntimeError("CUDA error: unspecified launch failure")
        return true(prepared, run, **settings)

    monkeypatch.setattr(trials, "record_run", faulty)
    found = swept(cli("sweep", "--trials", "4", "--retries", "1", *HERE))
    assert found["trials"]["failed"] == 1
    assert found["trials"]["total"] == 4
    causes = [trial.user_attrs.get("cnnlab:reason", "") for trial in study().trials]
    assert sum("launch failure" in cause for cause in causes) == 2


# in MLflow


def test_a_sweep_in_mlflow_is_a_parent_with_its_trials_below_it(process: Process) -> None:
    import mlflow

    words = [word for word in HERE if word not in ("--tracking-uri", "none", "--confirm", "0")]
    grid = ("--search", "lr=1e18,0.05,0.01", "--sampler", "grid", "--pruner", "none", "--confirm-seeds", "1")
    done = process("sweep", *words, *grid)
    found = swept(done)
    if "run cnnlab sync" in done.stderr:  # a machine so busy that the courier had no turn
        assert process("sync").returncode == 0
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlruns/mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("cnnlab")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags.get("cnnlab.kind") == "sweep"]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["cnnlab.best.optimizer.lr"] == str(found["best"]["params"]["optimizer.lr"])
    assert parent.data.metrics["best/val_accuracy"] == found["best"]["value"]
    assert json.loads(parent.data.params["search.optimizer.lr"]) == [1e18, 0.05, 0.01]
    files = {file.path for file in client.list_artifacts(parent.info.run_id, "report")}
    assert {"report/report.html", "report/trials.csv", "report/history.png"} <= files
    assert "best.yaml" in {file.path for file in client.list_artifacts(parent.info.run_id)}
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    search = {run.data.tags["cnnlab.trial"]: run for run in children if run.data.tags["cnnlab.stage"] == "search"}
    assert sorted(search) == ["0", "1", "2"]
    assert sorted(run.data.tags["cnnlab.trial_state"] for run in search.values()) == [
        "complete",
        "complete",
        "infeasible",
    ]
    for run in list_trials():
        ended = last(read(run.journal_file)[0], RunEnded)
        assert ended is not None
        (child,) = [child for child in children if child.data.tags["cnnlab.run_id"] == run.run_id]
        if ended.status == "finished":
            history = client.get_metric_history(child.info.run_id, "train/loss")
            assert [point.step for point in history] == list(range(1, ended.step + 1))


# other commands


def test_studies_and_show_name_what_a_sweep_found(cli: Cli) -> None:
    assert "cnnlab sweep makes one" in cli("studies").stdout
    found = swept(cli("sweep", "--trials", "3", *HERE))
    journal = Path("mlruns/studies", found["study"], "optuna.journal")
    written = journal.read_bytes()
    (row,) = json.loads(cli("studies", "--json").stdout)
    assert row["study"] == found["study"]
    assert row["best_value"] == found["best"]["value"]
    assert found["study"] in cli("studies").stdout
    shown = json.loads(cli("show", found["study"], "--json").stdout)
    assert shown["best"] == found["best"]
    assert journal.read_bytes() == written, "who looks writes nothing"
    assert cli("runs", "--json").stdout == "[]\n"


def test_a_dry_run_prints_the_space_and_the_first_trials_and_writes_nothing(cli: Cli) -> None:
    done = cli("sweep", "--dry-run", "--search", "lr=1e-3:1:log", *HERE)
    assert done.exit_code == 0
    assert "0.001 .. 1 (log)" in done.stdout
    assert "time: about" in done.stdout
    assert not Path("mlruns").exists()
    (first, second, *_) = [line for line in done.stdout.splitlines() if "optimizer.lr=" in line]
    assert "0.05" in first
    swept(cli("sweep", "--trials", "2", "--search", "lr=1e-3:1:log", *HERE))
    drawn = study().trials[1].params["optimizer.lr"]
    assert f"optimizer.lr={drawn:.4g}" in second


BAD = [
    (("--search", "lr=1:0"), "low < high"),
    (("--search", "dropuot=0:1"), "did you mean dropout?"),
    (("--search", "batch_size=16,100000"), "100000"),
    (("--search", "model.kernel_size=3,99", "-s", "model.padding=valid"), "OutputSize"),
    (("--search", "lr=0.1:1", "--sampler", "grid"), "is a range"),
    (("--sampler", "tpee"), "tpe"),
    (("--pruner", "ahsa"), "asha"),
    (("--trials", "0"), "trials: 0 is not allowed; it must be greater than or equal to 1"),
    (("--seeds", "0"), "seeds: 0 is not allowed; it must be greater than or equal to 1"),
    (("--workers", "0"), "auto"),
    (("--workers", "many"), "auto"),
    (("--timeout", "0"), "timeout: 0 is not allowed; it must be greater than 0"),
    (("--trials", ""), "trials: '' is not allowed; it must be a valid integer"),
    (("--trials", "null"), "trials: 'null' is not allowed; it must be a valid integer"),
    (("--study", "../up"), "letters"),
    (("--study", ""), "letters"),
    (("--storage", "redis://here"), "not a storage"),
    (("--storage", "postgresql://nobody@127.0.0.1:9/none"), "cannot be opened"),
    (("--extend", "nothing"), "no such study"),
    (("--lr", "0"), "optimizer.lr"),
    (("nothing.yaml",), "no such file"),
    (("--search", "lr=0.1:1", "--search", "optimizer.lr=0.2:1"), "optimizer.lr is given twice"),
    (("--search", "lr=0.001-0.1"), "did you mean lr=0.001:0.1:log?"),
    (("--search", "dropout=0-0.5"), "did you mean dropout=0:0.5?"),
    (("--search", "learning_rate=0.1:1"), "did you mean optimizer.lr?"),
    (("--search", "optimizer=Adam,adam"), "'adam' is listed twice"),
    (("--search", "optimizer=sgd,ASGD"), "did you mean torch.optim.ASGD?"),
    (("--trials", "3", "--trials", "4"), "--trials is given twice"),
]


@pytest.mark.parametrize(("words", "says"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_ends_with_2_and_one_line_and_nothing_written(words: tuple[str, ...], says: str, cli: Cli) -> None:
    done = cli("sweep", *words)
    assert done.exit_code == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert not Path("mlruns").exists()


def test_python_and_the_command_line_refuse_the_same_options() -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"trials": 0}, "trials: 0 is not allowed; it must be greater than or equal to 1"),
        ({"seeds": True}, "seeds: True is not allowed; it must be a valid integer"),
        ({"sampler": "tpee"}, "did you mean tpe?"),
        ({"trails": 3}, "did you mean trials?"),
    ]
    for options, said in bad:
        with pytest.raises(BadInput, match=re.escape(said)):
            Sweep(**options)
    assert Sweep(sampler="TPE", workers="auto").plan.sampler == "tpe"


def test_another_experiment_or_space_in_the_same_study_is_refused_with_the_difference(cli: Cli) -> None:
    words = ("--study", "mine", "--trials", "2", "--search", "lr=0.01:0.1", *HERE)
    assert cli("sweep", *words).exit_code == 0
    other = cli("sweep", *words, "-s", "model.channels=[8]")
    assert other.exit_code == 2
    assert "config.model.channels: [16, 32] there, [8] here" in other.stderr
    assert "name another study" in other.stderr
    assert "--only to search" in cli("sweep", *words, "--search", "training.clip_norm=1,2").stderr
    wider = cli("sweep", *[word.replace("0.1", "1") if word.startswith("lr=") else word for word in words])
    assert wider.exit_code == 2
    assert "space.optimizer.lr.domain.high: 0.1 there, 1.0 here" in wider.stderr
    assert len(study().trials) == 2


def test_the_experiments_own_search_is_swept(cli: Cli) -> None:
    Path("mine.yaml").write_text(
        yaml.safe_dump({"name": "mine", "search": {"lr": [0.01, 0.05], "batch_size": [32, 64]}})
    )
    found = swept(cli("sweep", "mine.yaml", "--sampler", "grid", *HERE))
    assert found["trials"]["total"] == 4
    assert found["study"].startswith("mine-")


def _wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds
        time.sleep(0.05)
