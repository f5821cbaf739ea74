"""What a file is that was taken for another kind: a web page in place of a download, a pointer in place of its data."""

import gzip
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


def odd_kind(path: Path) -> str | None:
    """What the file is by its first bytes, if that is a thing that no dataset is."""
    with path.open("rb") as file:
        beginning = file.read(512)
    if not beginning:
        return "empty"
    plain = beginning.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((kind for start, kind in _BEGINNINGS if plain.startswith(start)), None)


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
