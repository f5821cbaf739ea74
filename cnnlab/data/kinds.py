"""What a file is that was taken for another kind: a web page in place of a download, a pointer in place of its data."""

import gzip
import re
import zlib
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


def content(path: Path) -> bytes:
    """The bytes of a file, unpacked if they were packed by gzip, whatever its name says.

    Raises:
        BadInput: it cannot be read, or is packed and not whole.
    """
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"data.root: {path} cannot be read ({error}); remove it, and get it again") from None
