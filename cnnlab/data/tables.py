"""Images whose classes are in a table: labels.csv, or train.csv as competitions have it."""

import csv
from itertools import islice
from pathlib import Path

from cnnlab.config import DataConfig
from cnnlab.data.folders import find_splits
from cnnlab.data.kinds import bad_files
from cnnlab.data.listing import Listing
from cnnlab.data.pictures import on_disk
from cnnlab.data.tree import SPLITS, Tree, nfc, split_named

CLASS_COLUMNS = (
    *("label", "labels", "class", "classes", "classname", "classid", "category", "target", "y"),
    *("species", "breed", "diagnosis", "dx"),
)
"""Headers of the class if a table has more than two columns, without regard to case and punctuation."""
SPLIT_COLUMNS = ("split", "set", "dataset", "subset", "partition")
TRIED = 50
"""Rows that decide which column names images."""


Row = tuple[Path, str, str]
"""An image, its class and its split."""


def list_table(tree: Tree, top: Path, config: DataConfig) -> Listing | None:
    """The images that tables at the top list; None if there are none, or the folders say the same.

    Each row is an image, with or without its extension, anywhere below the top. Its split is what a column of that name
    says; without one, what the table's name means; without that, the folder that the image is in; else train.
    Beside `labels.csv` no other table is used; beside `train.csv`, none whose name means no split.

    Raises:
        BadInput: a table cannot be read, an image is not there or means several files, two tables list one split, or
            an image is in several rows, as in a table with a row per box.
    """
    paths = [path for path in tree.look(top).files if path.suffix.lower() in (".csv", ".tsv")]
    paths = [path for path in paths if "submission" not in path.name.lower()]
    paths = [path for path in paths if path.stem.lower() == "labels"] or paths
    if not paths:
        return None
    images = _Images(tree, top)
    tables = {path: rows for path in paths if (rows := _read(tree, images, path))}
    if any(_split_of(path) == "train" for path in tables):
        tree.pass_over([path for path in tables if not _split_of(path)], "beside a table for train")
        tables = {path: rows for path, rows in tables.items() if _split_of(path)}
    every = [row for rows in tables.values() for row in rows]
    if all(nfc(path.parent.name) == nfc(label) for path, label, _ in every):
        return None
    _check(tables, config.allow_conflicting_labels)
    tree.notes.append(f"classes are those in {', '.join(path.name for path in tables)}")
    used = {path for path, _, _ in every}
    tree.pass_over([path for path in images.paths if path not in used], "in no table")
    named = {s: [(on_disk(path), label) for path, label, split in every if split == s] for s in SPLITS}
    return Listing({split: some for split, some in named.items() if some}, tables=(*tables,))


def _split_of(table: Path) -> str | None:
    """The split that the table's name means, if any."""
    return split_named(table.stem.lower().replace("labels", "").replace("metadata", ""))


def _check(tables: dict[Path, list[Row]], may_conflict: bool) -> None:
    sources: dict[str, Path] = {}
    labels: dict[tuple[str, Path], list[str]] = {}
    for table, rows in tables.items():
        for path, label, split in rows:
            labels.setdefault((split, path), []).append(label)
            if (other := sources.setdefault(split, table)) != table:
                raise bad_files(f"{other} and {table} both list images of {split}; name the one to be used labels.csv")
    if "train" not in sources:
        raise bad_files(f"{next(iter(tables))} lists no training images")
    repeated = [f"{path.name} ({', '.join(some)})" for (_, path), some in labels.items() if len(some) > 1]
    if repeated and not may_conflict:
        raise bad_files(
            f"{', '.join(table.name for table in tables)} has {len(repeated):,} images in several "
            f"rows: {'; '.join(repeated[:3])}{'; ...' * (len(repeated) > 3)}; keep one row per image, or train on "
            "every row with --set data.allow_conflicting_labels=true"
        )


class _Images:
    """The images below a folder by each name that a table may give them."""

    def __init__(self, tree: Tree, top: Path) -> None:
        self.paths = tree.pictures(top)[0]
        self._by_name: dict[str, set[Path]] = {}
        self._top = top
        self._splits = {folder.name: split for folder, split in find_splits(tree, top).items()}
        for path in self.paths:
            inside = path.relative_to(top)
            for name in {str(inside), str(inside.with_suffix("")), path.name, path.stem}:
                self._by_name.setdefault(nfc(name), set()).add(path)

    def named(self, name: str) -> set[Path]:
        """All images that the name may mean."""
        return self._by_name.get(nfc(name.strip().replace("\\", "/").removeprefix("./")), set())

    def split_of(self, path: Path) -> str | None:
        """The split whose folder the image is in, if there are such folders."""
        return self._splits.get(path.relative_to(self._top).parts[0])


def _read(tree: Tree, images: _Images, table: Path) -> list[Row]:
    """Empty for a table that lists no images, or whose class column is not known, which is noted."""
    rows = [row for row in _cells(table) if any(cell.strip() for cell in row)]
    body = rows[1 : TRIED + 1] or rows[:1]
    columns = range(min((len(row) for row in body), default=0))
    hits = {column: sum(bool(images.named(row[column])) for row in body) for column in columns}
    image = max(hits, key=lambda column: hits[column], default=None)
    if image is None or hits[image] < len(body) / 2 or len(columns) < 2:
        return []
    header = [] if images.named(rows[0][image]) else ["".join(filter(str.isalnum, cell.lower())) for cell in rows[0]]
    of_name = {name: column for column, name in reversed([*enumerate(header)]) if column in columns and column != image}
    splits = [of_name[name] for name in of_name if name in SPLIT_COLUMNS]
    split = next((column for column in sorted(splits) if all(split_named(row[column]) for row in body)), None)
    left = [column for column in columns if column not in (image, split)]
    known = [of_name[word] for word in CLASS_COLUMNS if of_name.get(word) in left]
    if len(left) != 1 and not known:
        tree.notes.append(
            f"passed over: {table.name} lists images, but none of its {len(columns)} columns is known to be the class; "
            "call one label, or give a labels.csv with two columns"
        )
        return []
    label = left[0] if len(left) == 1 else known[0]
    listed: list[Row] = []
    for number, row in enumerate(rows[bool(header) :], 1 + bool(header)):
        if len(row) <= max(image, label, split or 0) or not row[label].strip():
            raise bad_files(f"{table} has no class in row {number} ({','.join(row)[:60]})")
        if len(paths := images.named(row[image])) != 1:
            why = "means several files" if paths else "is not there"
            raise bad_files(f"the image {row[image]} in {table} {why}")
        listed.append((next(iter(paths)), row[label].strip(), "" if split is None else row[split].strip()))
    return _with_splits(images, table, listed)


def _with_splits(images: _Images, table: Path, rows: list[Row]) -> list[Row]:
    folders = [images.split_of(path) for path, _, _ in rows]
    if any(split for _, _, split in rows):
        splits = [split_named(split) for _, _, split in rows]
    elif _split_of(table) or not {"train"} < set(folders) or None in folders:
        splits = [_split_of(table)] * len(rows)
    else:
        splits = folders
    return [(path, label, split or "train") for (path, label, _), split in zip(rows, splits, strict=True)]


def _cells(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            beginning = list(islice(file, 2))
            file.seek(0)
            delimiter = max(",;\t", key=lambda mark: min((line.count(mark) for line in beginning), default=0))
            return list(csv.reader(file, delimiter=delimiter))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise bad_files(f"{path} cannot be read as a table ({error})") from None
