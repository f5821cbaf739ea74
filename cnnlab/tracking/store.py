"""MLflow's store. If it is a SQLite file, one process creates or upgrades it and the others wait.

MLflow does not migrate a file in one transaction. If two processes migrate it at once, or one is killed, no later
migration can finish it. So here a migration runs on a copy, under a lock, and the finished copy replaces the file's
content in one transaction of SQLite.
"""

import errno
import json
import logging
import os
import secrets
import shutil
import sqlite3
import time
from contextlib import closing
from functools import cache
from glob import escape
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from filelock import FileLock

from cnnlab.config.data import TASKS
from cnnlab.errors import LONGEST_REASON, LONGEST_VALUE, CnnlabError, RunFailed, one_line
from cnnlab.tracking.uri import NO_PASSWORD, lacks_password, open_sqlite, sqlite_file, undamaged, whole

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Set before MLflow is imported, unless the user has set them: the courier retries by itself and has no terminal."""
ANSWER_SECONDS = 5.0
"""How long a server may take to answer; MLflow itself would try for minutes."""
LOCK_SECONDS = 600.0
"""How long a process waits for another that creates or upgrades the store: minutes, if the store is large."""
ATTEMPTS = 10
"""How often a store is read again because another program, which does not know our lock, wrote to it."""
SEEDED = {"alembic_version": "1", "experiments": "experiment_id = 0", "workspaces": "name = 'default'"}
"""Table -> the condition on the rows that MLflow itself puts into a new store; all other rows are the user's."""
FULL = ("disk is full", os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
"""Words in the messages of SQLite and the system if a disk has no room."""

log = logging.getLogger("cnnlab")
_refusals: dict[tuple[Path, int, int], str] = {}
"""Files that cannot be upgraded, by size and modification time, so that a large one is not copied at each attempt."""


def import_mlflow() -> Any:
    """mlflow (4 s), quiet."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # we print their exceptions in one line
    return mlflow


def open_store(uri: str) -> int:
    """Make a SQLite store usable for MLflow, before MLflow gets its URI. Returns its `stamp`.

    A missing file is created, one of an older MLflow is upgraded, and one that was left unfinished and is empty is set
    aside and created again. Servers are left alone.

    Raises:
        RunFailed: the file has runs and cannot be upgraded, or a newer MLflow made it; it is not changed.
        filelock.Timeout: another process has held its lock for `LOCK_SECONDS`.
    """
    path = sqlite_file(uri)
    if path is not None:
        import_mlflow()
        with undamaged(path):
            if not _is_current(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
                    if not any(_is_current(path) or _replace(path) for _ in range(ATTEMPTS)):
                        raise RunFailed(f"{path}: another program keeps writing to this unfinished store; end it")
    return stamp(uri) or 0


def stamp(uri: str) -> int | None:
    """A number that differs between this store and an earlier one at the same place; None if there is no store.

    It is random (SQLite's `user_version`) in a file that cnnlab created, and 0 in other files and on servers.
    """
    path = sqlite_file(uri)
    if path is None:
        return 0
    try:
        with closing(open_sqlite(path)) as database:
            return int(database.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error:
        return None


class NoAnswer(RunFailed):
    """Nothing answers at a store's address."""


def check_answers(uri: str) -> None:
    """Raises NoAnswer if a server gives no answer, of whatever kind, within ANSWER_SECONDS."""
    parts = urlsplit(uri)
    try:
        if parts.scheme in ("http", "https"):
            address = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=f"{parts.path.rstrip('/')}/health")
            with urlopen(address.geturl(), timeout=ANSWER_SECONDS):
                pass
        elif parts.scheme.partition("+")[0] in ("postgresql", "mysql"):
            from sqlalchemy import create_engine

            engine = create_engine(uri, connect_args={"connect_timeout": int(ANSWER_SECONDS)})
            engine.connect().close()
            engine.dispose()
    except HTTPError:
        pass
    except Exception as error:  # the network's, SQLAlchemy's or the driver's
        reason = " ".join(str(getattr(error, "reason", "") or getattr(error, "orig", "") or error).split())
        if "CERTIFICATE" not in reason:  # MLflow has rules of its own for them
            raise NoAnswer(f"the store does not answer ({reason:.120}); start it, then cnnlab sync") from None


def store_answers(uri: str) -> str | None:
    """None if MLflow can use this store, else its error in one line. Creates no database."""
    path = sqlite_file(uri)
    if path is not None and not path.exists():
        return None
    mlflow = import_mlflow()
    try:
        open_store(uri)
        check_answers(uri)
        mlflow.MlflowClient(whole(uri)).search_experiments(max_results=1)
    except Exception as error:  # whatever MLflow, its database or the network raises
        return reason(error, uri)
    return None


VIEW = "cnnlab"
"""The key of the view in an address: `&viewStateShareKey=cnnlab`."""
SCORES = dict.fromkeys(task.score.name for task in TASKS.values())
VIEW_TAG = {
    f"mlflow.sharedViewState.{VIEW}": json.dumps(
        {
            "selectedColumns": [
                *(f"metrics.`{key}`" for score in SCORES for key in (f"best/val_{score}", f"test/{score}")),
                *(f"params.`{key}`" for key in ("optimizer.lr", "data.batch_size", "optimizer.name")),
                "tags.`cnnlab.status`",
            ]
        }
    )
}
"""The tag of an experiment for a view of its runs. The UI hides columns that no run has, and shows times by itself."""


def open_view(uri: str) -> str | None:
    """The id of the experiment that has the newest run, whose view is saved; None if there are no runs."""
    client = import_mlflow().MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1, order_by=["attributes.start_time DESC"])
    if not runs:
        return None
    for key, value in VIEW_TAG.items():
        client.set_experiment_tag(runs[0].info.experiment_id, key, value)
    return str(runs[0].info.experiment_id)


