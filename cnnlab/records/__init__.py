"""What a run says while it goes: small frozen records, one line of the journal each.

A new kind of record is a class in one of these files: it names itself, says what it is in MLflow, and what a death
after it looks like.
"""

import json
from collections.abc import Iterator
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from cnnlab.records.comparison_records import ComparisonEnded, ComparisonStarted, MeanOfSeeds
from cnnlab.records.record import Ended, MetricRow, Record, Status, milliseconds
from cnnlab.records.run_records import CheckpointSealed, Epoch, RunCreated, RunEnded, RunStarted, Steps
from cnnlab.records.sweep_records import SweepEnded, SweepStarted, TrialEnded

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
    return json.dumps(_any().dump_python(record)).encode()  # pydantic's own JSON refuses a path that is no text


def from_line(line: bytes) -> Record:
    """The inverse of `to_line`. Raises ValueError if the line is no record of this version."""
    try:
        return _any().validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid" and (read := _with_surrogates(line)):
            return read
        where = ".".join(str(item) for item in first["loc"][1:])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def _with_surrogates(line: bytes) -> Record | None:
    """A line with a path that is no text, which pydantic's own reader of JSON refuses; None if it is no record."""
    try:
        return _any().validate_python(json.loads(line), strict=False)
    except (ValueError, RecursionError):
        return None


@cache
def _any() -> TypeAdapter[Record]:
    """Pydantic reads a journal of a million steps in a fifth of the time that json and our own checks took."""
    one_of: Any = reduce(or_, (kind for kind in _below(Record) if hasattr(kind, "record")))
    return TypeAdapter(Annotated[one_of, Field(discriminator="record")])


def _below(base: type[Record]) -> Iterator[Any]:
    for kind in base.__subclasses__():
        yield kind
        yield from _below(kind)
