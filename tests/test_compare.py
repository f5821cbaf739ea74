"""`cnnlab compare` from end to end: real trainings, real studies, real MLflow."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from scipy import stats
from scipy.stats import qmc

from cnnlab.cli.display import comparison_display
from cnnlab.cli.display.comparison_display import interval_bar
from cnnlab.cli.display.terminal import fitted_table
from cnnlab.config import RunConfig
from cnnlab.config.arms import read_arms
from cnnlab.config.space import Choices, Range
from cnnlab.records import ComparisonEnded, RunEnded
from cnnlab.search.sampling import make_sampler, quasi_random, suggest, to_optuna
from cnnlab.tracking import RunDir, last, list_trials, read

Cli = Callable[..., Any]
Process = Callable[..., "subprocess.CompletedProcess[str]"]

SMALL = ("--epochs", "2", "-s", "data.train_size=128", "--json")
HERE = ("--workers", "1", "--tracking-uri", "none", *SMALL)
ONCE = ("--tunings", "1", "--trials", "2", "--seeds", "2")
"""The smallest comparison in which a winner is chosen."""
KEYS = {
    "optimizers": {
        "name",
        "trials",
        "best_params",
        "seeds",
        "scores",
        "mean",
        "std",
        "ci_low",
        "ci_high",
        "infeasible",
    },
    "pairs": {"a", "b", "difference", "ci_low", "ci_high", "p_value", "verdict", "claim"},
}
"""What scripts rely on."""


def compared(done: Any) -> dict[str, Any]:
    assert done.stdout.count("\n") == 1, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def scores(found: dict[str, Any]) -> dict[str, list[float]]:
    return {arm["name"]: arm["scores"] for arm in found["optimizers"]}


# arms


@pytest.mark.parametrize(
    ("trials", "tuned"),
    [
        (8, {"lr"}),
        (10, {"lr", "betas"}),
        (25, {"lr", "betas", "eps"}),
    ],
)
def test_more_trials_tune_more_of_an_optimizer(trials: int, tuned: set[str]) -> None:
    _, arms = read_arms(RunConfig(), "sgd,adam", None, trials)
    assert [arm.name for arm in arms] == ["sgd", "adam"]
    assert {d.path.partition(".")[2] for d in arms[1].space.dimensions} == tuned
    assert {d.path for d in arms[0].space.dimensions} == {"optimizer.lr"}


@pytest.mark.parametrize("trials", [1, 10, 25])
def test_every_shipped_optimizer_is_an_arm(trials: int) -> None:
    names = "sgd,momentum,nesterov,adagrad,adadelta,rmsprop,adam,adamw,nadam,radam,muon"
    question, arms = read_arms(RunConfig(), names, None, trials)
    assert question == "optimizer"
    by_name = {arm.name: arm.config.optimizer for arm in arms}
    assert by_name["sgd"].momentum == 0  # type: ignore[union-attr]
    assert by_name["momentum"].momentum == 0.9  # type: ignore[union-attr]
    assert by_name["nesterov"].nesterov  # type: ignore[union-attr]
    assert by_name["adam"].name == "adam"
    assert all(
        isinstance(arm.space["optimizer.lr"].domain, Range) and arm.space["optimizer.lr"].domain.log for arm in arms
    )


def test_ones_own_optimizers_in_yaml_fix_and_tune_what_they_say() -> None:
    own = {
        "sgd": None,
        "mine": {"name": "adam", "betas": [0.8, 0.99], "lr": {"low": 0.001, "high": 0.01, "log": True}},
        "torch.optim.Rprop": {"lr": [0.01, 0.001]},
    }
    _, arms = read_arms(RunConfig(compare=own), None, None, 25)
    mine, rprop = arms[1], arms[2]
    assert mine.config.optimizer.betas == (0.8, 0.99)  # type: ignore[union-attr]
    assert {d.path for d in mine.space.dimensions} == {"optimizer.lr", "optimizer.eps"}
    assert rprop.space["optimizer.lr"].domain == Choices((0.01, 0.001))


def test_an_arm_keeps_the_experiment_but_its_optimizer() -> None:
    config = RunConfig.model_validate(
        {"optimizer": {"name": "sgd", "lr": 0.3, "weight_decay": 0.01}, "model": {"dropout": 0.5}}
    )
    _, (sgd, adam) = read_arms(config, "sgd,adam", None, 8)
    for arm in (sgd, adam):
        assert arm.config.model == config.model
        assert arm.config.optimizer.weight_decay == 0.01  # type: ignore[union-attr]
    assert (sgd.config.optimizer.lr, adam.config.optimizer.lr) == (0.05, 0.001), "untuned is the optimizer's default"


def test_over_asks_another_question_and_tunes_the_rate_for_each_arm() -> None:
    question, arms = read_arms(RunConfig(), None, "model.activation=relu,tanh,sigmoid", 8)
    assert question == "model.activation"
    assert [(arm.name, arm.config.model.activation) for arm in arms] == [  # type: ignore[union-attr]
        (name, name) for name in ("relu", "tanh", "sigmoid")
    ]
    assert {d.path for arm in arms for d in arm.space.dimensions} == {"optimizer.lr"}
    assert [arm.name for arm in read_arms(RunConfig(), None, "batch_size=16,64", 8)[1]] == ["16", "64"]


def test_the_points_of_a_quasi_random_search_are_scipys_and_its_choices_vary() -> None:
    """Each depends on the seed and the trial's number alone, so that workers and interruptions change none."""
    _, (adam, _) = read_arms(RunConfig(), "adam,sgd", None, 10)
    ranges = [d.name for d in adam.space.dimensions if isinstance(d.domain, Range)]
    study, drawn = optuna.create_study(), []
    for number in range(1, 13):
        study.enqueue_trial(to_optuna(adam.space, quasi_random(adam.space, number, seed=7)))
        study.sampler = make_sampler("qmc", adam.space, study_seed=7, trial_seed=1000 + number)
        drawn.append(suggest(study.ask(), adam.space))
    assert len({str(point["optimizer.betas"]) for point in drawn}) >= 3
    with pytest.warns(UserWarning, match="power of 2"):
        expected = qmc.Sobol(len(ranges), rng=7).random(12)
    domains = {d.name: d.domain for d in adam.space.dimensions}
    found = [[domains[name].position(point[name]) for name in ranges] for point in drawn]
    assert found == pytest.approx(expected)


