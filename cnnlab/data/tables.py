"""Images whose classes are in a table: labels.csv, or train.csv as competitions have it."""

import csv
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from cnnlab.config import DataConfig
from cnnlab.data.folders import find_splits
from cnnlab.data.kinds import bad_files
from cnnlab.data.listing import Listing, listing
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


@dataclass(frozen=True)
class Table:
    """A table that lists images; rows: file, class, and the split that a column says or ""."""

    path: Path
    rows: list[tuple[str, str, str]]

    @property
    def split(self) -> str | None:
        """The split that the table's name means, if any."""
        return split_named(self.path.stem.lower().replace("labels", "").replace("metadata", ""))


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
    tables = [table for path in paths if (table := _table(tree, images, path))]
    if any(table.split == "train" for table in tables):
        tree.pass_over([table.path for table in tables if not table.split], "beside a table for train")
        tables = [table for table in tables if table.split]
    if all(_repeats_folders(images, table) for table in tables):
        return None
    named = _by_split(images, tables)
    if not config.allow_conflicting_labels:
        _check_rows(named, tables)
    used = {path for some in named.values() for path, _ in some}
    tree.notes.append(f"classes are those in {', '.join(table.path.name for table in tables)}")
    tree.pass_over([path for path in images.paths if path not in used], "in no table")
    listed = listing({split: [(on_disk(p), label) for p, label in named[split]] for split in SPLITS if split in named})
    return replace(listed, tables=tuple(table.path for table in tables))


def _repeats_folders(images: _Images, table: Table) -> bool:
    """Whether the class of each image is the name of its folder."""
    return all(
        len(paths := images.named(name)) == 1 and nfc(next(iter(paths)).parent.name) == nfc(label)
        for name, label, _ in table.rows
    )


def _by_split(images: _Images, tables: list[Table]) -> dict[str, list[tuple[Path, str]]]:
    named: dict[str, list[tuple[Path, str]]] = {}
    sources: dict[str, Path] = {}
    for table in tables:
        paths = [_only(images, table, name) for name, _, _ in table.rows]
        for path, (_, label, _), split in zip(paths, table.rows, _splits(images, table, paths), strict=True):
            if sources.setdefault(split, table.path) != table.path:
                raise bad_files(
                    f"{sources[split]} and {table.path} both list images of {split}; name the one to be used labels.csv"
                )
            named.setdefault(split, []).append((path, label))
    if "train" not in named:
        raise bad_files(f"{tables[0].path} lists no training images")
    return named


def _only(images: _Images, table: Table, name: str) -> Path:
    paths = images.named(name)
    if len(paths) != 1:
        why = "means several files" if paths else "is not there"
        raise bad_files(f"the image {name} in {table.path} {why}")
    return next(iter(paths))


def _splits(images: _Images, table: Table, paths: list[Path]) -> list[str]:
    if any(split for _, _, split in table.rows):
        return [split_named(split) or "train" for _, _, split in table.rows]
    folders = [images.split_of(path) for path in paths]
    if table.split or not {"train"} < set(folders) or None in folders:
        return [table.split or "train"] * len(paths)
    return [split or "train" for split in folders]


def _check_rows(named: dict[str, list[tuple[Path, str]]], tables: list[Table]) -> None:
    for rows in named.values():
        counts = Counter(path for path, _ in rows)
        if repeated := [path for path, count in counts.items() if count > 1]:
            first = "; ".join(
                f"{path.name} ({', '.join(label for other, label in rows if other == path)})" for path in repeated[:3]
            )
            raise bad_files(
                f"{', '.join(table.path.name for table in tables)} has {len(repeated):,} images in several "
                f"rows: {first}{'; ...' * (len(repeated) > 3)}; keep one row per image, or train on every row with "
                "--set data.allow_conflicting_labels=true"
            )


def _table(tree: Tree, images: _Images, path: Path) -> Table | None:
    """None for a table that lists no images, or whose class column is not known, which is noted."""
    rows = [row for row in _rows(path) if any(cell.strip() for cell in row)]
    body = rows[1 : TRIED + 1] or rows[:1]
    columns = range(min((len(row) for row in body), default=0))
    hits = {column: sum(bool(images.named(row[column])) for row in body) for column in columns}
    image = max(hits, key=lambda column: hits[column], default=None)
    if image is None or hits[image] < len(body) / 2 or len(columns) < 2:
        return None
    header = [] if images.named(rows[0][image]) else ["".join(filter(str.isalnum, cell.lower())) for cell in rows[0]]
    others = [column for column in columns if column != image]
    splits = [column for column in others if header[column : column + 1] and header[column] in SPLIT_COLUMNS]
    split = next((column for column in splits if all(split_named(row[column]) for row in body)), None)
    left = [column for column in others if column != split]
    called = [header.index(word) for word in CLASS_COLUMNS if word in header and header.index(word) in left]
    if len(left) != 1 and not called:
        tree.notes.append(
            f"passed over: {path.name} lists images, but none of its {len(columns)} columns is known to be the class; "
            "call one label, or give a labels.csv with two columns"
        )
        return None
    label = (left if len(left) == 1 else called)[0]
    listed = []
    for number, row in enumerate(rows[bool(header) :], 1 + bool(header)):
        if len(row) <= max(image, label, split or 0) or not row[label].strip():
            raise bad_files(f"{path} has no class in row {number} ({','.join(row)[:60]})")
        listed.append((row[image], row[label].strip(), "" if split is None else row[split].strip()))
    return Table(path, listed)


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            beginning = list(islice(file, 2))
            file.seek(0)
            delimiter = max(",;\t", key=lambda mark: min((line.count(mark) for line in beginning), default=0))
            return list(csv.reader(file, delimiter=delimiter))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise bad_files(f"{path} cannot be read as a table ({error})") from None
