"""Stores whose folder was renamed, moved or copied.

MLflow keeps the locations of artifacts as absolute paths (it makes relative ones absolute). After a move they lead to
the old folder: existing artifacts are not found there, and new ones would be written there.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from cnnlab.tracking.run_dir import MLRUNS, RunDir
from cnnlab.tracking.uri import sqlite_file, undamaged

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
BUSY_SECONDS = 20.0


def artifact_folder(database: Path, experiment: str) -> Path:
    """The folder of an experiment's artifacts."""
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in experiment)
    return database.parent / ARTIFACTS / safe


def old_locations(uri: str) -> list[str]:
    """The locations in a SQLite store that lead to the folder that the store was in before; none in other stores."""
    path = sqlite_file(uri)
    if path is None or not path.exists():
        return []
    with _opened(path) as (database, columns):
        queries = [f"SELECT {column} FROM {table} WHERE moved({column}) IS NOT NULL" for table, column in columns]
        return [location for query in queries for (location,) in database.execute(query)]


def correct_locations(uri: str) -> int:
    """Make all `old_locations` lead to the folder that the store is in now. Returns their number."""
    path = sqlite_file(uri)
    if path is None or not old_locations(uri):  # which takes no lock
        return 0
    with _opened(path) as (database, columns), database:
        database.execute("BEGIN IMMEDIATE")
        change = "UPDATE {0} SET {1} = moved({1}) WHERE moved({1}) IS NOT NULL"
        return sum(database.execute(change.format(*column)).rowcount for column in columns)


def present_store(run: RunDir) -> str:
    """The URI of the store that a run was made for; if the project folder with both was moved, the URI after it."""
    made_for = run.created.tracking_uri
    path, here = sqlite_file(made_for), MLRUNS.absolute()
    if path is None or path.parent.exists() or path.parent.name != MLRUNS.name or not run.path.is_relative_to(here):
        return made_for
    return f"sqlite:///{here / path.name}"


@contextmanager
def _opened(path: Path) -> Iterator[tuple[sqlite3.Connection, list[tuple[str, str]]]]:
    """The database, in which SQL has the function `moved`; and those of COLUMNS that it has."""
    database = sqlite3.connect(f"{path.as_uri()}?mode=rw", timeout=BUSY_SECONDS, uri=True, isolation_level=None)
    with undamaged(path), closing(database):
        has = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?"
        columns = [column for column in COLUMNS if database.execute(has, column).fetchone()]
        folders = _folders_before(database, path) if COLUMNS[0] in columns else set()
        database.create_function("moved", 1, _mover(folders, path.parent))
        yield database, columns


def _folders_before(database: sqlite3.Connection, path: Path) -> set[Path]:
    """The folders that the store was in, as the experiments that cnnlab created there tell."""
    folders = set()
    for name, location in database.execute("SELECT name, artifact_location FROM experiments"):
        folder = _path(location)
        if folder is not None and folder.parts[-2:] == artifact_folder(path, name).parts[-2:]:
            folders.add(folder.parent.parent)
    return {folder for folder in folders if not (folder.exists() and os.path.samefile(folder, path.parent))}


def _mover(folders: set[Path], here: Path) -> Callable[[object], str | None]:
    """A function from a location below one of `folders` to the same below `here`; None for any other location.

    It is also None if the files are at the old location and not at the new one: only the database was moved, or
    they were written after the move.
    """

    def moved(location: object) -> str | None:
        path = _path(location)
        for folder in folders:
            if path is not None and path.is_relative_to(folder):
                there = here / path.relative_to(folder)
                if os.path.exists(there) or not os.path.exists(path):
                    return there.as_uri() if str(location).startswith("file:") else str(there)
        return None

    return moved


def _path(location: object) -> Path | None:
    """The folder of a `file:` URI or of an absolute path; None for anything else."""
    parts = urlsplit(location) if isinstance(location, str) else None
    if parts and parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(str(location)) if parts and str(location).startswith("/") else None
