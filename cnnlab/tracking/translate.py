"""Records in MLflow's words: metrics, parameters, tags. Times are the records' own: saying it twice adds nothing."""

import json
from typing import Any, NamedTuple

from cnnlab.config import QUESTIONS
from cnnlab.records import (
    ComparisonEnded,
    ComparisonStarted,
    Ended,
    Epoch,
    MeanOfSeeds,
    Record,
    RunCreated,
    RunEnded,
    RunStarted,
    Steps,
    SweepEnded,
    SweepStarted,
    TrialEnded,
)

STATUS = {"finished": "FINISHED", "failed": "FAILED", "died": "FAILED", "interrupted": "KILLED", "pruned": "KILLED"}
"""MLflow's word for how a run ended; the tag cnnlab.status says it exactly."""


class MetricRow(NamedTuple):
    """One value of one curve, as MLflow's database holds it."""

    key: str
    value: float
    time_ms: int
    step: int


def metrics(record: Record) -> list[MetricRow]:
    """What a record adds to the curves. All share one axis: the number of the training step."""
    if isinstance(record, Steps):
        rows = enumerate(zip(record.losses, record.times, strict=True), start=record.first)
        return [MetricRow("train/loss", loss, milliseconds(time), step) for step, (loss, time) in rows]
    if isinstance(record, Epoch):
        values: dict[str, float | None] = {
            "epoch": record.epoch,
            "train/epoch_loss": record.train_loss,
            "train/accuracy": record.train_accuracy,
            "val/loss": record.val_loss,
            "val/accuracy": record.val_accuracy,
            "lr": record.lr,
            "images_per_second": record.images_per_second,
        }
    elif isinstance(record, RunEnded):
        values = {
            "best/val_accuracy": record.best_val_accuracy,
            "test/accuracy": record.test_accuracy,
            "test/loss": record.test_loss,
        }
    elif isinstance(record, MeanOfSeeds):
        values = {
            "train/epoch_loss": record.train_loss,
            "val/accuracy": record.val_accuracy,
            "val/accuracy_low": record.val_low,
            "val/accuracy_high": record.val_high,
        }
    elif isinstance(record, ComparisonEnded):
        at = milliseconds(record.time)
        return [MetricRow(f"test/accuracy/{arm}", score, at, 0) for arm, score in record.scores.items()]
    elif isinstance(record, TrialEnded):
        trial = {"trial/val_accuracy": record.value, "best/val_accuracy": record.best_value}
        at = milliseconds(record.time)
        return [MetricRow(key, value, at, record.trial) for key, value in trial.items() if value is not None]
    else:
        return []
    time_ms = milliseconds(record.time)
    return [MetricRow(key, float(value), time_ms, record.step) for key, value in values.items() if value is not None]


def parameters(created: RunCreated) -> dict[str, str]:
    """The flat config: `optimizer.lr` -> "0.05"."""
    flat: dict[str, Any] = {}
    for section, values in created.config.items():
        if isinstance(values, dict) and section not in QUESTIONS:
            flat.update({f"{section}.{key}": value for key, value in values.items()})
    return {key: _text(value) if isinstance(value, str) else json.dumps(value) for key, value in flat.items()}


def created_tags(created: RunCreated) -> dict[str, str]:
    """Where a run comes from."""
    given = {key if key.startswith("mlflow.") else f"cnnlab.{key}": _text(tag) for key, tag in created.tags.items()}
    return {**given, "cnnlab.run_id": created.run_id, "cnnlab.status": "running"}


def tags(started: RunStarted) -> dict[str, str]:
    """What a run can be found by."""
    own = {
        "status": "running",
        "dataset": started.dataset,
        "model": started.model,
        "parameters": str(started.parameters),
        "optimizer": started.optimizer,
        "device": started.device,
        "precision": started.precision,
        "seed": str(started.seed),
    }
    return {f"cnnlab.{key}": value for key, value in own.items()}


def sweep_parameters(started: SweepStarted) -> dict[str, str]:
    """The space: `search.optimizer.lr` -> what it may be."""
    return {f"search.{name}": json.dumps(dimension["domain"]) for name, dimension in started.space.items()}


def sweep_tags(started: SweepStarted) -> dict[str, str]:
    """What a sweep can be found by."""
    own = {
        "status": "running",
        "trials": str(started.trials),
        "sampler": started.sampler,
        "pruner": started.pruner,
        "seeds": str(started.seeds),
    }
    return {f"cnnlab.{key}": value for key, value in own.items()}


def comparison_tags(started: ComparisonStarted) -> dict[str, str]:
    """What a comparison can be found by."""
    own = {
        "status": "running",
        "question": started.question,
        "arms": ", ".join(started.arms),
        "trials": str(started.trials),
        "seeds": str(started.seeds),
    }
    return {f"cnnlab.{key}": value for key, value in own.items()}


def ended_tags(ended: Ended, *, is_trial: bool) -> dict[str, str]:
    """How it ended, exactly, which MLflow's status does not say."""
    if isinstance(ended, ComparisonEnded):
        own = {"ranking": ", ".join(ended.ranking), "verdict": ended.verdict}
    elif isinstance(ended, SweepEnded):
        best = {f"best.{key}": json.dumps(value) for key, value in ended.settings.items()}
        own = {"best_trial": "" if ended.best_trial is None else str(ended.best_trial), **best}
    else:
        trial_state = {"finished": "complete", "failed": "infeasible" if ended.diverged else "failed"}
        state = {"trial_state": trial_state.get(ended.status, ended.status)} if is_trial else {}
        own = {"weights_sha256": ended.weights_sha256 or "", **state}
    return {f"cnnlab.{key}": value for key, value in {"status": ended.status, "reason": ended.reason, **own}.items()}


def dataset_fields(started: RunStarted) -> dict[str, str]:
    """The fields of MLflow's Dataset entity."""
    shape = list(started.image_shape)
    return {
        "name": started.dataset,
        "digest": started.dataset_digest[:36],  # MLflow's limit
        "source_type": "local",
        "source": json.dumps({"uri": started.dataset_source}),
        "schema": json.dumps({"image": {"dtype": "uint8", "shape": shape}, "classes": list(started.classes)}),
        "profile": json.dumps(
            {"train_images": started.train_size, "val_images": started.val_size, "test_images": started.test_size}
        ),
    }


def _text(value: str) -> str:
    """What a database takes: a path need not be text, and what of it is none has its numbers here."""
    return value.encode("utf-8", "backslashreplace").decode()


def milliseconds(time: float) -> int:
    """Seconds -> MLflow's unit."""
    return int(time * 1000)