BAD = [
    (("--optimizers", "sgd,adma"), "did you mean adam?"),
    (("--optimizers", "sgd"), "sgd alone cannot be compared"),
    (("--optimizers", "sgd,sgd"), "named twice"),
    (("--seeds", "0"), "seeds: 0 is not allowed; it must be greater than or equal to 1"),
    (("--tunings", "0"), "tunings: 0 is not allowed; it must be greater than or equal to 1"),
    (("--tunings", "sgd=5,adam=10"), "unequal budgets"),
    (("--quick", "--thorough"), "--quick and --thorough are both given; keep one"),
    (("--null", "adma"), "did you mean adam?"),
    (("--null", "adam", "--optimizers", "sgd,adam"), "--null and --optimizers are both given; keep one"),
    (("--null", "adam", "--over", "model.norm=none,batch"), "--null and --over are both given; keep one"),
    (("--seeds", "sgd=5,adam=10"), "unequal budgets"),
    (("--trials", "sgd=8,adam=16"), "unequal budgets"),
    (("--trials", "0"), "greater than or equal to 1"),
    (("--trials", "²"), "it must be a valid integer"),
    (("--over", "training.epochs=5,10"), "unequal budgets"),
    (("--over", "data.train_size=100,200"), "unequal budgets"),
    (("--over", "data.dataset=digits,mnist"), "cannot be compared"),
    (("--over", "optimizer.lr=0.1,0.2"), "tuned for each arm"),
    (("--over", "model.activation=relu"), "relu alone cannot be compared"),
    (("--over", "model.activation=relu,relu"), "named twice"),
    (("--over", "model.activation=relu,rleu"), "relu"),
    (("--over", "model.activatoin=relu,tanh"), "did you mean activation?"),
    (("--over", "model.activation"), "NAME=VALUE,VALUE"),
    (("--over", "model.norm=none,batch", "--optimizers", "sgd,adam"), "--over and --optimizers are given; keep one"),
    (("--target", "1.2"), "out of reach"),
    (("--target", "0"), "out of reach"),
    (("--margin", "-1"), "margin: -1 is not allowed; it must be greater than or equal to 0"),
    (("--workers", "0"), "auto"),
    (("--study", "../up"), "letters"),
    (("--sampler", "qmcc"), "qmc"),
    (("--batch-size", "100000"), "batch_size"),
]


