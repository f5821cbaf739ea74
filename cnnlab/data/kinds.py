"""What a file is that was taken for another kind: a web page in place of a download, a pointer in place of its data."""

import gzip
import re
from pathlib import Path

from cnnlab.errors import BadInput

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
"""Bytes that any file may unpack to."""
MOST_TIMES = 100
"""A file may unpack to so many times its size; images take less, and 1,000 times is all that is possible."""


def odd_kind(path: Path) -> str | None:
    """What the file is by its first bytes, if that is a thing that no dataset is. An .npz file is a zip archive."""
    with path.open("rb") as file:
        beginning = file.read(BEGINNING)
    return None if path.suffix.lower() == ".npz" and beginning.startswith(b"PK") else kind_of(beginning)


def kind_of(beginning: bytes) -> str | None:
    """The same of a file that begins with these bytes."""
    if not beginning:
        return "empty"
    plain = beginning.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    known = next((kind for start, kind in _BEGINNINGS if plain.startswith(start)), None)
    return known or ("a text file" if is_text(beginning) else None)


def is_text(beginning: bytes) -> bool:
    """Whether a file that begins with these bytes is text: it has no control characters."""
    return re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", beginning) is None


def is_gzip(path: Path) -> bool:
    """Whether it was packed by gzip, whatever its name says."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def check_unpacked(path: Path, size: int) -> None:
    """Raises BadInput if a file unpacks to `size` bytes that no images would."""
    packed = path.stat().st_size
    if size > max(SMALL, MOST_TIMES * packed):
        raise BadInput(
            f"data.root: {path} has {packed:,} bytes and unpacks to more than {max(SMALL, MOST_TIMES * packed):,}; "
            "if it is what it should be, unpack it first"
        )


class Unpacked(gzip.GzipFile):
    """What a file holds that was packed by gzip; BadInput from `read` as of `check_unpacked`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path
        self._most = max(SMALL, MOST_TIMES * path.stat().st_size)

    def read(self, size: int | None = -1) -> bytes:
        """All that is left if `size` is -1 or None."""
        least = 0 if size is None or size < 0 else size
        check_unpacked(self._path, self.tell() + least)
        content = super().read(least or self._most + 1 - self.tell())
        check_unpacked(self._path, self.tell())
        return content
