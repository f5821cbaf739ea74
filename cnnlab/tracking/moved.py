"""Stores whose folder was renamed, moved or copied.

MLflow keeps the locations of artifacts as absolute paths (it makes relative ones absolute). After a move they lead to
the old folder: existing artifacts are not found there, and new ones would be written there.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from cnnlab.tracking.run_dir import MLRUNS, RunDir
from cnnlab.tracking.uri import open_sqlite, sqlite_file, undamaged

ARTIFACTS = "artifacts"
"""The folder beside the database that has one folder per experiment."""
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""The tables and columns in which MLflow keeps locations of artifacts."""


def artifact_folder(database: Path, experiment: str) -> Path:
    """The folder of an experiment's artifacts."""
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in experiment)
    return database.parent / ARTIFACTS / safe


def old_locations(uri: str) -> list[str]:
    """The locations in a SQLite store that lead to the folder that the store was in before; none in other stores."""
    path = sqlite_file(uri)
    if path is None or not path.exists():
        return []
    with _opened(path) as database:
        return [old for _, _, _, old, _ in _corrections(database, path)]


def correct_locations(uri: str) -> int:
    """Make all `old_locations` lead to the folder that the store is in now. Returns their number."""
    path = sqlite_file(uri)
    if path is None or not path.exists():
        return 0
    with _opened(path) as database, database:
        corrections = _corrections(database, path)
        for table, column, row, old, new in corrections:
            change = f"UPDATE {table} SET {column} = ? WHERE rowid = ? AND {column} = ?"
            database.execute(change, (new, row, old))
    return len(corrections)


def present_store(run: RunDir) -> str:
    """The URI of the store that a run was made for; its new URI if the project folder was moved with run and store."""
    made_for = run.created.tracking_uri
    path, here = sqlite_file(made_for), MLRUNS.absolute()
    if path is None or path.parent.exists() or path.parent.name != MLRUNS.name or not run.path.is_relative_to(here):
        return made_for
    return f"sqlite:///{here / path.name}"


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with undamaged(path), closing(open_sqlite(path)) as database:
        yield database


def _corrections(database: sqlite3.Connection, path: Path) -> list[tuple[str, str, int, str, str]]:
    """Table, column, row, old and new location of each old location.

    A location is left alone if its files are there and not in the new folder: only the database was moved, or they
    were written after the move.
    """
    has = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?"
    columns = [column for column in COLUMNS if database.execute(has, column).fetchone()]
    folders = _folders_before(database, path) if COLUMNS[0] in columns else set()
    corrections = []
    for table, column in columns if folders else ():
        for row, location in database.execute(f"SELECT rowid, {column} FROM {table}"):
            old = _path(location)
            for folder in folders:
                if old is not None and old.is_relative_to(folder):
                    new = path.parent / old.relative_to(folder)
                    if new.exists() or not old.exists():
                        as_before = new.as_uri() if location.startswith("file:") else str(new)
                        corrections.append((table, column, row, location, as_before))
    return corrections


def _folders_before(database: sqlite3.Connection, path: Path) -> set[Path]:
    """The folders that the store was in, according to the experiments that cnnlab created there."""
    folders = set()
    for name, location in database.execute("SELECT name, artifact_location FROM experiments"):
        folder = _path(location)
        if folder is not None and folder.parts[-2:] == artifact_folder(path, name).parts[-2:]:
            folders.add(folder.parent.parent)
    return {folder for folder in folders if not (folder.exists() and folder.samefile(path.parent))}


def _path(location: object) -> Path | None:
    """The folder of a `file:` URI or of an absolute path; None for anything else."""
    parts = urlsplit(location) if isinstance(location, str) else None
    if parts and parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(str(location)) if parts and str(location).startswith("/") else None
