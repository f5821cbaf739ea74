"""Parquet files as Hugging Face exports data sets: a column of images' bytes, one of labels."""

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from cnnlab.data.dataset import Source
from cnnlab.data.kinds import check_unpacked, odd_kind
from cnnlab.data.labels import numbered
from cnnlab.data.listing import Listing, read_pictures
from cnnlab.data.names import SPLITS, split_named
from cnnlab.data.pictures import Picture
from cnnlab.errors import BadInput

IMAGE_COLUMNS = ("image", "img", "images", "png", "jpg", "jpeg", "pixel_values")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "cls", "category")


def split_of(path: Path) -> str:
    """`train-00000-of-00002.parquet`, `train/0000.parquet` -> "train"; "train" too where no name says anything."""
    for name in (path.name.split(".")[0], path.parent.name):
        for word in (name, *re.split(r"[-_]+", name)):
            if split := split_named(word):
                return split
    return "train"


def read_parquet(paths: Sequence[Path], top: Path, side: int, skip_broken: bool) -> Source:
    """Pictures of (3, side, side), splits by the names of files or of their folders.

    Raises:
        BadInput: naming a file that is no Parquet file, or has no column of images or of labels; several data sets.
    """
    _check_that_it_is_one(paths, top)
    columns = _columns(paths[0])
    by_split: dict[str, list[Path]] = {}
    for path in paths:
        by_split.setdefault(split_of(path), []).append(path)
    if "train" not in by_split:
        raise BadInput(f"data.root: {top} has Parquet files for {', '.join(by_split)}, but none for train")
    pictures: dict[str, list[Picture]] = {}
    labels: dict[str, np.ndarray[Any, Any]] = {}
    notes = [f"images are in the column {columns.image}, classes in {columns.label}"]
    for split in (split for split in SPLITS if split in by_split):
        read = [_read(path, columns) for path in by_split[split]]
        values = np.concatenate([values for _, values in read])
        if split != "train" and values.dtype.kind == "i" and (values == -1).all():
            notes.append(f"passed over: {split}, whose {len(values):,} labels are all -1")
            continue
        pictures[split], labels[split] = [picture for some, _ in read for picture in some], values
    names = columns.classes
    classes, numbers = numbered(
        labels,
        paths[0],
        lambda value: names[value] if isinstance(value, int) and 0 <= value < len(names) else str(value),
    )
    listed = Listing(classes, {split: (some, numbers[split].tolist()) for split, some in pictures.items()})
    source = read_pictures(listed, top, side, skip_broken)
    return replace(source, notes=(*notes, *source.notes))


def _check_that_it_is_one(paths: Sequence[Path], top: Path) -> None:
    """Raises BadInput if several folders have training files each: what Hugging Face calls configurations."""
    trained = [path.parent for path in paths if split_of(path) == "train"]
    folders = sorted({str(folder.parent if split_named(folder.name) else folder) for folder in trained})
    if len(folders) > 1:
        raise BadInput(
            f"data.root: {top} holds several data sets of Parquet files: {', '.join(folders[:5])}"
            f"{', ...' if len(folders) > 5 else ''}; name one of these folders"
        )


class _Columns(NamedTuple):
    image: str
    label: str
    classes: tuple[str, ...]
    """The names that go with labels 0, 1 .., if the file has them."""


def _columns(path: Path) -> _Columns:
    import pyarrow as pa

    schema = _open(path).schema_arrow
    features = _features(schema.metadata or {})
    pictured = [
        field.name
        for field in schema
        if pa.types.is_binary(field.type)
        or pa.types.is_large_binary(field.type)
        or (pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0)
    ]
    classed = [field.name for field in schema if _holds_classes(field.type)]
    named = [name for name in classed if features.get(name, {}).get("_type") == "ClassLabel"]
    image, label = _best(pictured, IMAGE_COLUMNS), _best(named, LABEL_COLUMNS) or _best(classed, LABEL_COLUMNS)
    if image is None or label is None:
        raise BadInput(
            f"data.root: {path} has the columns {', '.join(f'{field.name} ({field.type})' for field in schema)}; "
            "needed are one of images' bytes (image) and one of classes (label: whole numbers, words or true and false)"
        )
    return _Columns(image, label, tuple(features.get(label, {}).get("names", ())))


def _holds_classes(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _holds_classes(kind.value_type)
    return any(is_one(kind) for is_one in (types.is_integer, types.is_boolean, types.is_string, types.is_large_string))


def _best(names: list[str], wanted: tuple[str, ...]) -> str | None:
    """The first that is wanted, else the only one."""
    known = [name for word in wanted for name in names if name.lower() == word]
    return known[0] if known else names[0] if len(names) == 1 else None


def _features(metadata: dict[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """What Hugging Face's `datasets` writes about the columns into the schema."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {name: about for name, about in features.items() if isinstance(about, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        why = odd_kind(path) or " ".join(str(error).split())[:120]
        raise BadInput(f"data.root: {path} cannot be read as a Parquet file ({why})") from None
    parts = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    check_unpacked(path, sum(part.total_byte_size + 8 * part.num_rows for part in parts))
    return file


def _read(path: Path, columns: _Columns) -> tuple[list[Picture], np.ndarray[Any, Any]]:
    import pyarrow as pa

    try:
        table = _open(path).read([columns.image, columns.label])
        images, labels = table.column(columns.image), table.column(columns.label)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise BadInput(
            f"data.root: {path} cannot be read with the columns {columns.image} and {columns.label} "
            f"({' '.join(str(error).split())[:120]})"
        ) from None
    if labels.null_count:
        raise BadInput(f"data.root: {path} has {labels.null_count} rows without a label")
    pictures = [Picture(f"{path}, row {row}", partial(_bytes, images, row)) for row in range(len(images))]
    return pictures, np.asarray(labels.to_pylist())


def _bytes(images: Any, row: int) -> BinaryIO:
    value = images[row].as_py()
    data = value["bytes"] if isinstance(value, dict) else value
    if data is None:
        raise OSError("it has no bytes")
    return io.BytesIO(data)
