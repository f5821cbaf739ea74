"""What every record has in common: a line of the journal, and what it is in MLflow."""

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

from pydantic import ConfigDict

from cnnlab.errors import without_passwords

Status = Literal["finished", "failed", "interrupted", "died", "pruned"]

CONFIG = ConfigDict(strict=True, extra="forbid")
"""Of every record: no value is turned into another type, and no unknown field is passed over."""


class MetricRow(NamedTuple):
    """One value of one curve, as MLflow's database holds it."""

    key: str
    value: float
    time_ms: int
    step: int
    """The number of the training step: the axis that all curves share."""


class Record:
    """One line of a journal.

    A kind of record is a pydantic dataclass with a field `record`, its name in the journal; it says here what it is in
    MLflow. Times are the record's own, so that delivering it twice adds nothing.
    """

    begins: ClassVar[bool] = False
    """Whether the run is running (again) from this record on."""

    @property
    def last(self) -> int:
        """The step that it reaches, if a resumed run makes it again, to the same bits; else 0."""
        return 0

    def after(self, step: int) -> "Record | None":
        """The part of it that lies after this step; None if nothing does. What happens at a moment is always new."""
        return self

    def mlflow_metrics(self) -> list[MetricRow]:
        """What it adds to the curves."""
        return []

    def mlflow_params(self) -> dict[str, str]:
        """MLflow's parameters."""
        return {}

    def mlflow_tags(self, *, of_trial: bool = False) -> dict[str, str]:
        """What the run can be found by.

        Args:
            of_trial: whether the run is a trial of a sweep.
        """
        return {}

    def death(self, records: "Sequence[Record]", at: float, word: str) -> "Ended | None":
        """The last word of a run whose process died after this record; None if another record decides.

        Args:
            records: the whole journal.
            at: when it died, seconds since 1970.
            word: what the run is called in a command.
        """
        return None


class Ended(Record):
    """A run, a sweep or a comparison has ended, in one way or another: a journal's last word, until its run goes on."""

    time: float
    status: Status
    reason: str
    """One sentence if the status is not "finished"; else empty."""

    leaves_report: ClassVar[bool] = False
    """Whether it leaves the report of many runs, not the figures and the network of one."""


def named(tags: dict[str, str]) -> dict[str, str]:
    """Our tags among those of others: `seed` -> `cnnlab.seed`."""
    return {f"cnnlab.{key}": value for key, value in tags.items()}


def as_text(value: str) -> str:
    """What a database takes: a path need not be text, and the bytes of it that are none are written as numbers.

    Passwords are left out.
    """
    return without_passwords(value.encode("utf-8", "backslashreplace").decode())


def milliseconds(time: float) -> int:
    """Seconds -> MLflow's unit."""
    return int(time * 1000)


def rows(values: dict[str, float | None], time: float, step: int) -> list[MetricRow]:
    """A row for each value that is known."""
    at = milliseconds(time)
    return [MetricRow(key, float(value), at, step) for key, value in values.items() if value is not None]