@pytest.mark.parametrize(("words", "says"), BAD, ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_bad_input_is_one_line_and_nothing_is_written(cli: Cli, words: tuple[str, ...], says: str) -> None:
    done = cli("compare", *words, "--tracking-uri", "none")
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not Path("mlruns").exists()


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (["sgd", "adma"], "did you mean adam?"),
        ({"sgd": None}, "alone cannot be compared"),
        ({"sgd": None, "adam": {"trials": 16}}, "compare.adam.trials: unequal budgets"),
        ({"sgd": None, "adam": {"epochs": 16}}, "unequal budgets"),
        ({"sgd": None, "adam": {"momentum": 0.9}}, "has no momentum"),
        ({"sgd": None, "adam": {"lr": 0.1}}, "no setting of it is tuned"),
        ({"sgd": None, "adam": {"lr": {"low": 1, "high": 0.1}}}, "low < high"),
        ({"sgd": None, "adam": 5}, "is not a mapping"),
        ({"sgd": None, "a b": {"name": "adam"}}, "letters"),
        (5, "compare"),
    ],
    ids=str,
)
def test_bad_arms_in_yaml(cli: Cli, own: Any, says: str) -> None:
    Path("bad.yaml").write_text(yaml.safe_dump({"compare": own}))
    done = cli("compare", "bad.yaml", "--tracking-uri", "none")
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not Path("mlruns").exists()


# trainings


def test_a_comparison_from_end_to_end(cli: Cli) -> None:
    words = ("--optimizers", "sgd,Adam", "--tunings", "3", "--trials", "2", *HERE, "-s", "data.val_fraction=0.02")
    done = cli("compare", *words)
    found = compared(done)
    assert done.exit_code == 0
    assert re.match(r"up to 24 trainings, about \d+\.\d minutes, in this process\n", done.stderr)
    few = "few validation images (30): each is 3.3 % of them"
    assert done.stderr.splitlines().count(few) == found["warnings"].count(few) == 1
    assert (found["claim"], found["tunings"], found["look"]) == ("optimizers", 3, 1)
    for key, wanted in KEYS.items():
        assert set(found[key][0]) >= wanted
    assert [arm["name"] for arm in found["optimizers"]] == found["ranking"]
    assert set(found["not_worse"]) <= set(found["ranking"])
    for arm in found["optimizers"]:
        assert (arm["trials"], arm["seeds"], len(arm["tunings"])) == (6, 3, 3)
        assert [score for tuning in arm["tunings"] for score in tuning["scores"]] == arm["scores"]
        assert all(set(tuning["params"]) == {"optimizer.lr"} for tuning in arm["tunings"])
        assert arm["best_params"] in [tuning["params"] for tuning in arm["tunings"]]
        assert arm["ci_low"] < arm["mean"] < arm["ci_high"]
    (pair,) = found["pairs"]
    assert (pair["a"], pair["b"]) == tuple(found["ranking"])
    assert pair["verdict"] in ("better", "equal", "undecided")
    assert pair["claim"] == "optimizers"
    first, second = (arm["scores"] for arm in found["optimizers"])
    test = stats.ttest_rel(first, second)
    ends = test.confidence_interval(0.975)
    assert (pair["ci_low"], pair["ci_high"]) == pytest.approx((ends.low, ends.high))
    assert found["margin"] == 1 / 359, "the digits have 359 test images"
    folder = Path("mlruns/studies", found["study"], "report")
    assert {"compare.csv", "compare.html", "compare.json", "compare.md", "curves.png"} <= {
        f.name for f in folder.iterdir()
    }
    rows = list(csv.DictReader((folder / "compare.csv").read_text().splitlines()))
    for arm in found["optimizers"]:
        tuned = [float(row["test_accuracy"]) for row in rows if (row["arm"], row["settings"]) == (arm["name"], "tuned")]
        assert tuned == arm["scores"]
    assert "Fixed for all: data.batch_size 64" in (folder / "compare.md").read_text()
    shown = json.loads(cli("show", found["study"], "--json").stdout)
    assert {**shown, "seconds": 0} == {**found, "seconds": 0}
    printed = cli("compare", *[word for word in words if word != "--json"]).stdout
    assert cli("show", found["study"]).stdout.splitlines()[:-1] == printed.splitlines()[:-1]  # the last has the seconds
    for told in (found["verdict"], *found["warnings"], *found["caveats"]):
        assert told in printed, "what JSON and the report say is on the terminal too"


