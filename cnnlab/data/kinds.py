"""The kind of a file by its first bytes (a web page in place of a download), and limits on what it unpacks to."""

import gzip
import re
from pathlib import Path

from cnnlab.errors import BadInput, printable

_BEGINNINGS = (
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML page"),
    (b"version https://git-lfs", "a pointer of Git LFS; git lfs pull fetches the file"),
    (b"pk\x03\x04", "a zip archive; unpack it first"),
)
BEGINNING = 512
"""Bytes by which a file's kind is known."""
SMALL = 2**30
"""Any file may unpack to this number of bytes."""
MOST_TIMES = 100
"""A file may unpack to this multiple of its size; images take less, and 1,000 times is the most that is possible."""


def bad_files(message: str) -> BadInput:
    """The error that what lies at data.root is wrong."""
    return BadInput(f"data.root: {shown(message)}")


def shown(text: str) -> str:
    """Names of files as text: bytes that are no UTF-8 and control characters become their codes."""
    return printable(re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", text))


def odd_kind(path: Path) -> str | None:
    """The kind of a file that no dataset has, by its first bytes; None for others. An .npz file is a zip archive."""
    with path.open("rb") as file:
        beginning = file.read(BEGINNING)
    return None if path.suffix.lower() == ".npz" and beginning.startswith(b"PK") else kind_of(beginning)


def kind_of(beginning: bytes) -> str | None:
    """The same for a file that begins with these bytes."""
    if not beginning:
        return "empty"
    plain = beginning.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    known = next((kind for start, kind in _BEGINNINGS if plain.startswith(start)), None)
    return known or ("a text file" if is_text(beginning) else None)


def is_text(beginning: bytes) -> bool:
    """Whether there are no control characters."""
    return re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", beginning) is None


def is_gzip(path: Path) -> bool:
    """By its first bytes, whatever its name is."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def check_unpacked(path: Path, size: int) -> None:
    """Raises BadInput if a file unpacks to `size` bytes, which is too much for images."""
    packed = path.stat().st_size
    if size > max(SMALL, MOST_TIMES * packed):
        raise bad_files(
            f"{path} has {packed:,} bytes and unpacks to more than {max(SMALL, MOST_TIMES * packed):,}; "
            "if you trust it, unpack it first"
        )


class Unpacked(gzip.GzipFile):
    """The content of a file that gzip packed; `read` raises BadInput as `check_unpacked` does."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path
        self._most = max(SMALL, MOST_TIMES * path.stat().st_size)

    def read(self, size: int | None = -1) -> bytes:
        least = 0 if size is None or size < 0 else size
        check_unpacked(self._path, self.tell() + least)
        content = super().read(least or self._most + 1 - self.tell())
        check_unpacked(self._path, self.tell())
        return content
