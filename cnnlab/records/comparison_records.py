"""What a comparison says while it goes; each of its arms is a sweep of its own."""

from collections.abc import Sequence
from dataclasses import field
from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass

from cnnlab.metrics import ACCURACY, Metric
from cnnlab.records.record import CONFIG, Ended, MetricRow, Record, Status, named, rows


@dataclass(frozen=True, config=CONFIG)
class ComparisonStarted(Record):
    """A comparison begins or goes on."""

    begins: ClassVar[bool] = True
    record: Literal["comparison_started"] = field(default="comparison_started", kw_only=True)
    time: float
    name: str
    question: str
    """`optimizer`, or the setting that is compared."""
    arms: tuple[str, ...]
    trials: int
    """Of each arm's search."""
    seeds: int
    """Of each arm's finals."""
    score: Metric = ACCURACY
    margin: float = ACCURACY.margin
    """A difference of the score too small to matter."""
    target: float | None = None
    """The validation score that was asked for."""
    where: str = ""
    """The number of trainings that ran side by side, in words."""

    def mlflow_tags(self, *, of_trial: bool = False) -> dict[str, str]:
        return named(
            {
                "status": "running",
                "question": self.question,
                "arms": ", ".join(self.arms),
                "trials": str(self.trials),
                "seeds": str(self.seeds),
            }
        )

    def death(self, records: Sequence[Record], at: float, word: str) -> "ComparisonEnded":
        return ComparisonEnded(at, "died", "its process died; the same command goes on", {}, (), "")


@dataclass(frozen=True, config=CONFIG)
class MeanOfSeeds(Record):
    """One arm's finals after an epoch, all seeds together."""

    record: Literal["mean_of_seeds"] = field(default="mean_of_seeds", kw_only=True)
    time: float
    step: int
    train_loss: float
    val: float
    """The mean validation score."""
    low: float
    """95 % bootstrap interval of the mean."""
    high: float
    score: str = "accuracy"

    def mlflow_metrics(self) -> list[MetricRow]:
        name = f"val/{self.score}"
        values: dict[str, float | None] = {
            "train/epoch_loss": self.train_loss,
            name: self.val,
            f"{name}_low": self.low,
            f"{name}_high": self.high,
        }
        return rows(values, self.time, self.step)


@dataclass(frozen=True, config=CONFIG)
class ComparisonEnded(Ended):
    """What a comparison came to, so far."""

    leaves_report: ClassVar[bool] = True
    record: Literal["comparison_ended"] = field(default="comparison_ended", kw_only=True)
    time: float
    status: Status
    reason: str
    scores: dict[str, float]
    """Arm -> its mean test score."""
    ranking: tuple[str, ...]
    verdict: str
    score: str = "accuracy"

    def mlflow_metrics(self) -> list[MetricRow]:
        return rows({f"test/{self.score}/{arm}": value for arm, value in self.scores.items()}, self.time, 0)

    def mlflow_tags(self, *, of_trial: bool = False) -> dict[str, str]:
        ranking = ", ".join(self.ranking)
        return named({"status": self.status, "reason": self.reason, "ranking": ranking, "verdict": self.verdict})
