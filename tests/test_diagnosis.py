"""Findings about runs: each rule on records made for it, on real runs, in MLflow; and the recorded norms."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from click.testing import Result

from cnnlab.courier import deliverer_of
from cnnlab.reading.diagnosis import Curves, confident_errors, duplicates, found
from cnnlab.records import Epoch, Norms, Record, RunCreated, RunEnded, RunStarted, Steps
from cnnlab.tracking import find_run
from cnnlab.training import Learner, fit
from tests.runs import small_config, small_dataset

Cli = Callable[..., Result]
FALLING = [2.3, 1.2, 0.7, 0.45, 0.3, 0.22, 0.18, 0.16, 0.15, 0.145, 0.142, 0.14]
"""A healthy loss by epoch."""


def curves(
    train: Sequence[float] = FALLING,
    val: Sequence[float] = FALLING,
    scores: Sequence[float] | None = None,
    train_score: float = 0.99,
    steps: Sequence[float] | None = None,
    batch: int = 64,
    norms: Sequence[Norms] = (),
    settings: dict[str, Any] | None = None,
    **ended: Any,
) -> Curves:
    """Of a run of ten classes with 200 validation images."""
    config = small_config(training__epochs=len(train) or 1, **(settings or {})).model_dump(mode="json")
    scores = scores or [1 - min(loss, 2.3) / 2.56 for loss in val]
    records: list[Record] = [
        RunCreated("run", 0.0, "e", "none", config, {}),
        RunStarted(
            0.0, 0, 0, len(train), 20, "digits", "0", "", (1, 8, 8), 20 * batch, "cnn", 9, "sgd", "cpu", "fp32", 0,
            classes=tuple("0123456789"), val_size=200, test_size=1000, counts={"train": (2 * batch,) * 10},
        ),
    ]  # fmt: skip
    losses = list(steps or [2.3, *(loss for loss in train for _ in range(20))])
    records.append(Steps(1, tuple(losses), tuple(0.0 for _ in losses)))
    records += norms
    records += [
        Epoch(
            0.0, n, 20 * n, {"loss": t, "accuracy": train_score}, {"loss": v, "accuracy": s}, 0.1, 1.0, 1.0, best=True
        )
        for n, (t, v, s) in enumerate(zip(train, val, scores, strict=True), start=1)
    ]
    status, reason = (
        ("failed", "diverged at step 3: the loss was nan; try") if ended.get("diverged") else ("finished", "")
    )
    records.append(RunEnded(0.0, status, reason, 240, len(train), **ended))
    return Curves(records, "config.yaml", "run")


def norms(gradients: Sequence[float], weights: Sequence[float] = (1, 1, 1), dead: float = 0.0) -> list[Norms]:
    names = ("0.Conv2d", "3.Linear", "5.Linear")
    values = dict(zip(names, map(float, gradients), strict=True)), dict(zip(names, map(float, weights), strict=True))
    return [Norms(0.0, 1, *values, {"1.ReLU": 0.1}), Norms(0.0, 20, *values, {"1.ReLU": dead})]


CONFUSION = tuple(tuple(100 * (column == (5 if row == 3 else row)) for column in range(10)) for row in range(10))

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "overfitting": ({"val": [*FALLING[:6], *[0.3 + 0.05 * n for n in range(6)]]}, "--dropout 0.3"),
    "not_finished": ({"val": [2.3 - 0.1 * n for n in range(12)]}, "--epochs 24"),
    "too_long": ({"val": [0.3] * 12}, "--epochs 5"),
    "learning_rate_too_high": ({"steps": [2.3, *[9.0] * 6, *[0.5] * 200]}, "--lr 0.002"),
    "learning_rate_too_low": ({"train": [2.3 - 0.01 * n for n in range(12)], "steps": [2.3] * 240}, "--lr 0.2"),
    "batch_too_small": ({"batch": 2, "steps": [2.0 - n / 200 + (n % 2) for n in range(240)]}, "--batch-size 32"),
    "diverged": ({"steps": [2.3, *[1e6] * 60]}, "--lr 0.002"),
    "stuck": ({"train": [math.log(10)] * 12, "val": [math.log(10)] * 12}, "model.init=he_normal"),
    "dead_units": ({"norms": norms([1, 1, 1], dead=0.9)}, "--lr 0.002"),
    "vanishing_gradients": ({"norms": norms([1e-6, 1e-3, 1])}, "model.activation=relu"),
    "exploding_gradients": ({"norms": norms([50, 1, 1])}, "training.clip_norm=1"),
    "train_below_val": (
        {"train": [loss + 0.5 for loss in FALLING], "train_score": 0.5, "settings": {"model__dropout": 0.8}},
        "--dropout 0.4",
    ),
    "never_predicted": ({"confusion": CONFUSION}, "cnnlab show run --plot figures"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_with_its_numbers_a_source_and_a_command(name: str) -> None:
    changes, command = FAULTS[name]
    findings = {finding.name: finding for finding in found(curves(**changes))}
    assert name in findings
    assert any(letter.isdigit() for letter in findings[name].text)
    assert findings[name].source.startswith(("Google's tuning playbook", "course page"))
    assert command in findings[name].command


def test_a_healthy_run_has_no_finding() -> None:
    assert found(curves(norms=norms([1, 1, 1], dead=0.2))) == []
    assert found(curves(batch=2)) == []
    assert found(Curves(curves().records[:1], "", "")) == []  # it ended before its first step


def test_rosenblatts_rule_has_no_learning_rate_that_is_too_high() -> None:
    rising = curves(**FAULTS["learning_rate_too_high"][0])
    records = [replace(r, optimizer="perceptron") if isinstance(r, RunStarted) else r for r in rising.records]
    assert [finding.name for finding in found(rising)] == ["learning_rate_too_high"]
    assert found(Curves(records, "config.yaml", "run")) == []


def test_a_loss_that_jumps_back_in_the_middle_has_too_high_a_rate() -> None:
    (finding,) = [finding for finding in found(curves([*FALLING[:6], 0.4, *FALLING[7:]])) if "rate" in finding.name]
    assert (finding.name, finding.text) == (
        "learning_rate_too_high", "the training loss rose from 0.22 to 0.4 in epoch 7"
    )  # fmt: skip


def test_divergence_names_the_step_at_which_a_number_was_not_finite_and_not_the_last_one() -> None:
    (finding,) = found(curves([], [], [], steps=[2.3, 9.0], diverged=True))
    assert (finding.title, finding.text) == ("diverged at step 3", "the loss was nan")


def test_a_test_image_that_is_a_training_image_is_counted() -> None:
    images = torch.randint(0, 255, (50, 1, 8, 8), dtype=torch.uint8)
    finding = duplicates(curves(), images[:40], images[35:])
    assert finding is not None
    assert finding.text.startswith("5 of 15 test images (33.3%)")
    assert duplicates(curves(), images[:40], images[40:]) is None


def test_the_most_confident_errors_are_listed_but_are_no_fault() -> None:
    shares = torch.full((40, 10), 0.005)
    shares[:, 7] = 0.955
    labels = torch.full((40,), 7)
    assert confident_errors(curves(), {"test": labels}, {"test": shares}) is None
    labels[11] = 1
    finding = confident_errors(curves(), {"test": labels}, {"test": shares})
    assert finding is not None
    assert "test 11 (1, not 7?)" in finding.text
    assert not finding.is_fault


# the norms


def record_of(learner: Learner, step: int) -> Norms:
    return next(record for record in fit(learner) if isinstance(record, Norms) and record.step == step)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_norms_are_those_of_plain_pytorch(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.training.learner.ranks_for_step", lambda *_: threads)
    data = small_dataset()
    learner = Learner(small_config(training__record_norms=True, data__batch_size=64, training__epochs=1), data)
    assert learner.ranks.count == threads
    before = [weight.detach().clone() for weight in learner.model.parameters()]
    loss = F.cross_entropy(learner.model(data.train.inputs), data.train.targets)  # one batch has all images
    gradients = torch.autograd.grad(loss, list(learner.model.parameters()))
    record = record_of(learner, 1)
    assert list(record.gradients) == ["0.Conv2d", "4.Linear", "6.Linear"]
    matrices = [gradient for gradient in gradients if gradient.ndim > 1]
    expected = [gradient.norm().item() for gradient in matrices]
    assert list(record.gradients.values()) == pytest.approx(expected, rel=1e-4)
    moved = [(w - 0.02 * g).norm().item() for w, g in zip(before, gradients, strict=True) if w.ndim > 1]
    assert list(record.weights.values()) == pytest.approx(moved, rel=1e-4)


def test_a_unit_that_never_fires_is_dead() -> None:
    learner = Learner(small_config(training__record_norms=True, optimizer__lr=1e-9), small_dataset())
    with torch.no_grad():
        learner.model.network[4].bias[:6] = -100.0  # type: ignore[index, union-attr]
    dead = record_of(learner, 1).dead
    hidden = F.relu(learner.model.network[:5](learner.model.normalize(small_dataset().val.inputs)))  # type: ignore[index, operator]
    assert dead["5.ReLU"] == pytest.approx((hidden.amax(0) == hidden.amin(0)).float().mean().item())
    assert dead["5.ReLU"] >= 6 / 8


@pytest.mark.parametrize(("apart", "steps"), [(1, [1, 4, 8, 12, 16, 20]), (8, [1, 4, 12, 20]), (50, [1, 20])])
def test_norms_are_recorded_some_steps_apart_and_at_the_end(
    apart: int, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnlab.training.ledger.NORMS_EVERY", apart)
    learner = Learner(small_config(training__record_norms=True, training__epochs=5), small_dataset())
    assert [record.step for record in fit(learner) if isinstance(record, Norms)] == steps


@pytest.mark.parametrize("settings", [{"model__dropout": 0.5}, {"model__norm": "batch", "model__freeze": 1}])
def test_recording_norms_changes_no_weight(settings: dict[str, object]) -> None:
    ends = [
        [*fit(Learner(small_config(training__record_norms=on, **settings), small_dataset()))][-1]
        for on in (False, True)
    ]
    digests = [end.weights_sha256 for end in ends if isinstance(end, RunEnded)]
    assert digests[0] == digests[1]


# the command


def test_a_run_tells_its_findings_at_its_end_and_in_mlflow(cli: Cli) -> None:
    from mlflow.tracking import MlflowClient

    done = cli(
        "train", "-q", "--lr", "5", "--epochs", "3", "-s", "training.record_norms=true", "--tracking-uri", "none"
    )
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("! "))
    assert lines[at + 1].startswith("  cnnlab diagnose ")
    told = json.loads(cli("diagnose", "last", "--json").stdout)
    assert "learning_rate_too_high" in {finding["name"] for finding in told}
    shown = cli("diagnose").stdout
    assert all(finding["text"] in shown and finding["command"] in shown for finding in told)
    uri = "sqlite:///mlruns/mlflow.db"
    deliverer_of(find_run("last"), uri).deliver_when_free()
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("cnnlab").experiment_id])  # type: ignore[union-attr]
    names = {finding["name"] for finding in told} - {"duplicates", "confident_errors"}
    assert {key.removeprefix("cnnlab.finding.") for key in run.data.tags if "finding" in key} == names
    assert {"gradient_norm/0.Conv2d", "weight_norm/0.Conv2d", "dead_units/2.ReLU"} <= set(run.data.metrics)


def test_a_sweep_tells_its_warnings_in_two_lines_and_diagnose_tells_all(cli: Cli) -> None:
    done = cli("sweep", "--trials", "4", "--epochs", "1", "--confirm", "0", "--workers", "1", "--tracking-uri", "none",
               "-q", "-s", "data.train_size=128", "--study", "s")  # fmt: skip
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("! "))
    assert len(lines) - at == 2
    told = json.loads(cli("diagnose", "s", "--json").stdout)
    assert any("are few" in finding["text"] and "Not sampling enough" in finding["source"] for finding in told)
    assert all(finding["text"] in cli("diagnose", "s").stdout for finding in told)


def test_findings_of_the_curves_need_no_images(cli: Cli) -> None:
    cli("train", "-q", "--lr", "5", "--epochs", "2", "--tracking-uri", "none")
    weights = next(Path("mlruns/runs").glob("*/checkpoints/best.safetensors"))
    weights.unlink()
    done = cli("diagnose")
    assert done.exit_code == 0
    assert "learning rate too high" in done.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["last"], "last: there are no runs in mlruns/runs yet"),
        ([""], "RUN is empty"),
        (["nothing"], "nothing: no run begins so"),
        (["last", "--rule", "x"], "--rule: unknown option"),
        (["a", "b"], "Got unexpected extra argument"),
    ],
)
def test_bad_input(args: list[str], said: str, cli: Cli) -> None:
    done = cli("diagnose", *args)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert said in done.stderr