def trained(stage: str) -> dict[str, list[tuple[int, float]]]:
    """Study -> the seed and the learning rate of each of its trainings of a stage."""
    rows: dict[str, list[tuple[int, float]]] = {}
    for run in list_trials():
        study, part = run.path.relative_to(Path("mlruns/studies").absolute()).parts[:2]
        if part == stage:
            config = run.created.config
            rows.setdefault(study, []).append((config["training"]["seed"], config["optimizer"]["lr"]))
    return {study: sorted(some) for study, some in rows.items()}


def test_a_tuning_has_the_same_points_and_seeds_for_all_arms_and_others_than_the_next_one(cli: Cli) -> None:
    """The range of each arm spans three decades, so a position in it is a learning rate over the range's lowest."""
    compared(cli("compare", "--study", "ours", "--optimizers", "sgd,adam", "--tunings", "3", "--trials", "3", *HERE))
    _, arms = read_arms(RunConfig(), "sgd,adam", None, 3)
    spans = {arm.name: arm.space["optimizer.lr"].domain for arm in arms}
    trials, finals = trained("trials"), trained("confirm")
    assert set(trials) == set(finals) == {f"ours.{arm}{end}" for arm in ("sgd", "adam") for end in ("", ".2", ".3")}
    positions, seeds = [], []
    for end in ("", ".2", ".3"):
        drawn = {}
        for arm, span in spans.items():
            assert isinstance(span, Range)
            default = RunConfig.model_validate({"optimizer": {"name": arm}}).optimizer.lr
            drawn[arm] = sorted(span.position(lr) for _, lr in trials[f"ours.{arm}{end}"] if lr != default)
            assert len(drawn[arm]) == 2
        assert drawn["sgd"] == pytest.approx(drawn["adam"], abs=1e-3)  # a rate has three digits
        positions.append(tuple(np.round(drawn["sgd"], 2)))
        of_trials, of_finals = (
            [{seed for seed, _ in rows[f"ours.{arm}{end}"]} for arm in spans] for rows in (trials, finals)
        )
        assert of_trials[0] == of_trials[1]
        assert of_finals[0] == of_finals[1]
        assert len(of_trials[0]) == len(of_finals[0]) == 1
        assert not of_trials[0] & of_finals[0], "finals have fresh seeds"
        seeds += [*of_trials[0], *of_finals[0]]
    assert len(set(positions)) == 3
    assert len(set(seeds)) == 6


def test_finals_are_scored_on_the_test_split(cli: Cli) -> None:
    found = compared(cli("compare", "--optimizers", "sgd,adam", *ONCE, *HERE))
    tested: dict[str, list[float]] = {}
    for run in list_trials():
        study, stage = run.path.relative_to(Path("mlruns/studies").absolute()).parts[:2]
        if stage == "confirm":
            ended = last(read(run.journal_file)[0], RunEnded)
            assert ended is not None
            assert ended.test_score is not None
            tested.setdefault(study, []).append(ended.test_score)
    for arm in found["optimizers"]:
        assert len(arm["scores"]) == 2
        assert set(arm["scores"]) <= set(tested[f"{found['study']}.{arm['name']}"])
    assert found["claim"] == found["pairs"][0]["claim"] == "settings"
    assert "these two settings" in cli("show", found["study"]).stdout
    assert found["pairs"][0]["ci_low"] is None, "two values have no interval"


def test_the_same_command_twice_says_the_same_and_trains_nothing(cli: Cli) -> None:
    words = ("compare", "--optimizers", "sgd,adam", *ONCE, *HERE)
    first = compared(cli(*words))
    before = {run.path: run.journal_file.stat().st_mtime for run in list_trials()}
    second = compared(cli(*words))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    assert before == {run.path: run.journal_file.stat().st_mtime for run in list_trials()}


