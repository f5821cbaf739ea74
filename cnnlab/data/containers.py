"""Images inside larger files: Parquet as Hugging Face exports it, and tar archives as WebDataset has them.

Hugging Face's `datasets` is not used: it copies all images into its cache first, unpacks an archive without a limit
(9 MB to 4 GB in a trial), and its errors do not name the file.
"""

import io
import json
import re
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from cnnlab.config import DataConfig
from cnnlab.data.dataset import Source
from cnnlab.data.kinds import Unpacked, bad_files, check_unpacked, is_gzip, odd_kind
from cnnlab.data.listing import Listing, read_pictures
from cnnlab.data.pictures import SUFFIXES, Picture
from cnnlab.data.tree import SPLITS, is_junk, split_named

IMAGE_COLUMNS = ("image", "img", "images", "png", "jpg", "jpeg", "pixel_values")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "cls", "category")

CLASS_ENDINGS = ("cls", "class", "label", "target", "txt")
JSON_KEYS = ("label", "cls", "class", "target")
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")
MOST_LABEL = 2**16
"""The most bytes of a member that holds a class."""
CLASS_NAMES = "classnames.txt"
"""Beside the archives: the name of class 0, 1 .., one per line."""


def split_of(path: Path) -> str:
    """`train-00000-of-00002.parquet`, `train/0000.parquet` -> "train", which is also the default."""
    for name in (path.name.split(".")[0], path.parent.name):
        for word in (name, *re.split(r"[-_]+", name)):
            if split := split_named(word):
                return split
    return "train"


def _by_split(paths: Sequence[Path]) -> dict[str, list[Path]]:
    return {split: some for split in SPLITS if (some := [path for path in paths if split_of(path) == split])}


def read_parquet(paths: Sequence[Path], top: Path, config: DataConfig) -> Source:
    """Pictures of (3, side, side); the name of a file or of its folder says its split.

    Raises BadInput if a file is no Parquet file or lacks a column of images or labels, or there are several data sets.
    """
    by_split = _by_split(paths)
    if "train" not in by_split:
        raise bad_files(f"{top} has Parquet files for {', '.join(by_split)}, but none for train")
    # a folder for each of Hugging Face's configurations
    folders = sorted({str(f.parent if split_named(f.name) else f) for f in (path.parent for path in by_split["train"])})
    if len(folders) > 1:
        raise bad_files(
            f"{top} holds several data sets of Parquet files: {', '.join(folders[:5])}"
            f"{', ...' if len(folders) > 5 else ''}; name one of these folders"
        )
    image, label, titles = _columns(paths[0])
    samples = {split: [s for path in some for s in _rows(path, image, label)] for split, some in by_split.items()}
    notes = [f"images are in the column {image}, classes in {label}"]
    hidden = [s for s, some in samples.items() if s != "train" and {number for _, number in some} == {"-1"}]
    notes += [f"passed over: {split}, whose {len(samples.pop(split)):,} labels are all -1" for split in hidden]
    source = read_pictures(Listing(samples), top, config, titles)
    return replace(source, notes=(*notes, *source.notes))


