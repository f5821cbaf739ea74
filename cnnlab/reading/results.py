"""What a run came to, from its journal."""

from collections.abc import Mapping, Sequence
from typing import Any

from cnnlab.reading.warnings import run_warnings
from cnnlab.records import Epoch, Record, RunEnded, RunStarted
from cnnlab.result import Result
from cnnlab.tracking import RunDir, last, mlflow_run_id, read


def run_result(run: RunDir) -> Result:
    """The object that `train --json` prints; what is not known yet is None.

    Losses are means per sample, accuracies fractions in [0, 1]. `train_...` and `val_...` are of the last epoch,
    `best_val_...` and all `metrics` of the epoch whose weights are kept, `test_...` and `score` of these weights on the
    test split. `reason` is a sentence if the status is not "finished"; `warnings` are about one that has finished.
    `config` is the resolved config.
    """
    records = read(run.journal_file)[0]
    started, epoch, ended = last(records, RunStarted), last(records, Epoch), last(records, RunEnded)
    config = run.created.config
    names = [metric.name for metric in (started.measured if started else RunStarted.measured) if metric.name != "loss"]
    val, best, test = (
        dict(d) for d in (epoch.val if epoch else {}, ended.best if ended else {}, ended.test if ended else {})
    )
    return Result(
        {
            "run_id": run.run_id,
            "mlflow_run_id": mlflow_run_id(run),
            "status": ended.status if ended else "running",
            "dataset": config["data"]["dataset"],
            "model": config["model"]["name"],
            "optimizer": config["optimizer"]["name"],
            "parameters": started and started.parameters,
            "epochs": epoch.epoch if epoch else 0,
            "steps": ended.step if ended else epoch and epoch.step,
            "best_epoch": ended and ended.best_epoch,
            "train_loss": epoch and epoch.train["loss"],
            "val_loss": val.get("loss"),
            **{key: value for n in names for key, value in ((f"val_{n}", val.get(n)), (f"best_val_{n}", best.get(n)))},
            "test_loss": test.get("loss"),
            **{f"test_{name}": test.get(name) for name in names},
            "fit_seconds": ended and ended.fit_seconds,
            "images_per_second": ended and ended.images_per_second,
            "device": started and started.device,
            "precision": started and started.precision,
            "seed": config["training"]["seed"],
            "weights_sha256": ended and ended.weights_sha256,
            "run_dir": str(run.path),
            "reason": ended.reason if ended else "",
            "warnings": run_warnings(records),
            "score": _score(started, test),
            "metrics": {"train": _train_metrics(records, ended), "val": best, "test": test},
            "config": config,
        }
    )


def _score(started: RunStarted | None, test: Mapping[str, float]) -> dict[str, Any]:
    score = started.score if started else RunStarted.score
    return {"name": score.name, "value": test.get(score.name), "higher_is_better": score.higher_is_better}


def _train_metrics(records: Sequence[Record], ended: RunEnded | None) -> dict[str, float]:
    """Of the best epoch."""
    epochs = (record for record in records if isinstance(record, Epoch))
    return next((dict(epoch.train) for epoch in epochs if ended and epoch.epoch == ended.best_epoch), {})