def test_more_tunings_or_seeds_keep_the_first_ones_and_are_another_look(cli: Cli) -> None:
    words = ("compare", "--optimizers", "sgd,adam", "--trials", "1", *HERE)
    two = compared(cli(*words, "--tunings", "2", "--seeds", "1"))
    three = compared(cli(*words, "--tunings", "3", "--seeds", "1"))
    more = compared(cli(*words, "--tunings", "3", "--seeds", "2"))
    assert two["study"] == three["study"] == more["study"]
    assert [found["look"] for found in (two, three, more)] == [1, 2, 3]
    for name, kept in scores(two).items():
        assert scores(three)[name][:2] == kept
        assert scores(more)[name][::2] == scores(three)[name]
    assert "(this is look 3)" in cli("show", more["study"]).stdout
    assert compared(cli(*words, "--tunings", "2", "--seeds", "1"))["look"] == 1, "seen before"


def test_an_optimizer_against_itself_has_other_points_and_other_seeds(cli: Cli) -> None:
    found = compared(cli("compare", "--study", "ours", "--null", "adam", "--tunings", "3", "--trials", "2", *HERE))
    assert set(found["ranking"]) == {"adam", "adam-again"}
    for one, other in (("ours.adam", "ours.adam-again"), ("ours.adam.2", "ours.adam-again.2")):
        for stage in ("trials", "confirm"):
            rows = trained(stage)
            assert not {seed for seed, _ in rows[one]} & {seed for seed, _ in rows[other]}
    (pair,) = found["pairs"]
    assert pair["verdict"] in ("undecided", "equal")
    assert found["claim"] == "optimizers"
    assert found["caveats"][0].endswith("a verdict of better or worse is a false alarm")


