"""What all records have in common: a line of the journal, and the conversion to MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import ClassVar, Literal, NamedTuple

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from cnnlab.errors import without_passwords

Status = Literal["finished", "failed", "interrupted", "died", "pruned"]

CONFIG = ConfigDict(strict=True, extra="forbid")
"""Of all records: no value is converted to another type, and unknown fields are refused."""


class MetricRow(NamedTuple):
    """One value of one curve, as MLflow's database holds it."""

    key: str
    value: float
    time_ms: int
    step: int
    """The number of the training step: the axis that all curves share."""


@dataclass(frozen=True, config=CONFIG)
class Record:
    """One line of a journal.

    Each kind of record has a fixed value of `record`, and converts itself to MLflow's entities. Times are the record's
    own, so that delivering it twice adds nothing.
    """

    begins: ClassVar[bool] = False
    """Whether the run is running (again) from this record on."""

    record: str = field(kw_only=True)
    """The kind's name in the journal."""

    @property
    def last(self) -> int:
        """The step that the record reaches, if a resumed run writes it again, with the same bits; else 0."""
        return 0

    def after(self, step: int) -> "Record | None":
        """The part of the record after this step; None if there is none. All of it, if it has no position."""
        return self

    def mlflow_metrics(self) -> list[MetricRow]:
        """The record's values on MLflow's curves."""
        return []

    def mlflow_params(self) -> dict[str, str]:
        """MLflow's parameters."""
        return {}

    def mlflow_tags(self) -> dict[str, str]:
        """MLflow's tags."""
        return {}

    def death(self, records: "Sequence[Record]", at: float, word: str) -> "Ended | None":
        """The last record of a run whose process died after this one; None if another record decides.

        Args:
            records: the whole journal.
            at: when the process died, seconds since 1970.
            word: the run's name in a command.
        """
        return None


@dataclass(frozen=True, config=CONFIG)
class Ended(Record):
    """The last record of a run, a sweep or a comparison, unless that is resumed."""

    time: float
    status: Status
    reason: str
    """One sentence if the status is not "finished"; else empty."""

    def mlflow_tags(self) -> dict[str, str]:
        """The status exactly, which MLflow's own does not say."""
        return named({"status": self.status, "reason": self.reason})


def named(tags: dict[str, str]) -> dict[str, str]:
    """The tags with our prefix: `seed` -> `cnnlab.seed`."""
    return {f"cnnlab.{key}": value for key, value in tags.items()}


def running(record: Record, *fields: str) -> dict[str, str]:
    """The tags of a run that has begun: the values of these fields."""
    return named({"status": "running", **{name: str(getattr(record, name)) for name in fields}})


def as_text(value: str) -> str:
    """Text that a database takes, without passwords; the bytes of a path that are no text are written as numbers."""
    return without_passwords(value.encode("utf-8", "backslashreplace").decode())


def milliseconds(time: float) -> int:
    """Seconds -> MLflow's unit."""
    return int(time * 1000)


def rows(values: Mapping[str, float | None], time: float, step: int) -> list[MetricRow]:
    """A row per value that is not None."""
    at = milliseconds(time)
    return [MetricRow(key, float(value), at, step) for key, value in values.items() if value is not None]
