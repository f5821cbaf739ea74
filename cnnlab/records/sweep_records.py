"""What a sweep says while it goes; its trials are runs of their own."""

import json
from collections.abc import Sequence
from dataclasses import field
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from cnnlab.metrics import ACCURACY, Metric
from cnnlab.records.record import CONFIG, Ended, MetricRow, Record, Status, named, rows


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
    """What a trial's value is: the mean over its seeds of the best validation score."""

    def mlflow_params(self) -> dict[str, str]:
        """The space: `search.optimizer.lr` -> what it may be."""
        return {f"search.{name}": json.dumps(dimension["domain"]) for name, dimension in self.space.items()}

    def mlflow_tags(self, *, of_trial: bool = False) -> dict[str, str]:
        return named(
            {
                "status": "running",
                "trials": str(self.trials),
                "sampler": self.sampler,
                "pruner": self.pruner,
                "seeds": str(self.seeds),
            }
        )

    def death(self, records: Sequence[Record], at: float, word: str) -> "SweepEnded":
        trials = [record for record in records if isinstance(record, TrialEnded)]
        reason = f"its process died after {len(trials)} of {self.trials} trials; the same command goes on"
        complete = [trial for trial in trials if trial.value is not None]
        best = min(complete, key=lambda trial: self.score.rank(trial.value), default=None)
        if best is None:
            return SweepEnded(at, "died", reason, None, None, {})
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
    score: str = "accuracy"

    def mlflow_metrics(self) -> list[MetricRow]:
        """The axis is the number of the trial."""
        values = {f"trial/val_{self.score}": self.value, f"best/val_{self.score}": self.best_value}
        return rows(values, self.time, self.trial)


@dataclass(frozen=True, config=CONFIG)
class SweepEnded(Ended):
    """What a sweep came to, so far."""

    leaves_report: ClassVar[bool] = True
    record: Literal["sweep_ended"] = field(default="sweep_ended", kw_only=True)
    time: float
    status: Status
    reason: str
    best_trial: int | None
    best_value: float | None
    settings: dict[str, Any]
    """Of the best trial."""

    def mlflow_tags(self, *, of_trial: bool = False) -> dict[str, str]:
        best = {f"best.{key}": json.dumps(value) for key, value in self.settings.items()}
        trial = "" if self.best_trial is None else str(self.best_trial)
        return named({"status": self.status, "reason": self.reason, "best_trial": trial, **best})
