"""The journal of a run: one record a line, append-only, the truth of which MLflow is a view."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from cnnlab.errors import RunFailed
from cnnlab.files import naming
from cnnlab.records import Record, from_line, to_line

R = TypeVar("R")


class Journal:
    """Appends records to a file. A torn last line, left by a process that was killed, is cut off first."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab+")  # noqa: SIM115  (closed by __exit__)
        self._file.seek(0)
        self._file.truncate(_whole_length(self._file.read()))

    def write(self, record: Record) -> None:
        """One line; it survives the death of this process, and after `sync` that of the machine."""
        with naming(self._file.name):
            self._file.write(to_line(record) + b"\n")
            self._file.flush()

    def sync(self) -> None:
        """Wait until all of it is on disk."""
        with naming(self._file.name):
            os.fsync(self._file.fileno())

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read(path: Path, offset: int = 0) -> tuple[list[Record], int]:
    """The records from a byte offset on, and the offset behind them.

    A last line that is not whole yet is left for the next time; a kind of record that this version does not know is
    passed over.

    Raises:
        RunFailed: it cannot be read, or a line in the middle is no record.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            if path.exists():
                raise RunFailed(f"{path}: the journal is no file")
            return [], offset
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read()
    except OSError as error:
        raise RunFailed(f"{path}: the journal cannot be read ({error.strerror})") from None
    data = data[: _whole_length(data)]
    records = []
    for line in data.splitlines():
        try:
            record = from_line(line)
        except ValueError as error:
            raise RunFailed(f"{path}: a line of the journal is no record ({error}): {line[:60]!r}") from None
        if record is not None:
            records.append(record)
    return records, offset + len(data)


def last(records: Sequence[Record], kind: type[R]) -> R | None:
    """The last record of a kind."""
    return next((record for record in reversed(records) if isinstance(record, kind)), None)


def _whole_length(data: bytes) -> int:
    return data.rfind(b"\n") + 1
