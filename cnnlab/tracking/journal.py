"""The journal of a run: one record per line, append-only; MLflow shows a copy of it.

A line is a JSON object that ends with its number and the CRC-32 of all bytes before the CRC. So a changed byte and a
missing line are noticed.
"""

import logging
import os
import threading
import zlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from cnnlab.errors import RunFailed
from cnnlab.files import written_whole
from cnnlab.records import Record, from_line, to_line

log = logging.getLogger("cnnlab")

R = TypeVar("R")

SYNC_SECONDS = 1.0
"""How long a line may wait before it is synced to the disk."""
SUM = b', "sum": "%08x"}'
"""The end of a line: the CRC-32 of the bytes before it."""
END = len(SUM % 0)


def numbered(record: bytes, number: int) -> bytes:
    """The line of a record's JSON with this number, counted from 1."""
    line = record[:-1] + b', "line": %d' % number
    return line + SUM % zlib.crc32(line) + b"\n"


class Journal:
    """Appends records to a file that no other process writes to, and syncs it each second.

    Opening it cuts off a torn last line, which a killed process left, and removes damaged lines (`mend`).
    """

    def __init__(self, path: Path) -> None:
        if damage := mend(path):
            log.warning("%s", damage)
        lines = _load(path)
        self._path, self._number, self._size = str(path), len(lines.records), lines.end
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  (closed by __exit__)
        self._file.truncate(self._size)
        self._unsynced = False
        self._fault: OSError | None = None
        self._closed = threading.Event()
        self._syncing = threading.Thread(target=self._sync_each_second, daemon=True)
        self._syncing.start()

    def write(self, record: Record) -> None:
        """Append a line. It survives a kill of this process; after a second, or `sync`, also a crash of the machine.

        Raises:
            OSError: the line cannot be written, or an earlier one could not be synced; names the file.
        """
        if self._fault:
            raise self._fault
        line = numbered(to_line(record), self._number + 1)
        written = 0
        try:
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)  # half a line would spoil the next one
            raise OSError(error.errno, error.strerror, self._path) from None
        self._number, self._size, self._unsynced = self._number + 1, self._size + len(line), True

    def sync(self) -> None:
        """Wait until all of it is on disk. Raises OSError if it is not, now or at any time before."""
        self._unsynced = False
        try:
            os.fsync(self._file.fileno())
        except OSError as error:  # the system has given these bytes up: a second try would succeed without them
            self._fault = OSError(error.errno, error.strerror, self._path)
        if self._fault:
            raise self._fault

    def _sync_each_second(self) -> None:
        """In a thread of its own: a slow disk does not stop the training."""
        while not self._closed.wait(SYNC_SECONDS):
            if self._unsynced:
                with suppress(OSError):  # the next write raises it
                    self.sync()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._syncing.join()
        try:
            if self._unsynced or self._fault:
                self.sync()
        finally:
            self._file.close()


def read(path: Path, offset: int = 0) -> tuple[list[Record], int]:
    """The records after a byte offset, and the offset after them; all records if no line ends at `offset`.

    A last line that is not whole yet is left for the next call. One warning names damaged and missing lines; all
    others are used.

    Raises:
        RunFailed: it cannot be read, its first line is lost, or a line is of another version.
    """
    lines = _load(path, offset)
    if lines.damage:
        damage = _load(path).damage if offset else lines.damage  # of all of it
        _warn_once(f"{damage}; all others are used")
    return [_record(line, path) for line in lines.records], lines.end


def first(path: Path) -> Record | None:
    """The first record; None if there is none yet. Raises RunFailed as `read`."""
    lines = _load(path, only_first=True)
    return _record(lines.records[0], path) if lines.records else None


def mend(path: Path) -> str | None:
    """Keep a damaged journal under another name, and replace it by its whole lines.

    Only for the process that holds the run.

    Returns:
        One line that names the damage and the other file; None if no line is damaged or missing.

    Raises:
        RunFailed: the first line is lost.
    """
    lines = _load(path)
    if not lines.damage:
        return None
    aside = path.with_name(f"journal.damaged-{1 + len(list(path.parent.glob('journal.damaged-*.jsonl')))}.jsonl")
    whole = b"".join(numbered(record, number) for number, record in enumerate(lines.records, start=1))
    for file, content in ((aside, path.read_bytes()), (path, whole)):
        with written_whole(file, synced=True) as temporary:
            temporary.write_bytes(content)
    path.with_name("delivery.json").unlink(missing_ok=True)  # its offset is one in the damaged journal
    return f"{lines.damage}; all others are used, and the journal as it was is kept as {aside.name}"


def last(records: Sequence[Record], kind: type[R]) -> R | None:
    """The last record of a kind."""
    return next((record for record in reversed(records) if isinstance(record, kind)), None)


class _Lines(NamedTuple):
    records: list[bytes]
    """The whole lines, without number and CRC."""
    end: int
    """The offset after them, without a torn last line."""
    damage: str
    """Names the file and the damaged or missing lines; empty if there are none."""


def _load(path: Path, offset: int = 0, *, only_first: bool = False) -> _Lines:
    """The lines after `offset`, or all if no line ends there. Raises RunFailed if the first line is lost."""
    offset, content = _content(path, offset, only_first)
    *lines, tail = content.split(b"\n")
    if _checked(tail[:-1])[0]:  # a whole line, but its end is another byte: damaged, not torn
        lines, tail = [*lines, tail], b""
    checked = [_checked(line) for line in lines]
    before = last = max(checked[0][0] - 1, 0) if offset and checked else 0
    records: list[bytes] = []
    damaged = since = first_lost = 0  # `since`: damaged lines after the last whole one
    for number, record in checked:
        if number != last + 1:
            first_lost = first_lost or last + 1
        if number > last:
            last, since = number, 0
            records.append(record)
        else:  # damaged, or there twice
            damaged, since = damaged + 1, since + 1
    lost = last - before - len(records) + since or damaged
    if first_lost == 1 and not offset:
        raise RunFailed(
            f"{path}: its first line, which says what the run is, is damaged, missing or of another version of cnnlab; "
            f"make a new run: cnnlab train {path.with_name('config.yaml')}"
        )
    where = f"line {first_lost} is" if lost == 1 else f"{lost} lines are"
    others = f", the first is line {first_lost}" if lost > 1 else ""
    damage = f"{path}: {where} damaged or missing{others}" if lost else ""
    return _Lines(records, offset + len(content) - len(tail), damage)


def _content(path: Path, offset: int, only_first: bool) -> tuple[int, bytes]:
    """The offset and what follows it, from 0 if no line ends at `offset`; nothing if there is no file."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise RunFailed(f"{path}: the journal is no file")
        with open(path, "rb") as file:
            file.seek(max(0, offset - 1))
            if offset and file.read(1) != b"\n":
                offset = file.seek(0)
            return offset, file.readline() if only_first else file.read()
    except FileNotFoundError:
        return offset, b""
    except OSError as error:
        raise RunFailed(f"{path}: the journal cannot be read ({error.strerror})") from None


def _checked(line: bytes) -> tuple[int, bytes]:
    """The number and the record of a whole line; 0 and nothing if it is damaged."""
    content = line[:-END]
    if line[-END:] != SUM % zlib.crc32(content):
        return 0, b""
    record, _, number = content.rpartition(b', "line": ')
    return int(number), record + b"}"


@cache
def _warn_once(damage: str) -> None:
    log.warning("%s", damage)


def _record(line: bytes, path: Path) -> Record:
    try:
        return from_line(line)
    except ValueError as error:
        raise RunFailed(f"{path}: a line of the journal is no record ({error}): {line[:60]!r}") from None