def _columns(path: Path) -> tuple[str, str, tuple[str, ...]]:
    """The columns of images and of labels, and the names of the classes 0, 1 .., if the file has them."""
    from pyarrow import types

    schema = _open_parquet(path).schema_arrow
    features = _features(schema.metadata or {})
    pictured = [
        field.name
        for field in schema
        if types.is_binary(field.type)
        or types.is_large_binary(field.type)
        or (types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
    ]
    are_classes = (types.is_integer, types.is_boolean, types.is_string, types.is_large_string)
    kinds = {f.name: f.type.value_type if types.is_dictionary(f.type) else f.type for f in schema}
    classed = [name for name, kind in kinds.items() if any(is_one(kind) for is_one in are_classes)]
    named = [name for name in classed if features.get(name, {}).get("_type") == "ClassLabel"]
    image, label = _best(pictured, IMAGE_COLUMNS), _best(named, LABEL_COLUMNS) or _best(classed, LABEL_COLUMNS)
    if image is None or label is None:
        raise bad_files(
            f"{path} has the columns {', '.join(f'{field.name} ({field.type})' for field in schema)}; "
            "needed are one of images' bytes (image) and one of classes (label: whole numbers, words or true and false)"
        )
    return image, label, tuple(features.get(label, {}).get("names", ()))


def _best(names: list[str], wanted: tuple[str, ...]) -> str | None:
    """The first that is wanted; without one the only name."""
    known = [name for word in wanted for name in names if name.lower() == word]
    return known[0] if known else names[0] if len(names) == 1 else None


def _features(metadata: dict[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """What Hugging Face's `datasets` writes about the columns into the schema."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {name: about for name, about in features.items() if isinstance(about, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _open_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        why = odd_kind(path) or " ".join(str(error).split())[:120]
        raise bad_files(f"{path} cannot be read as a Parquet file ({why})") from None
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    check_unpacked(path, sum(group.total_byte_size + 8 * group.num_rows for group in groups))
    return file


def _rows(path: Path, image: str, label: str) -> list[tuple[Picture, str]]:
    import pyarrow as pa

    try:
        table = _open_parquet(path).read([image, label])
        images, labels = table.column(image), table.column(label)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise bad_files(
            f"{path} cannot be read with the columns {image} and {label} ({' '.join(str(error).split())[:120]})"
        ) from None
    if labels.null_count:
        raise bad_files(f"{path} has {labels.null_count} rows without a label")
    return [
        (Picture(f"{path}, row {row}", partial(_cell, images, row)), str(value))
        for row, value in enumerate(labels.to_pylist())
    ]


def _cell(images: Any, row: int) -> BinaryIO:
    value = images[row].as_py()
    content = value["bytes"] if isinstance(value, dict) else value
    if content is None:
        raise OSError("it has no bytes")
    return io.BytesIO(content)


def read_tars(paths: Sequence[Path], top: Path, config: DataConfig, names: Path | None = None) -> Source:
    """Pictures of (3, side, side); the name of an archive or of its folder says its split.

    Raises BadInput if an archive is not whole, or a picture in it has no class.
    """
    samples = {split: [s for path in some for s in _samples(path)] for split, some in _by_split(paths).items()}
    if not samples.get("train"):
        raise bad_files(f"{top} has no archive of training pictures with classes; unpack plain ones first")
    titles = names.read_text(encoding="utf-8").splitlines() if names else []
    return read_pictures(Listing(samples), top, config, titles)


def _samples(path: Path) -> list[tuple[Picture, str]]:
    """The pictures of an archive, each with the word that says its class."""
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
                elif ending in (*CLASS_ENDINGS, "json"):
                    text = _class_text(path, archive, member)
                    if (label := _json_label(text) if ending == "json" else text.decode().strip()) is not None:
                        labels.setdefault(key, {})[ending] = label
    except (tarfile.TarError, OSError, EOFError, UnicodeDecodeError, zlib.error, ValueError) as error:
        why = odd_kind(path) or error
        raise bad_files(f"{path} cannot be read as a tar archive ({why}); get it again") from None
    if without := sorted(pictures.keys() - labels.keys()):
        raise bad_files(
            f"{next(iter(pictures[without[0]].values())).name} has no class beside it "
            f"({_files(without[0], 'cls')}); unpack archives that are not WebDataset's first"
        )
    return [(_image(path, key, some), _label(path, key, labels[key])) for key, some in pictures.items()]


def _image(path: Path, key: str, images: dict[str, Picture]) -> Picture:
    """A sample's image: the only one, or the only one without a second suffix (1.jpg beside 1.seg.png)."""
    plain = [ending for ending in images if "." not in ending]
    chosen = plain if len(images) > 1 else list(images)
    if len(chosen) != 1:
        raise bad_files(
            f"{path} has several images of one sample, {_files(key, *images)}; leave one of them without a "
            "second suffix, and call the others as in 1.seg.png"
        )
    return images[chosen[0]]


def _label(path: Path, key: str, labels: dict[str, str]) -> str:
    """A sample's class: that in .cls, or the one that all others say."""
    classes = {labels["cls"]} if "cls" in labels else set(labels.values())
    if len(classes) > 1:
        raise bad_files(
            f"{path} has several classes of one sample, {_files(key, *labels)}; put the class into "
            f"{_files(key, 'cls')}, which is used before all others"
        )
    label = classes.pop()
    return str(int(label)) if re.fullmatch(r"-?\d{1,30}", label) else label


def _files(key: str, *endings: str) -> str:
    return " and ".join(f"{key.rpartition('/')[2]}.{ending}" for ending in endings)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


def _part(path: Path, member: tarfile.TarInfo) -> BinaryIO:
    with path.open("rb") as file:
        file.seek(member.offset_data)
        return io.BytesIO(file.read(member.size))


def _class_text(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The content of a member that holds a class. Raises BadInput if it is too large for that."""
    if member.size > MOST_LABEL:
        raise bad_files(
            f"{path}, {member.name} has {member.size:,} bytes, but a file with a class has at most "
            f"{MOST_LABEL:,}; rename or remove it"
        )
    return _content(archive, member)


def _json_label(text: bytes) -> str | None:
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        return None
    values = [about[key] for key in JSON_KEYS if key in about] if isinstance(about, dict) else []
    return str(values[0]) if values and isinstance(values[0], int | str) else None
