"""What a run writes into its journal: small frozen records, one per line.

To add a kind of record, write a class in one of these files, with its conversion to MLflow, and list it in `_records`.
"""

import json
from contextlib import suppress
from functools import cache
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from cnnlab.records.record import Ended, Record, Status, milliseconds
from cnnlab.records.run_records import CheckpointSealed, Epoch, Norms, RunCreated, RunEnded, RunStarted, Steps
from cnnlab.records.search_records import (
    ComparisonEnded,
    ComparisonStarted,
    MeanOfFinals,
    SweepEnded,
    SweepStarted,
    TrialEnded,
)

__all__ = [
    "CheckpointSealed",
    "ComparisonEnded",
    "ComparisonStarted",
    "Ended",
    "Epoch",
    "MeanOfFinals",
    "Norms",
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
    return json.dumps(_records().dump_python(record)).encode()  # pydantic's JSON refuses a path that is not UTF-8


def from_line(line: bytes) -> Record:
    """The inverse of `to_line`. Raises ValueError if the line is no record of this version."""
    try:
        return _records().validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":  # pydantic's reader says so of a path that is not UTF-8 too
            with suppress(ValueError, RecursionError):
                return _records().validate_python(json.loads(line), strict=False)
        where = ".".join(str(item) for item in first["loc"][1:])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


@cache
def _records() -> TypeAdapter[Record]:
    """Pydantic reads a journal of a million steps in a fifth of the time that json and our own checks took."""
    training = RunCreated | RunStarted | Steps | Norms | Epoch | CheckpointSealed | RunEnded
    search = SweepStarted | TrialEnded | SweepEnded | ComparisonStarted | MeanOfFinals | ComparisonEnded
    return TypeAdapter(Annotated[training | search, Field(discriminator="record")])