@pytest.mark.long
def test_a_comparison_that_was_killed_goes_on_to_what_it_would_have_been(
    cli: Cli, tmp_path: Path, monkeypatch: Any
) -> None:
    words = ("compare", "--optimizers", "sgd,adam", "--tunings", "2", "--trials", "2", "--seeds", "1", *HERE)
    whole = compared(cli(*words))
    (tmp_path / "killed").mkdir()
    monkeypatch.chdir(tmp_path / "killed")
    running = subprocess.Popen(
        [sys.executable, "-m", "cnnlab", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(Path("mlruns").glob("studies/*.adam/trials/001/journal.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.kill()
    running.wait()
    found = compared(cli(*words))
    assert scores(found) == scores(whole)
    assert [p["p_value"] for p in found["pairs"]] == [p["p_value"] for p in whole["pairs"]]
    ended = last(read(Path("mlruns/studies", found["study"], "journal.jsonl"))[0], ComparisonEnded)
    assert ended is not None
    assert ended.status == "finished"


def test_a_live_comparison_is_not_joined_by_accident(cli: Cli) -> None:
    found = compared(cli("compare", "--optimizers", "sgd,adam", *ONCE, *HERE))
    with RunDir(Path("mlruns/studies", found["study"]).absolute()).hold():
        done = cli("compare", "--optimizers", "sgd,adam", *ONCE, *HERE)
    assert done.exit_code == 3
    assert f"join it by --study {found['study']}" in done.stderr


def test_two_processes_share_a_comparison_by_its_name(cli: Cli) -> None:
    words = (
        "compare",
        "--study",
        "ours",
        "--optimizers",
        "sgd,adam",
        "--tunings",
        "2",
        "--trials",
        "2",
        "--seeds",
        "2",
        *HERE,
    )
    first = subprocess.Popen(
        [sys.executable, "-m", "cnnlab", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    second = compared(cli(*words))
    found = json.loads(first.communicate()[0])
    assert first.returncode == 0
    assert scores(found) == scores(second)
    assert [arm["trials"] for arm in found["optimizers"]] == [4, 4]
    assert len(list(Path("mlruns/studies").glob("ours.*/trials/*/journal.jsonl"))) == 8


def test_a_broken_optimizer_comes_last_and_clearly(cli: Cli) -> None:
    own = {"momentum": None, "broken": {"name": "sgd", "lr": {"low": 1e-13, "high": 1e-12}}}
    Path("broken.yaml").write_text(yaml.safe_dump({"compare": own}))
    words = ("--tunings", "1", "--trials", "2", "--seeds", "8", "--epochs", "12", *HERE[:4], *SMALL[2:])
    found = compared(cli("compare", "broken.yaml", *words))
    assert found["ranking"] == ["momentum", "broken"]
    assert found["pairs"][0]["verdict"] == "better"


def test_an_optimizer_that_always_diverges_is_counted_and_ranked_last(cli: Cli) -> None:
    own = {"momentum": None, "adam": None, "wild": {"name": "sgd", "lr": {"low": 1e18, "high": 1e19}}}
    Path("wild.yaml").write_text(yaml.safe_dump({"compare": own, "optimizer": {"name": "sgd"}}))
    found = compared(cli("compare", "wild.yaml", *ONCE, *HERE))
    wild = found["optimizers"][-1]
    assert (wild["name"], wild["infeasible"], wild["mean"]) == ("wild", 2, None)
    assert any(text.startswith("wild: no trial was trained to its end") for text in found["warnings"])
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [tuple(found["ranking"][:2])]


def test_several_workloads_have_a_score(cli: Cli) -> None:
    for name, channels in (("one", [4]), ("two", [4, 8])):
        values = {"name": name, "model": {"channels": channels, "hidden": []}, "compare": ["sgd", "adam"]}
        Path(f"{name}.yaml").write_text(yaml.safe_dump(values))
    words = ("compare", "--workload", "one.yaml", "--workload", "two.yaml", *ONCE)
    found = compared(cli(*words, *HERE))
    assert len(found["workloads"]) == 2
    assert set(found["profile"]) == {"sgd", "adam"}
    assert all(0 <= score["steps"] <= 1 for score in found["profile"].values())
    assert (Path("mlruns/studies", found["workloads"][0]["study"], "report/profile.png")).exists()
    text = cli(*words, *HERE[:-1]).stdout
    assert "area below the performance profile over 2 workloads" in text


def test_a_comparison_in_mlflow_is_a_parent_with_studies_finals_and_mean_curves_below_it(process: Process) -> None:
    import mlflow

    design = ("--tunings", "1", "--trials", "2", "--seeds", "3")
    done = process("compare", "--optimizers", "sgd,adam", *design, *SMALL, "--workers", "1")
    found = compared(done)
    if "run cnnlab sync" in done.stderr:  # a machine so busy that the courier had no turn
        assert process("sync").returncode == 0
    client = mlflow.MlflowClient(f"sqlite:///{Path('mlruns/mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("cnnlab")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags.get("cnnlab.kind") == "comparison"]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["cnnlab.ranking"] == ", ".join(found["ranking"])
    assert parent.data.tags["cnnlab.verdict"] == found["verdict"]
    assert found["verdict"].endswith("each verdict is about these two settings")
    assert parent.data.tags["cnnlab.claim"] == "settings"
    for arm in found["optimizers"]:
        assert parent.data.metrics[f"test/accuracy/{arm['name']}"] == pytest.approx(arm["mean"])
    files = {file.path for file in client.list_artifacts(parent.info.run_id, "report")}
    assert {"report/compare.html", "report/compare.md", "report/compare.csv", "report/pairs.png"} <= files
    below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    sweeps = [run for run in below if run.data.tags.get("cnnlab.kind") == "sweep"]
    curves = [run for run in below if run.data.tags.get("cnnlab.kind") == "mean of finals"]
    assert len(sweeps) == len(curves) == 2
    for sweep in sweeps:
        stages = [
            run.data.tags["cnnlab.stage"]
            for run in runs
            if run.data.tags.get("mlflow.parentRunId") == sweep.info.run_id
        ]
        assert stages.count("search") == 2
        assert stages.count("confirm") in (3, 6)  # where the defaults are the best, they are confirmed once
    for curve in curves:
        points = client.get_metric_history(curve.info.run_id, "val/accuracy")
        assert len(points) == 2
        low = client.get_metric_history(curve.info.run_id, "val/accuracy_low")
        assert all(bottom.value <= point.value for bottom, point in zip(low, points, strict=True))


def test_of_a_comparison_that_was_interrupted_it_is_said_how_far_it_got(cli: Cli, monkeypatch: Any) -> None:
    import cnnlab.comparison.contest_work as session

    true = session.work_on

    def interrupted(*words: Any, **settings: Any) -> Any:
        yield from true(*words, **settings)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(session, "work_on", interrupted)
    words = ("compare", "--optimizers", "sgd,momentum", *ONCE, *HERE)
    ended = cli(*words[:-1])  # without --json
    assert ended.exit_code == 130
    assert "interrupted: sgd 2 of 2 trials, momentum 0 of 2 trials; the same command goes on" in ended.stderr
    assert ended.stdout == "", "a part of the trainings says nothing"
    assert not list(Path("mlruns/studies").glob("*/report/compare.md"))
    (study,) = (path.name for path in Path("mlruns/studies").iterdir() if "." not in path.name)
    shown = cli("show", study)
    assert "! not all was trained; the same command goes on" in shown.stdout
    again = cli(*words)
    assert again.exit_code == 130
    assert json.loads(again.stdout)["warnings"] == ["not all was trained; the same command goes on"]
    monkeypatch.setattr(session, "work_on", true)
    assert compared(cli(*words))["pairs"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "10 tunings of 6 trials each, then 1 fresh seed for the best and for the defaults of each tuning"),
        (("--quick",), "5 tunings of 4 trials each, then 1 fresh seed for"),
        (("--thorough",), "16 tunings of 16 trials each, then 2 fresh seeds for"),
        (("--quick", "--trials", "5"), "5 tunings of 5 trials each"),
        (("--tunings", "2"), "2 tunings of 6 trials each, then 10 fresh seeds for"),
        (("--tunings", "1", "--seeds", "5"), "1 tuning of 6 trials, then 5 fresh seeds for"),
    ],
    ids=str,
)
def test_a_dry_run_prints_the_design_and_writes_nothing(cli: Cli, words: tuple[str, ...], says: str) -> None:
    done = cli("compare", "--dry-run", "--optimizers", "sgd,adam", *words)
    assert done.exit_code == 0
    assert says in done.stdout
    assert not Path("mlruns").exists()


def test_a_dry_run_prints_the_arms(cli: Cli) -> None:
    done = cli("compare", "--dry-run", "--optimizers", "sgd,adam", "--trials", "12")
    assert "optimizer.lr in 0.0001 .. 0.1 (log), optimizer.betas in" in done.stdout


def test_an_interval_as_a_bar() -> None:
    assert interval_bar(0.0, 0.5, 1.0, 0.0, 1.0) == "├───────────●──────────┤"
    assert interval_bar(0.5, 0.5, 0.5, 0.5, 0.5) == "●"
    assert interval_bar(0.0, 0.1, 0.2, 0.5, 1.0) == "◂"
    assert interval_bar(1.5, 1.6, 1.7, 0.5, 1.0) == "▸"
    assert interval_bar(-9.0, 0.5, 9.0, 0.0, 1.0) == "◂───────────●──────────▸", "no wider than its axis"
    assert interval_bar(-9.0, -1.0, 0.5, 0.0, 1.0) == "◂───────────┤"


@pytest.mark.parametrize(
    ("room", "spared"),
    [
        (None, set()),
        (110, set()),
        (100, {"95 % interval"}),
        (60, {"95 % interval", "to target", "diverged"}),
    ],
)
def test_a_narrow_terminal_is_spared_whole_columns_and_no_word_is_cut(room: int | None, spared: set[str]) -> None:
    from rich.console import Console

    columns = ["optimizer", "test, %", "95 % interval", "untuned", "to target", "diverged", "tuned"]
    row = [
        "momentum",
        "97.91 ± 10.21",
        "├─────────●────────────┤",
        "12.91",
        "400 steps",
        "2",
        "lr 0.177, momentum 0.956",
    ]
    table, kept = fitted_table(columns, [row], comparison_display.SPARE, room)
    console = Console(width=room or 120)
    with console.capture() as capture:
        console.print(table)
    shown = capture.get()
    assert set(columns) - set(kept) == spared
    assert "…" not in shown
    for name, cell in zip(columns, row, strict=True):
        assert name in spared or set(f"{name} {cell}".split()) <= set(shown.split()), name
