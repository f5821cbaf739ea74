"""Metrics. Each knows its direction, its worst value, its unit and its format."""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="ignore"))
class Metric:
    """A measure of a trained network.

    Journals contain its fields, so that a reader can rank and print runs of tasks that it does not know.
    """

    name: str
    higher_is_better: bool = True
    worst: float = 0.0
    """The value of a training that diverged; finite, so that means and intervals can be computed."""
    unit: str = ""
    """In tables and differences: %, dB. A loss has none here: whether it is in nats depends on the loss."""
    unit_digits: int = 2
    """The number of decimal places of a value in `unit`."""
    margin: float = 0.001
    """By default, a smaller difference does not matter."""
    counts_samples: bool = False
    """Whether a value is a share of the samples, so that its smallest step is one sample of the split."""

    @property
    def scale(self) -> float:
        """A value times `scale` is in `unit`."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest possible value."""
        return (0.0, 1.0) if self.unit == "%" else (-math.inf, math.inf)

    @property
    def short(self) -> str:
        """The name in narrow columns: `acc`."""
        return short_name(self.name)

    @property
    def words(self) -> str:
        """The name in a sentence: `mean IoU`."""
        return words_of(self.name)

    @property
    def points(self) -> str:
        """The unit of a difference: points for percent."""
        return "points" if self.unit == "%" else self.unit or "units"

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Optuna's word."""
        return "maximize" if self.higher_is_better else "minimize"

    def gain(self, value: float, over: float) -> float:
        """By how much `value` is better than `over`; negative if it is worse."""
        return value - over if self.higher_is_better else over - value

    def rank(self, value: float | None) -> float:
        """A sort key: the best value first, None and NaN last."""
        if value is None or math.isnan(value):
            return math.inf
        return -value if self.higher_is_better else value

    def best(self, values: Iterable[float | None]) -> float | None:
        """The best of the values; None if there is none."""
        known = [value for value in values if value is not None and not math.isnan(value)]
        return min(known, key=self.rank, default=None)

    def reaches(self, value: float, target: float) -> bool:
        """Whether `value` is as good as `target` or better."""
        return self.gain(value, target) >= 0

    def show(self, value: float) -> str:
        """A value in a sentence, as in `0.9833`; with its unit if it is not a fraction, as in `24.5000 dB`."""
        return f"{value:.4f} {self.unit.strip('%')}".rstrip()

    def in_unit(self, value: float) -> float:
        """A value, or a difference, in `unit`: percent of a fraction."""
        return value * self.scale

    def table(self, value: float, *, sign: str = "") -> str:
        """A value, or a difference, in `unit` for a table, as in `98.33`; with "+" as sign, as in `+0.73`."""
        return f"{self.in_unit(value):{sign}.{self.unit_digits}f}"

    @property
    def in_tables(self) -> str:
        """The end of a column's heading, after the name of the split: `test, %`."""
        return f", {self.unit}" if self.unit else ""

    @property
    def near_best(self) -> float:
        """A value within this difference of the best is near the best: 1 point of accuracy."""
        return 5 * self.margin

    @property
    def in_sight(self) -> float:
        """A value within this difference of the best is drawn on the same axis: 10 points of accuracy."""
        return 50 * self.margin

    def check_target(self, value: float) -> None:
        """Raises ValueError for a value that no network can reach."""
        if self.unit == "%" and not 0 < value < 1:
            raise ValueError(f"out of reach; {self.words} is a fraction between 0 and 1, as 0.9")


@dataclass(frozen=True)
class Measured:
    """Results on a split."""

    metrics: Mapping[str, float]
    """With `loss` among them, mean over the samples."""
    confusion: tuple[tuple[int, ...], ...] | None = None
    """Counts by [true class][predicted class], if the task has classes."""
    correct: bytes | None = None
    """If the score is a share of the samples: 1 for each sample that it counts, else 0, in the order of the split."""


WORDS = {"mean_iou": "mean IoU"}
SHORT = {"accuracy": "acc", "pixel_accuracy": "px acc", "mean_iou": "mIoU"}


def words_of(name: str) -> str:
    """A metric's name in a sentence."""
    return WORDS.get(name, name.replace("_", " "))


def short_name(name: str) -> str:
    """A metric's name in narrow columns."""
    return SHORT.get(name, words_of(name))


ACCURACY = Metric("accuracy", unit="%", margin=0.002, counts_samples=True)
PIXEL_ACCURACY = Metric("pixel_accuracy", unit="%", margin=0.002)
MEAN_IOU = Metric("mean_iou", unit="%", margin=0.002)
LOSS = Metric("loss", higher_is_better=False, worst=1e3, unit_digits=4, margin=0.01)
