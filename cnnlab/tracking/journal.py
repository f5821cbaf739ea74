"""The journal of a run: one record a line, append-only, the truth of which MLflow is a view.

A line is a JSON object that ends with its number and the CRC-32 of all that stands before the CRC. So a changed byte
and a missing line are noticed.
"""

import logging
import os
import threading
import zlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

from cnnlab.errors import RunFailed
from cnnlab.files import written_whole
from cnnlab.records import Record, from_line, to_line

log = logging.getLogger("cnnlab")

R = TypeVar("R")

SYNC_SECONDS = 1.0
"""The longest time that a line waits until it is on disk and not only with the system."""
SUM = b', "sum": "%08x"}'
"""A line's end: the CRC-32 of what stands before it."""
END = len(SUM % 0)


def numbered(record: bytes, number: int) -> bytes:
    """A record's JSON as the line with this number, counted from 1; with its end."""
    line = record[:-1] + b', "line": %d' % number
    return line + SUM % zlib.crc32(line) + b"\n"


class Journal:
    """Appends records to a file that nobody else writes to, and syncs it each second.

    Opening it cuts off a torn last line, which a killed process left, and sets damaged lines aside (`mend`).
    """

    def __init__(self, path: Path) -> None:
        if fault := mend(path):
            log.warning("%s", fault)
        whole = _sort(_read_bytes(path)[1])
        self._path, self._number, self._size = str(path), len(whole.records), whole.size
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  (closed by __exit__)
        self._file.truncate(self._size)
        self._unsynced = False
        self._fault: OSError | None = None
        self._closed = threading.Event()
        self._syncing = threading.Thread(target=self._sync_each_second, daemon=True)
        self._syncing.start()

    def write(self, record: Record) -> None:
        """One line. It survives the death of this process; after a second, or `sync`, that of the machine.

        Raises:
            OSError: it cannot be written, or an earlier one could not be synced; names the file.
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._syncing.join()
        try:
            if self._unsynced or self._fault:
                self.sync()
        finally:
            self._file.close()


def read(path: Path, offset: int = 0) -> tuple[list[Record], int]:
    """The records from a byte offset on, and the offset behind them; from the start if no line ends at `offset`.

    A last line that is not whole yet is left for the next time. Lines that are damaged or missing are named in one
    warning; all others are used.

    Raises:
        RunFailed: it cannot be read, its first line is lost, or a line is of another version.
    """
    offset, data = _read_bytes(path, offset)
    lines = _sort(data, begins=offset == 0)
    if lines.lost:
        _warn_once(f"{_fault(path, _sort(_read_bytes(path)[1]))}; all others are used")
    return [_record(line, path) for line in lines.records], offset + lines.size


def first(path: Path) -> Record | None:
    """The first record; None if there is none yet. Raises RunFailed as `read`."""
    lines = _sort(_read_bytes(path, only_first=True)[1])
    if lines.lost:
        _fault(path, lines)
    return _record(lines.records[0], path) if lines.records else None


def mend(path: Path) -> str | None:
    """Set aside what is damaged: the journal goes on with its whole lines, and is kept as it was under another name.

    Only for the process that holds the run.

    Returns:
        What was done, in one line; None if no line is damaged or missing.

    Raises:
        RunFailed: the first line is lost.
    """
    data = _read_bytes(path)[1]
    lines = _sort(data)
    if not lines.lost:
        return None
    fault = _fault(path, lines)
    aside = path.with_name(f"journal.damaged-{1 + len(list(path.parent.glob('journal.damaged-*.jsonl')))}.jsonl")
    whole = b"".join(numbered(record, number) for number, record in enumerate(lines.records, start=1))
    for file, content in ((aside, data), (path, whole)):
        with written_whole(file, synced=True) as temporary:
            temporary.write_bytes(content)
    path.with_name("delivery.json").unlink(missing_ok=True)  # its offset is of the journal as it was
    return f"{fault}; all others are used, and the journal as it was is kept as {aside.name}"


def last(records: Sequence[Record], kind: type[R]) -> R | None:
    """The last record of a kind."""
    return next((record for record in reversed(records) if isinstance(record, kind)), None)


def _read_bytes(path: Path, offset: int = 0, *, only_first: bool = False) -> tuple[int, bytes]:
    """What follows `offset`, or all where no line ends there; empty if there is no file."""
    try:
        if not path.is_file():  # a pipe would be waited for
            if path.exists():
                raise RunFailed(f"{path}: the journal is no file")
            return offset, b""
        with open(path, "rb") as file:
            if only_first:
                return 0, file.readline()
            file.seek(max(0, offset - 1))
            if offset and file.read(1) != b"\n":
                offset = file.seek(0)
            return offset, file.read()
    except OSError as error:
        raise RunFailed(f"{path}: the journal cannot be read ({error.strerror})") from None


class _Lines(NamedTuple):
    records: list[bytes]
    """The whole lines, without number and CRC."""
    lost: int
    """How many lines are damaged or missing."""
    first_lost: int
    """The number of the first of them."""
    size: int
    """Bytes, without a torn last line."""


def _sort(data: bytes, *, begins: bool = True) -> _Lines:
    """The whole and the lost lines of a journal's bytes, from its begin or from the start of a later line on."""
    *lines, tail = data.split(b"\n")
    if _checked(tail[:-1]):  # a whole line, but its end is another byte: damaged, not torn
        lines, tail = [*lines, tail], b""
    checked = [_checked(line) for line in lines]
    start = last = 0 if begins else next((number for number, _ in filter(None, checked)), 1) - 1
    records: list[bytes] = []
    damaged = since = first_lost = 0
    for number, record in ((0, b"") if one is None else one for one in checked):
        if number != last + 1:
            first_lost = first_lost or last + 1
        if number <= last:  # damaged, or there twice
            damaged, since = damaged + 1, since + 1
            continue
        last, since = number, 0
        records.append(record)
    lost = last - start - len(records) + since
    return _Lines(records, lost or damaged, first_lost, len(data) - len(tail))


def _checked(line: bytes) -> tuple[int, bytes] | None:
    """The number and the record of a whole line; None if it is damaged."""
    content = line[:-END]
    if line[-END:] != SUM % zlib.crc32(content):
        return None
    record, _, number = content.rpartition(b', "line": ')
    return int(number), record + b"}"


def _fault(path: Path, lines: _Lines) -> str:
    """Names the lost lines. Raises RunFailed if the first one, which says what the run is, is among them."""
    if lines.first_lost == 1:
        raise RunFailed(
            f"{path}: its first line, which says what the run is, is damaged, missing or of another version of cnnlab; "
            f"make a new run: cnnlab train {path.with_name('config.yaml')}"
        )
    if lines.lost == 1:
        return f"{path}: line {lines.first_lost} is damaged or missing"
    return f"{path}: {lines.lost} lines are damaged or missing, the first is line {lines.first_lost}"


@cache
def _warn_once(fault: str) -> None:
    log.warning("%s", fault)


def _record(line: bytes, path: Path) -> Record:
    try:
        return from_line(line)
    except ValueError as error:
        raise RunFailed(f"{path}: a line of the journal is no record ({error}): {line[:60]!r}") from None
