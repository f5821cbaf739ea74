"""The records of a sweep, whose trials have journals of their own; and of a comparison, whose sweeps have."""

import json
from collections.abc import Sequence
from dataclasses import field
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from cnnlab.metrics import ACCURACY, Metric
from cnnlab.records.record import CONFIG, Ended, MetricRow, Record, named, rows, running


@dataclass(frozen=True, config=CONFIG)
class SweepStarted(Record):
    """A sweep begins or goes on."""

    begins: ClassVar[bool] = True
    record: Literal["sweep_started"] = field(default="sweep_started", kw_only=True)
    time: float
    study: str
    storage: str
    trials: int
    sampler: str
    pruner: str
    seeds: int
    space: dict[str, Any]
    score: Metric = ACCURACY
    """The metric of a trial's value, which is the mean over its seeds of the best validation score."""

    def mlflow_params(self) -> dict[str, str]:
        """The search space: `search.optimizer.lr` -> its domain."""
        return {f"search.{name}": json.dumps(dimension["domain"]) for name, dimension in self.space.items()}

    def mlflow_tags(self) -> dict[str, str]:
        return running(self, "trials", "sampler", "pruner", "seeds")

    def death(self, records: Sequence[Record], at: float, word: str) -> "SweepEnded":
        trials = [record for record in records if isinstance(record, TrialEnded)]
        reason = f"its process died after {len(trials)} of {self.trials} trials; the same command goes on"
        complete = [trial for trial in trials if trial.value is not None]
        if not complete:
            return SweepEnded(at, "died", reason, None, None, {})
        best = min(complete, key=lambda trial: self.score.rank(trial.value))
        return SweepEnded(at, "died", reason, best.trial, best.value, best.settings)


@dataclass(frozen=True, config=CONFIG)
class TrialEnded(Record):
    """A trial of a sweep has ended."""

    record: Literal["trial_ended"] = field(default="trial_ended", kw_only=True)
    time: float
    trial: int
    state: str
    """complete, pruned, infeasible (it diverged) or failed."""
    value: float | None
    """The mean over its seeds of the best validation score; None if it was not trained to its end."""
    best_value: float | None
    """Of all trials so far."""
    settings: dict[str, Any]
    ended: int
    """The number of trials that have ended, this one included."""
    score: str = "accuracy"

    def mlflow_metrics(self) -> list[MetricRow]:
        """The axis is `ended`: trials end in another order than that of their numbers."""
        values = {f"trial/val_{self.score}": self.value, f"best/val_{self.score}": self.best_value}
        return rows(values, self.time, self.ended)


@dataclass(frozen=True, config=CONFIG)
class SweepEnded(Ended):
    """A sweep has ended; with its best trial so far."""

    record: Literal["sweep_ended"] = field(default="sweep_ended", kw_only=True)
    best_trial: int | None
    best_value: float | None
    settings: dict[str, Any]
    """Of the best trial."""
    warnings: tuple[str, ...] = ()

    def mlflow_tags(self) -> dict[str, str]:
        warnings = {f"finding.{number}": text for number, text in enumerate(self.warnings, start=1)}
        best = {f"best.{key}": json.dumps(value) for key, value in self.settings.items()}
        trial = "" if self.best_trial is None else str(self.best_trial)
        return {**super().mlflow_tags(), **named({"best_trial": trial, **best, **warnings})}


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
    tunings: int
    """Of each arm."""
    trials: int
    """Of each tuning."""
    seeds: int
    """Of each tuning's finals."""
    score: Metric = ACCURACY
    margin: float = ACCURACY.margin
    """A difference of the score too small to matter."""
    target: float | None = None
    """The validation score that was asked for."""
    test_size: int = 0
    """The number of test images; 0 if the score does not count them."""
    chance: float | None = None
    """The score of a network that has learned nothing, if it is known."""
    where: str = ""
    """The number of trainings that ran side by side, in words."""

    def mlflow_tags(self) -> dict[str, str]:
        return {**running(self, "question", "tunings", "trials", "seeds"), **named({"arms": ", ".join(self.arms)})}

    def death(self, records: Sequence[Record], at: float, word: str) -> "ComparisonEnded":
        return ComparisonEnded(at, "died", "its process died; the same command goes on", {}, (), "")


@dataclass(frozen=True, config=CONFIG)
class MeanOfFinals(Record):
    """One arm's finals after an epoch, all together."""

    record: Literal["mean_of_finals"] = field(default="mean_of_finals", kw_only=True)
    time: float
    step: int
    train_loss: float
    val: float
    """The mean validation score."""
    low: float | None
    """95 % interval of the mean; None for fewer than 3 finals."""
    high: float | None
    score: str = "accuracy"

    def mlflow_metrics(self) -> list[MetricRow]:
        val = f"val/{self.score}"
        values = {"train/epoch_loss": self.train_loss, val: self.val, f"{val}_low": self.low, f"{val}_high": self.high}
        return rows({name: value for name, value in values.items() if value is not None}, self.time, self.step)


@dataclass(frozen=True, config=CONFIG)
class ComparisonEnded(Ended):
    """A comparison has ended; with its scores so far."""

    record: Literal["comparison_ended"] = field(default="comparison_ended", kw_only=True)
    scores: dict[str, float]
    """Arm -> its mean test score."""
    ranking: tuple[str, ...]
    verdict: str
    claim: str = ""
    """`optimizers` or `settings`: what the verdicts are about."""
    tunings: int = 0
    trials: int = 0
    seeds: int = 0
    score: str = "accuracy"

    def mlflow_metrics(self) -> list[MetricRow]:
        return rows({f"test/{self.score}/{arm}": value for arm, value in self.scores.items()}, self.time, 0)

    def mlflow_tags(self) -> dict[str, str]:
        ranking = ", ".join(self.ranking)
        return {**super().mlflow_tags(), **named({"ranking": ranking, "verdict": self.verdict, "claim": self.claim})}