def is_full(error: Exception) -> bool:
    """Whether a disk has no room: another attempt may find some."""
    return any(word in str(error) for word in FULL)


def reason(error: Exception, uri: str = "") -> str:
    """The error in one line: our own messages whole, those of others cut; with a hint if `uri` lacks its password."""
    if isinstance(error, CnnlabError):
        return str(error)
    text = one_line(f"{type(error).__name__}: {error}")
    return f"{text[:LONGEST_VALUE]}; {NO_PASSWORD}" if lacks_password(uri) else text[:LONGEST_REASON]


# creating and upgrading


def _replace(path: Path) -> bool:
    """Give the file the content of a finished copy; False if another program wrote to it meanwhile."""
    prefix = f".{path.name}.making-"
    for left_behind in path.parent.glob(f"{escape(prefix)}*"):  # by a process that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    with (
        TemporaryDirectory(prefix=prefix, dir=path.parent) as folder,
        closing(open_sqlite(path, mode="rwc")) as database,
    ):
        before, filled = _changes(database), _holds_something(database)
        _refuse_newer(path, database)
        finished = Path(folder) / path.name
        try:
            if filled:
                _upgrade(path, database, finished)
            else:
                _create(finished)
        except Exception:  # whatever a migration raises
            if _changes(database) == before:
                raise
        if _changes(database) != before:
            return False
        if not filled and _tables(database):
            aside = path.with_name(f"{path.name}.unfinished-{time.strftime('%Y%m%d-%H%M%S')}")
            _copy(database, aside)
            text = "%s: this store was left unfinished and held no runs: set aside as %s, made again"
            log.warning(text, path, aside.name)
        with closing(open_sqlite(finished)) as source:
            source.backup(database)
    return True


def _create(path: Path) -> None:
    """A new store, with a stamp of its own."""
    _initialize(path)
    with closing(open_sqlite(path, mode="rwc")) as database:
        database.execute(f"PRAGMA user_version = {secrets.randbelow(2**31 - 1) + 1}")


def _upgrade(path: Path, database: sqlite3.Connection, copy: Path) -> None:
    """Copy the database and upgrade the copy. Raises RunFailed if that fails; the same file is not tried again."""
    size, changed = path.stat().st_size, path.stat().st_mtime_ns
    if refusal := _refusals.get((path, size, changed)):
        raise RunFailed(refusal)
    try:
        _copy(database, copy)
        _migrate(copy)
        _initialize(copy)
    except Exception as error:  # whatever a migration raises
        if is_full(error):
            raise
        refusal = (
            f"{path}: MLflow {version('mlflow')} cannot upgrade this store ({reason(error)}); nothing was changed, "
            "since it is not empty. If an upgrade of it was broken off, put a copy from before in its place; or name "
            "another store with --tracking-uri sqlite:///FILE"
        )
        _refusals[path, size, changed] = refusal
        raise RunFailed(refusal) from error


def _migrate(path: Path) -> None:
    """As `mlflow db upgrade` does."""
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine(f"sqlite:///{path}")
    try:
        utils._upgrade_db(engine)
    finally:
        engine.dispose()


def _initialize(path: Path) -> None:
    """As MLflow does when it opens a store: missing tables, the experiment "Default", a check."""
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(f"sqlite:///{path}", DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()
    with closing(open_sqlite(path, mode="rwc")) as database:
        if not _has_all_tables(database):
            raise ValueError("tables are missing")


def _copy(database: sqlite3.Connection, path: Path) -> None:
    with closing(open_sqlite(path, mode="rwc")) as copy:
        database.backup(copy)


# the state of the file


def _is_current(path: Path) -> bool:
    """Whether MLflow would take the file as it is."""
    if not path.exists():
        return False
    with closing(open_sqlite(path)) as database:
        return _has_all_tables(database) and _revisions(database) == [_known_revisions()[0]]


def _has_all_tables(database: sqlite3.Connection) -> bool:
    from mlflow.store.db import utils  # noqa: F401  # which declares all tables
    from mlflow.store.db.base_sql_model import Base

    return _tables(database) >= set(Base.metadata.tables)


def _holds_something(database: sqlite3.Connection) -> bool:
    """Whether it has rows that MLflow did not put into the new store."""
    for table in _tables(database):
        seeded = SEEDED.get(table.removeprefix("_alembic_tmp_"), "0")
        if database.execute(f'SELECT EXISTS (SELECT 1 FROM "{table}" WHERE NOT ({seeded}))').fetchone()[0]:
            return True
    return False


def _refuse_newer(path: Path, database: sqlite3.Connection) -> None:
    if unknown := set(_revisions(database)) - set(_known_revisions()):
        raise RunFailed(
            f"{path}: a newer MLflow made this store (its schema is {', '.join(sorted(unknown))}) than the one here, "
            f"{version('mlflow')}; upgrade MLflow (pip install --upgrade mlflow), or name another store with "
            "--tracking-uri; nothing was changed"
        )


@cache
def _known_revisions() -> list[str]:
    """The schemas that this MLflow knows, its own first."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils

    script = ScriptDirectory.from_config(utils._get_alembic_config(db_url=""))
    return [one.revision for one in script.walk_revisions()]


def _revisions(database: sqlite3.Connection) -> list[str]:
    """One, unless the store is unfinished."""
    if "alembic_version" not in _tables(database):
        return []
    return [row[0] for row in database.execute("SELECT version_num FROM alembic_version")]


def _tables(database: sqlite3.Connection) -> set[str]:
    rows = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
    return {row[0] for row in rows}


def _changes(database: sqlite3.Connection) -> int:
    """Another number after another process has written to it."""
    return int(database.execute("PRAGMA data_version").fetchone()[0])
