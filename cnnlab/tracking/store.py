"""MLflow's store in a SQLite file, made or upgraded by one process while the others wait.

MLflow by itself lets every process that finds an unfinished file run its migrations. They are no transactions: two
processes at once, or one that is killed, leave a file that no later migration can finish. Here they run on a copy,
under a lock beside the file, and the finished copy replaces the file's content in one transaction of SQLite's. So
whoever opens the file finds the old content or the new, even if this process is killed.
"""

import errno
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

from cnnlab.errors import LONGEST_REASON, LONGEST_VALUE, CnnlabError, RunFailed, one_line
from cnnlab.tracking.uri import NO_PASSWORD, lacks_password, sqlite_file, undamaged, whole

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Set before MLflow is imported, unless the user has: the courier has its own patience, and nobody to talk to."""
ANSWER_SECONDS = 5.0
"""How long a server may take for its first word; MLflow itself would try for minutes."""
LOCK_SECONDS = 600.0
"""How long a process waits for the one that makes or upgrades the store: minutes, if the store is large."""
BUSY_SECONDS = 20.0
"""How long SQLite waits for the transaction of another process."""
ATTEMPTS = 10
"""How often a store is looked at again because another program, which does not know our lock, wrote to it."""
SEEDED = {"alembic_version": "1", "experiments": "experiment_id = 0", "workspaces": "name = 'default'"}
"""Table -> the condition on the rows that MLflow itself puts into a new store; all other rows are somebody's."""
FULL = ("disk is full", os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
"""Words by which SQLite and the system say that a disk has no room."""

log = logging.getLogger("cnnlab")
_refusals: dict[tuple[Path, int, int], str] = {}
"""Files that cannot be used, by size and modification time, so that a large one is not copied at every attempt."""


def import_mlflow() -> Any:
    """mlflow (4 s), quiet."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they raise is said in one line of ours
    return mlflow


def open_store(uri: str) -> int:
    """Make sure that MLflow can use a SQLite store; to be called before MLflow is given its URI. Returns its `stamp`.

    A file that is not there is made, one of an older MLflow is upgraded, and one that was left unfinished and holds
    nothing is set aside and made again. Servers are left alone.

    Raises:
        RunFailed: the file holds something and cannot be upgraded, or a newer MLflow made it; it is not touched.
        filelock.Timeout: another process has been at it for `LOCK_SECONDS`.
    """
    path = sqlite_file(uri)
    if path is not None:
        import_mlflow()
        with undamaged(path):
            if not _is_current(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
                    _make_current(path)
    return stamp(uri) or 0


def stamp(uri: str) -> int | None:
    """The number by which a store is known from another that was at the same place before it; None if there is none.

    A file that was made here has a random one (as SQLite's `user_version`); servers and all other files have 0.
    """
    path = sqlite_file(uri)
    if path is None:
        return 0
    try:
        with closing(_open_existing(path)) as database:
            return int(database.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error:
        return None


class NoAnswer(RunFailed):
    """Nobody answers at a store's address."""


def check_answers(uri: str) -> None:
    """Raises NoAnswer if a server says nothing within ANSWER_SECONDS; whatever it says, MLflow can be asked."""
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
    """None where MLflow can be asked at this URI, else one line that says what it said. Makes no new database."""
    path = sqlite_file(uri)
    if path is not None and not path.exists():
        return None
    mlflow = import_mlflow()
    try:
        open_store(uri)
        check_answers(uri)
        mlflow.MlflowClient(whole(uri)).search_experiments(max_results=1)
    except Exception as error:  # whatever MLflow, its database or the network come up with
        return reason(error, uri)
    return None


def newest_experiment(uri: str) -> str | None:
    """The id of the experiment that has the newest run; None if there are no runs."""
    client = import_mlflow().MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1, order_by=["attributes.start_time DESC"])
    return runs[0].info.experiment_id if runs else None


def is_full(error: Exception) -> bool:
    """Whether a disk has no room: another attempt may find some."""
    return any(word in str(error) for word in FULL)


def reason(error: Exception, uri: str = "") -> str:
    """What went wrong in one line, our own messages whole, those of others cut; and if `uri` lacks its password."""
    if isinstance(error, CnnlabError):
        return str(error)
    said = one_line(f"{type(error).__name__}: {error}")
    return f"{said[:LONGEST_VALUE]}; {NO_PASSWORD}" if lacks_password(uri) else said[:LONGEST_REASON]


# making it


def _make_current(path: Path) -> None:
    """Make, upgrade or replace the file, while holding its lock."""
    if refusal := _refusals.get(_state(path)):
        raise RunFailed(refusal)
    try:
        for _ in range(ATTEMPTS):
            if _is_current(path) or _replace(path):
                return
        raise RunFailed(f"{path}: another program keeps writing to this unfinished store; end it, then cnnlab sync")
    except RunFailed as error:
        _refusals[_state(path)] = str(error)
        raise


def _replace(path: Path) -> bool:
    """Give the file the content of a finished copy; False if another program wrote to it meanwhile."""
    prefix = f".{path.name}.making-"
    for left_behind in path.parent.glob(f"{escape(prefix)}*"):  # by a process that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    with TemporaryDirectory(prefix=prefix, dir=path.parent) as folder, closing(_open(path)) as database:
        before, held = _changes(database), _holds_something(database)
        _refuse_unknown(path, database)
        finished, failure = Path(folder) / path.name, None
        try:
            if held:
                _copy(database, finished)
                _upgrade(finished)
            else:
                _create(finished)
        except Exception as error:  # whatever a migration runs into
            failure = error
        if _changes(database) != before:
            return False
        if failure:
            raise RunFailed(_refusal(path, failure)) if held and not is_full(failure) else failure
        if not held and _tables(database):
            _set_aside(path, database)
        with closing(_open(finished)) as source:
            source.backup(database)
    return True


def _create(path: Path) -> None:
    """A new store, with a stamp of its own."""
    _initialize(path)
    with closing(_open(path)) as database:
        database.execute(f"PRAGMA user_version = {secrets.randbelow(2**31 - 1) + 1}")


def _upgrade(path: Path) -> None:
    """As `mlflow db upgrade` does."""
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine(f"sqlite:///{path}")
    try:
        utils._upgrade_db(engine)
    finally:
        engine.dispose()
    _initialize(path)


def _initialize(path: Path) -> None:
    """As MLflow does when it opens a store: tables that are not there, the experiment "Default", a check."""
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(f"sqlite:///{path}", DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH).engine.dispose()
    with closing(_open(path)) as database:
        if not _has_all_tables(database):
            raise ValueError("tables are missing")


def _set_aside(path: Path, database: sqlite3.Connection) -> None:
    aside = path.with_name(f"{path.name}.unfinished-{time.strftime('%Y%m%d-%H%M%S')}")
    _copy(database, aside)
    log.warning("%s: this store was left unfinished and held no runs: set aside as %s, made again", path, aside.name)


def _copy(database: sqlite3.Connection, path: Path) -> None:
    with closing(_open(path)) as copy:
        database.backup(copy)


# what is there


def _is_current(path: Path) -> bool:
    """Whether MLflow would take the file as it is."""
    if not path.exists():
        return False
    with closing(_open_existing(path)) as database:
        return _has_all_tables(database) and _revisions(database) == [_known_revisions()[0]]


def _has_all_tables(database: sqlite3.Connection) -> bool:
    from mlflow.store.db import utils  # noqa: F401  # which has all tables declared
    from mlflow.store.db.base_sql_model import Base

    return _tables(database) >= set(Base.metadata.tables)


def _holds_something(database: sqlite3.Connection) -> bool:
    """Whether anybody has put anything into it."""
    for table in _tables(database):
        seeded = SEEDED.get(table.removeprefix("_alembic_tmp_"), "0")
        if database.execute(f'SELECT EXISTS (SELECT 1 FROM "{table}" WHERE NOT ({seeded}))').fetchone()[0]:
            return True
    return False


def _refuse_unknown(path: Path, database: sqlite3.Connection) -> None:
    found = set(_revisions(database))
    if unknown := found and found - set(_known_revisions()):
        raise RunFailed(
            f"{path}: a newer MLflow made this store (its schema is {', '.join(sorted(unknown))}) than the one here, "
            f"{version('mlflow')}; upgrade MLflow (pip install --upgrade mlflow), or name another store with "
            "--tracking-uri; nothing was changed"
        )


def _refusal(path: Path, failure: Exception) -> str:
    return (
        f"{path}: MLflow {version('mlflow')} cannot upgrade this store ({reason(failure)}); nothing was changed, "
        "since it is not empty. If an upgrade of it was broken off, put a copy from before in its place; or name "
        "another store with --tracking-uri sqlite:///FILE"
    )


@cache
def _known_revisions() -> list[str]:
    """The schemas that the MLflow here knows, its own first."""
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


def _state(path: Path) -> tuple[Path, int, int]:
    status = path.stat() if path.exists() else None
    return (path, status.st_size, status.st_mtime_ns) if status else (path, 0, 0)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_SECONDS)


def _open_existing(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", timeout=BUSY_SECONDS, uri=True)
