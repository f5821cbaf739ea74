"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from cnnlab.process import lives, this_process

MARK = "~"
"""Separates the parts of a temporary name; the last four identify the process that writes it."""


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Within it, an error of the system names this file. The system itself names no file for a file that is open."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


@contextmanager
def written_whole(path: Path, *, synced: bool = False) -> Iterator[Path]:
    """A temporary name to write to. At the end the file replaces `path`: a reader finds the old file or the new one.

    Args:
        synced: whether the file has to survive a crash of the machine, not only of the process.
    """
    remove_abandoned(path.parent)
    temporary = path.with_name(MARK.join([f".{path.name}", *map(str, this_process().values())]))
    try:
        with naming(path):
            yield temporary
            if synced:
                _sync(temporary)
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if synced:
        with naming(path.parent):
            _sync(path.parent)


def abandoned(folder: Path) -> list[Path]:
    """The temporary files that dead processes of this machine left in a folder."""
    return [path for path in folder.glob(f".*{MARK}*{MARK}*") if _owner_is_dead(path.name.split(MARK)[-4:])]


@cache
def remove_abandoned(folder: Path) -> None:
    """Remove the `abandoned` files of a folder, once per process."""
    for path in abandoned(folder):
        with suppress(OSError):
            path.unlink()


def _owner_is_dead(parts: list[str]) -> bool:
    if len(parts) < 4 or not parts[2].isdecimal():
        return False
    host, boot, pid, started = parts
    return lives({"host": host, "boot": boot, "pid": int(pid), "started": started}) is False


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def from_here(path: str) -> str:
    """The path, relative to the present folder if it lies in it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
