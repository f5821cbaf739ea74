"""What has to be said of a finished run beside its result."""

from collections.abc import Sequence
from math import sqrt

from cnnlab.records import Epoch, Record, RunCreated, RunEnded, RunStarted, Steps
from cnnlab.result import short
from cnnlab.tracking import last

MOST_TOLERANCE = 0.05
"""Above guessing; two standard errors of a small test split would be more."""
ONE_ANSWER = 0.999
"""A network that gives one answer for so large a share of the test split has learned no other."""


def run_warnings(records: Sequence[Record]) -> list[str]:
    """One line if the network is no better than guessing on the test split, with the likely reason."""
    started, ended = last(records, RunStarted), last(records, RunEnded)
    if not (started and ended and ended.confusion):
        return []
    right = sum(row[true] for true, row in enumerate(ended.confusion)) / sum(map(sum, ended.confusion))
    if not _guesses(ended.confusion, right, of_images=bool(started.counts)):
        return []
    told = f"{right:.2f}" if started.counts else f"{right:.2f} of the pixels"
    return [f"no better than guessing ({told} for {len(started.classes)} classes): {_reason(records)}"]


def _guesses(confusion: Sequence[Sequence[int]], right: float, *, of_images: bool) -> bool:
    """Whether one could do as well without looking at the images.

    Args:
        confusion: [true class][predicted class]
        right: the share on its diagonal.
        of_images: what was counted; of pixels, most of which may be background, the share that is right says little.
    """
    total = sum(map(sum, confusion))
    if max(map(sum, zip(*confusion, strict=True))) >= ONE_ANSWER * total:
        return True
    guess = max(map(sum, confusion)) / total  # always the largest class
    return of_images and right <= guess + min(2 * sqrt(guess * (1 - guess) / total), MOST_TOLERANCE)


def _reason(records: Sequence[Record]) -> str:
    """By the training loss of the steps and of the last epoch."""
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
        f"the training loss fell from {first:.3g} to {at_end:.3g}, but nothing of it helps on the test images; "
        "compare the labels of both"
    )
