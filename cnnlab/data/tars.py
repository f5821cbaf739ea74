"""Tar archives as WebDataset has them: members `key.jpg` and `key.cls` side by side."""

import io
import json
import re
import tarfile
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cnnlab.data.dataset import Source
from cnnlab.data.kinds import Unpacked, is_gzip, odd_kind
from cnnlab.data.labels import numbered
from cnnlab.data.listing import Listing, read_pictures
from cnnlab.data.names import SPLITS, is_junk
from cnnlab.data.parquet import split_of
from cnnlab.data.pictures import SUFFIXES, Picture
from cnnlab.errors import BadInput

ENDINGS = (".tar", ".tar.gz", ".tgz")
CLASS_ENDINGS = ("cls", "class", "label", "target", "txt")
JSON_KEYS = ("label", "cls", "class", "target")
MOST_LABEL = 2**16
"""Bytes of what says a class."""
NAMES = "classnames.txt"
"""Beside the archives: the name of class 0, 1 .., one a line."""


def is_tar(path: Path) -> bool:
    """By its name."""
    return path.name.lower().endswith(ENDINGS)


def read_tars(paths: Sequence[Path], top: Path, side: int, skip_broken: bool, names: Path | None = None) -> Source:
    """Pictures of (3, side, side), splits by the names of the archives or of their folders.

    Raises:
        BadInput: naming an archive that is not whole, or a picture in it without a class.
    """
    by_split: dict[str, list[tuple[Picture, str]]] = {}
    for path in paths:
        by_split.setdefault(split_of(path), []).extend(_samples(path))
    if not by_split.get("train"):
        raise BadInput(f"data.root: {top} has no archive of training pictures with classes; unpack plain ones first")
    found = {split: by_split[split] for split in SPLITS if split in by_split}
    whole = all(re.fullmatch(r"-?\d+", label) for some in found.values() for _, label in some)
    labels = {split: np.array([int(label) if whole else label for _, label in some]) for split, some in found.items()}
    called = names.read_text(encoding="utf-8").splitlines() if names else []
    classes, numbers = numbered(
        labels,
        paths[0],
        lambda value: called[value] if isinstance(value, int) and 0 <= value < len(called) else str(value),
    )
    listed = Listing(classes, {split: ([p for p, _ in some], numbers[split].tolist()) for split, some in found.items()})
    return read_pictures(listed, top, side, skip_broken)


def _samples(path: Path) -> list[tuple[Picture, str]]:
    """The pictures of an archive with what says their classes."""
    pictures: dict[str, dict[str, Picture]] = {}
    labels: dict[str, dict[str, str]] = {}
    try:
        packed = is_gzip(path)
        with Unpacked(path) if packed else path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if not member.isfile() or any(is_junk(part) for part in Path(member.name).parts):
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                key, ending = f"{folder}/{stem}", ending.lower()
                if f".{ending.rpartition('.')[2]}" in SUFFIXES:
                    opened = partial(io.BytesIO, _content(archive, member)) if packed else partial(_part, path, member)
                    pictures.setdefault(key, {})[ending] = Picture(f"{path}, {member.name}", opened)
                elif ending in CLASS_ENDINGS:
                    labels.setdefault(key, {})[ending] = _said(path, archive, member).decode().strip()
                elif ending == "json" and (label := _json_label(_said(path, archive, member))) is not None:
                    labels.setdefault(key, {})[ending] = label
    except (tarfile.TarError, OSError, EOFError, UnicodeDecodeError, zlib.error, ValueError) as error:
        why = odd_kind(path) or error
        raise BadInput(f"data.root: {path} cannot be read as a tar archive ({why}); get it again") from None
    if without := sorted(pictures.keys() - labels.keys()):
        raise BadInput(
            f"data.root: {next(iter(pictures[without[0]].values())).name} has no class beside it "
            f"({_file(without[0], 'cls')}); unpack archives that are not WebDataset's first"
        )
    return [(_image(path, key, some), _label(path, key, labels[key])) for key, some in pictures.items()]


def _image(path: Path, key: str, images: dict[str, Picture]) -> Picture:
    """A sample's image: the only one, or the only one without a second suffix (1.jpg beside 1.seg.png)."""
    plain = [ending for ending in images if "." not in ending]
    chosen = plain if len(images) > 1 else list(images)
    if len(chosen) != 1:
        raise BadInput(
            f"data.root: {path} has several images of one sample, {_file(key, *images)}; leave one of them without a "
            "second suffix, and call the others as in 1.seg.png"
        )
    return images[chosen[0]]


def _label(path: Path, key: str, labels: dict[str, str]) -> str:
    """A sample's class: that of .cls, or what all others say."""
    said = {labels["cls"]} if "cls" in labels else set(labels.values())
    if len(said) > 1:
        raise BadInput(
            f"data.root: {path} has several classes of one sample, {_file(key, *labels)}; put the class into "
            f"{_file(key, 'cls')}, which is used before all others"
        )
    return said.pop()


def _file(key: str, *endings: str) -> str:
    return " and ".join(f"{key.rpartition('/')[2]}.{ending}" for ending in endings)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


def _said(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The content of a member that says a class. Raises BadInput, naming it, if it is too large for that."""
    if member.size > MOST_LABEL:
        raise BadInput(
            f"data.root: {path}, {member.name} has {member.size:,} bytes, but what says a class has at most "
            f"{MOST_LABEL:,}; call it otherwise, or leave it out"
        )
    return _content(archive, member)


def _part(path: Path, member: tarfile.TarInfo) -> BinaryIO:
    with path.open("rb") as file:
        file.seek(member.offset_data)
        return io.BytesIO(file.read(member.size))


def _json_label(text: bytes) -> str | None:
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = [about[key] for key in JSON_KEYS if key in about] if isinstance(about, dict) else []
    return str(found[0]) if found and isinstance(found[0], int | str) else None
