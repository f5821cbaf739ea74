"""A score whose lower values are better is trained, searched and compared as one whose higher values are."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from cnnlab.records import Epoch, RunEnded
from tests.runs import records_of, small_config, small_dataset

SMALL = ["-s", "data.train_size=120", "-s", "model.channels=[4]", "-s", "model.hidden=[8]", "--precision", "fp32"]
QUICK = [*SMALL, "--tracking-uri", "none", "--json", "-q"]


@pytest.mark.parametrize(("score", "best"), [("accuracy", max), ("loss", min)])
def test_the_best_epochs_weights_are_kept_by_either(score: str, best: Callable[[list[float]], float]) -> None:
    config = small_config(task__score=score, optimizer__lr=0.3, training__epochs=8, schedule__name="constant")
    records = records_of(config, small_dataset())
    values = [record.val[score] for record in records if isinstance(record, Epoch)]
    ended = records[-1]
    assert isinstance(ended, RunEnded)
    assert ended.best_score == best(values)
    assert ended.best_epoch is not None
    assert values[ended.best_epoch - 1] == best(values)


@pytest.mark.parametrize(("score", "best"), [("accuracy", max), ("loss", min)])
@pytest.mark.usefixtures("one_plot")
def test_a_sweep_chooses_prunes_and_ranks_by_either(
    cli: Callable[..., Result], score: str, best: Callable[[list[float]], float]
) -> None:
    asked = [
        "--search",
        "lr=0.3,0.02,0.0001,1e30",
        "--only",
        "--sampler",
        "grid",
        "--pruner",
        "median",
        "--workers",
        "1",
    ]
    result = cli("sweep", *QUICK, "-s", f"task.score={score}", "--epochs", "2", "--confirm", "0", *asked)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["trials"]["infeasible"] == 1, "what diverged is told as the worst, and is never the best"
    with open(Path("mlruns/studies") / found["study"] / "report/trials.csv") as file:
        values = [float(row["value"]) for row in csv.DictReader(file) if row["state"] == "complete"]
    assert found["best"]["value"] == best(values)
    assert found["score"] == {"name": score, "value": best(values), "higher_is_better": score == "accuracy"}
    assert found["gain"] is None, "nothing was trained on fresh seeds"


@pytest.mark.parametrize("score", ["accuracy", "loss"])
@pytest.mark.usefixtures("one_plot")
def test_a_trial_whose_last_update_blows_up_is_infeasible(cli: Callable[..., Result], score: str) -> None:
    """There is one step: its loss and gradient are finite, what is measured after it is not."""
    asked = ["--search", "lr=0.1,1e30", "--only", "--sampler", "grid", "--confirm", "0", "--workers", "1"]
    one_step = ["--epochs", "1", "--batch-size", "full", "--lr", "0.1", "--schedule", "constant"]
    result = cli("sweep", *QUICK, "-s", f"task.score={score}", *one_step, "--trials", "3", *asked)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["trials"]["complete"], found["trials"]["infeasible"]) == (1, 1)


@pytest.mark.parametrize("score", ["accuracy", "loss"])
def test_a_comparison_ranks_and_judges_by_either(cli: Callable[..., Result], score: str) -> None:
    Path("compare.yaml").write_text(
        "compare: {adam: {lr: {low: 0.01, high: 0.03}}, broken: {name: sgd, lr: {low: 1e-12, high: 2e-12}}}\n"
    )
    budget = ["--tunings", "1", "--trials", "2", "--seeds", "5", "--epochs", "8", "--workers", "1"]
    result = cli("compare", "compare.yaml", *QUICK, "-s", f"task.score={score}", *budget)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["ranking"] == ["adam", "broken"]
    adam, broken = found["optimizers"]
    assert (adam["mean"] > broken["mean"]) == (score == "accuracy")
    (pair,) = found["pairs"]
    assert pair["difference"] == pytest.approx(adam["mean"] - broken["mean"])
    assert pair["probability"] > 0.9
    assert pair["verdict"] in ("better", "undecided")
    assert found["target"] is not None
    assert adam["missed_target"] < 5, "the target is the median of what adam, the first arm, reaches untuned"
    assert broken["missed_target"] == 5
