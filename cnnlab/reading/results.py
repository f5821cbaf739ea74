"""A run's result and its warnings, from its journal."""

from collections.abc import Sequence
from math import sqrt

from cnnlab.records import Epoch, Record, RunCreated, RunEnded, RunStarted, Steps
from cnnlab.result import Result, short
from cnnlab.tracking import RunDir, last, mlflow_run_id, read


def run_result(run: RunDir) -> Result:
    """The object that `train --json` prints; values that are not known yet are None.

    Losses are means per sample, accuracies fractions in [0, 1]. `train_...` and `val_...` are of the last epoch,
    `best_val_...` and `metrics` of the best epoch, `test_...` and `score` of its weights on the test split. `reason` is
    a sentence if the status is not "finished"; `warnings` are about a finished run. `skipped_images` is the number of
    images that could not be read. `config` is the resolved config.
    """
    records = read(run.journal_file)[0]
    started, epoch, ended = last(records, RunStarted), last(records, Epoch), last(records, RunEnded)
    config = run.created.config
    score = (started or RunStarted).score
    names = [metric.name for metric in (started or RunStarted).measured if metric.name != "loss"]
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
            "skipped_images": started.skipped_images if started else 0,
            "score": {
                "name": score.name,
                "value": test.get(score.name),
                "higher_is_better": score.higher_is_better,
            },
            "metrics": {"train": _train_metrics(records, ended), "val": best, "test": test},
            "config": config,
        }
    )


def _train_metrics(records: Sequence[Record], ended: RunEnded | None) -> dict[str, float]:
    """Of the best epoch."""
    epochs = (record for record in records if isinstance(record, Epoch))
    return next((dict(epoch.train) for epoch in epochs if ended and epoch.epoch == ended.best_epoch), {})


MOST_TOLERANCE = 0.05
"""The largest margin above guessing; on a small test split, two standard errors would be more."""
ONE_ANSWER = 0.999
"""If a network gives the same answer for this share of the test split, it has learned no other."""


def run_warnings(records: Sequence[Record]) -> list[str]:
    """One line if the network is no better than guessing on the test split, with the likely reason."""
    started, ended = last(records, RunStarted), last(records, RunEnded)
    if not (started and ended and ended.confusion):
        return []
    right = sum(row[true] for true, row in enumerate(ended.confusion)) / sum(map(sum, ended.confusion))
    if not _guesses(ended.confusion, right, of_images=bool(started.counts)):
        return []
    share = f"{right:.2f}" if started.counts else f"{right:.2f} of the pixels"
    return [
        f"no better than guessing ({share} for {len(started.classes)} classes): {_reason(records, started.samples)}"
    ]


def _guesses(confusion: Sequence[Sequence[int]], right: float, *, of_images: bool) -> bool:
    """Whether the results are no better than those of guessing without looking at the images.

    Args:
        confusion: [true class][predicted class]
        right: the share on its diagonal.
        of_images: whether images were counted. Of pixels, most may be background, so that `right` says little.
    """
    total = sum(map(sum, confusion))
    if max(map(sum, zip(*confusion, strict=True))) >= ONE_ANSWER * total:
        return True
    guess = max(map(sum, confusion)) / total  # always answering the largest class
    return of_images and right <= guess + min(2 * sqrt(guess * (1 - guess) / total), MOST_TOLERANCE)


def _reason(records: Sequence[Record], samples: str) -> str:
    """The likely reason, from the training losses of the steps and of the last epoch."""
    losses = [loss for record in records if isinstance(record, Steps) for loss in record.losses]
    at_end = [record.train["loss"] for record in records if isinstance(record, Epoch)][-1]
    lr = next(short(record.config["optimizer"]["lr"]) for record in records if isinstance(record, RunCreated))
    first = losses[0]
    if max(losses) > 2 * first:
        return f"the training loss rose from {first:.3g} to {max(losses):.3g}; optimizer.lr={lr} is likely too high"
    if at_end > 0.9 * first:
        return (
            f"the training loss hardly fell, from {first:.4g} to {at_end:.4g}; optimizer.lr={lr} is likely too low, "
            "or training.epochs too few"
        )
    return (
        f"the training loss fell from {first:.3g} to {at_end:.3g}, but the test {samples} are not predicted better; "
        f"compare the labels of the training and test {samples}"
    )
