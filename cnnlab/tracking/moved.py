"""Stores whose folder was renamed, moved or copied.

MLflow keeps the place of artifacts as absolute paths. After a move they lead to the old place: what is there already
is not found, and what is new is written there, into folders that are made again.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from cnnlab.tracking.run_dir import STORE, RunDir
from cnnlab.tracking.uri import sqlite_file, undamaged

ARTIFACTS = "artifacts"
"""The folder beside the database in which each experiment has one of its own."""
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where MLflow's tables keep places of artifacts."""
BUSY_SECONDS = 20.0


@dataclass(frozen=True)
class Correction:
    """One place that leads to where the store was before."""

    table: str
    column: str
    row: int
    before: str
    after: str


def artifact_folder(database: Path, experiment: str) -> Path:
    """Where the artifacts of an experiment belong."""
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in experiment)
    return database.parent / ARTIFACTS / safe


def corrections(uri: str) -> list[Correction]:
    """What of a SQLite store leads to where it was before; empty for a server's, which knows its own place."""
    path = sqlite_file(uri)
    if path is None or not path.exists():
        return []
    with undamaged(path), closing(_open(path)) as database:
        return _corrections(database, path)


def correct(uri: str) -> int:
    """Make all places of a SQLite store lead to where it is; how many did not."""
    path = sqlite_file(uri)
    if path is None or not corrections(uri):
        return 0
    with closing(_open(path)) as database, database:
        database.execute("BEGIN IMMEDIATE")  # another process may have done it since
        found = _corrections(database, path)
        for one in found:
            # the tables' and columns' names are those of COLUMNS
            database.execute(f"UPDATE {one.table} SET {one.column} = ? WHERE rowid = ?", (one.after, one.row))
    return len(found)


def present_store(run: RunDir) -> str:
    """The store that a run was made for: the one here, if that was this folder's and the folder was moved."""
    made_for = run.created.tracking_uri
    path, here = sqlite_file(made_for), STORE.absolute()
    if path is None or path.parent.exists() or not run.path.is_relative_to(here):
        return made_for
    return f"sqlite:///{here / path.name}" if path.parent.name == STORE.name else made_for


def _corrections(database: sqlite3.Connection, path: Path) -> list[Correction]:
    here = path.parent
    return [
        correction
        for was in _places_before(database, path)
        for table, column in COLUMNS
        for correction in _corrections_of(database, table, column, was, here)
    ]


def _places_before(database: sqlite3.Connection, path: Path) -> set[Path]:
    """The folders that the store was in, by the experiments that were made there by cnnlab."""
    places = set()
    for name, location in _rows(database, "experiments", "name", "artifact_location"):
        folder = _path(location)
        if folder is not None and folder.parent.name == ARTIFACTS and folder.name == artifact_folder(path, name).name:
            places.add(folder.parent.parent)
    return {place for place in places if place != path.parent and not _is_same(place, path.parent)}


def _corrections_of(
    database: sqlite3.Connection, table: str, column: str, was: Path, here: Path
) -> Iterator[Correction]:
    for row, location in _rows(database, table, "rowid", column):
        place = _path(location)
        if place is None or not place.is_relative_to(was):
            continue
        there = here / place.relative_to(was)
        if there.exists() or not place.exists():  # else the database alone was moved, or it was written there since
            after = there.as_uri() if location.startswith("file:") else str(there)
            yield Correction(table, column, row, location, after)


def _rows(database: sqlite3.Connection, table: str, *columns: str) -> list[tuple[Any, ...]]:
    try:
        return database.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
    except sqlite3.OperationalError as error:
        if "no such" in str(error):  # a store that is not made yet, or an older MLflow's
            return []
        raise


def _path(location: object) -> Path | None:
    """The folder of a `file:` URI or a plain path; None for anything else."""
    if not isinstance(location, str):
        return None
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(location) if location.startswith("/") else None


def _is_same(one: Path, other: Path) -> bool:
    """Whether both lead to one folder, as through a link."""
    return one.exists() and os.path.samefile(one, other)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=rw", timeout=BUSY_SECONDS, uri=True, isolation_level=None)
