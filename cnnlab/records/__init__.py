"""What a run says while it goes: small frozen records, one line of the journal each.

A new kind of record is a class in one of these files: it names itself, says what it is in MLflow, and what a death
after it looks like.
"""

from functools import cache, reduce
from operator import or_
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from cnnlab.records.comparison import ComparisonEnded, ComparisonStarted, MeanOfSeeds
from cnnlab.records.ended import Ended
from cnnlab.records.record import MetricRow, Record, Status, milliseconds
from cnnlab.records.run import CheckpointSealed, Epoch, RunCreated, RunEnded, RunStarted, Steps
from cnnlab.records.sweep import SweepEnded, SweepStarted, TrialEnded

__all__ = [
    "CheckpointSealed",
    "ComparisonEnded",
    "ComparisonStarted",
    "Ended",
    "Epoch",
    "MeanOfSeeds",
    "MetricRow",
    "Record",
    "RunCreated",
    "RunEnded",
    "RunStarted",
    "Status",
    "Steps",
    "SweepEnded",
    "SweepStarted",
    "TrialEnded",
    "from_line",
    "milliseconds",
    "to_line",
]


def to_line(record: Record) -> bytes:
    """The record as a line of JSON, without the line's end."""
    return _any().dump_json(record)


def from_line(line: bytes) -> Record | None:
    """The inverse of `to_line`, of this version's lines and of those before; None for a kind that is not known.

    Raises:
        ValueError: the line is no record.
    """
    try:
        record: Record = _any().validate_json(line)
        return record
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "union_tag_invalid":
            return None
        where = ".".join(str(item) for item in first["loc"][1:])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


@cache
def _any() -> TypeAdapter[Any]:
    kinds = reduce(or_, _kinds(Record))
    # a loss may be NaN or infinite
    config = ConfigDict(ser_json_inf_nan="constants")
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[kinds, Field(discriminator="record")], config=config)  # type: ignore[arg-type]
    return adapter


def _kinds(base: type[Record]) -> list[Any]:
    """Every class below `base` that names a kind of record."""
    return [kind for below in base.__subclasses__() for kind in ([below] if _is_kind(below) else _kinds(below))]


def _is_kind(kind: type[Record]) -> bool:
    return "record" in getattr(kind, "__dataclass_fields__", {})
