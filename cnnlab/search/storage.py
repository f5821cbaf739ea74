"""The place where a study is kept: a journal file below mlruns/studies, or a database that many machines share."""

import logging
import stat
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import make_url

from cnnlab.errors import BadInput, RunFailed, quoted
from cnnlab.search.database import Database, StorageGone
from cnnlab.search.optuna_internals import BaseJournalFileLock, CheckedJournal
from cnnlab.tracking import studies_root

STUDY_FILE = "optuna.journal"
"""The file in a study's folder."""

DRIVERS = {"postgresql": ("postgresql+psycopg", "psycopg"), "mysql": ("mysql+pymysql", "pymysql")}
"""A database's scheme -> SQLAlchemy's scheme with the driver that its extra installs; the driver's module."""

SERVED = {
    "pool_size": 2,  # a process needs few connections, and many processes share the server
    "connect_args": {"connect_timeout": 10},
    # a process that has waited for a lock reads what its holder wrote; with MySQL's default it would not
    "isolation_level": "READ COMMITTED",
}
"""How to connect to a database server."""

OPEN_AGAIN = (0.1, 0.5)
"""Pauses in seconds before another try, if another process is creating the tables."""
MADE_JUST_NOW = ("already exists", "UNIQUE", "uplicate")
"""Words in a database's error if so. A database that does not answer is not tried again."""

PASSWORD = "; give one as user:PASSWORD@host, or for PostgreSQL by PGPASSWORD or ~/.pgpass"

DAMAGE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError)
"""What Optuna raises if a line of its journal is damaged."""

LOCK_POLL_SECONDS = 0.01
"""The pause between two tries to lock a study's file; the lock is held for about a millisecond."""

optuna.logging.set_verbosity(optuna.logging.ERROR)
logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of a connection that broke, and raises an error too


def storage_url(asked: str | None, study: str) -> str:
    """The storage for a study: --storage with its driver, by default the study's own journal file.

    Raises:
        BadInput: there is no such kind of storage, or its driver is not installed.
    """
    if asked is None:
        return str((studies_root() / study / STUDY_FILE).absolute())
    if not (scheme := urlsplit(asked).scheme):
        return str(_file(asked))
    if "://" not in asked:
        raise BadInput(f"--storage {asked}: not a storage; it is written {scheme}://...")
    if scheme in DRIVERS:
        scheme, module = DRIVERS[scheme]
        if find_spec(module) is None:
            raise BadInput(
                f"--storage {asked}: needs the driver {module}: pip install 'cnnlab[{scheme.split('+')[0]}]'"
            )
        return scheme + asked[asked.index("://") :]
    folder = Path(asked.partition(":///")[2]).absolute().parent
    if scheme.startswith("sqlite") and not folder.is_dir():
        raise BadInput(f"--storage {asked}: there is no folder {folder}")
    if scheme.split("+")[0] not in ("sqlite", *DRIVERS):
        raise BadInput(
            f"--storage {asked}: not a storage; use a file, or sqlite:///FILE, postgresql://... or mysql://..."
        )
    return asked


def _file(asked: str) -> Path:
    """The file that --storage names. Raises BadInput for a folder, a device or a name that no file can have."""
    path = Path(asked).absolute()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadInput(f"--storage {asked!r}: is not a file; name one, or a database as in postgresql://...")
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadInput(f"--storage {quoted(asked)}: cannot be opened ({why}); name a file") from None
    return path


def shown(url: str) -> str:
    """A storage's URL as it may be printed and recorded, without its password."""
    return make_url(url).render_as_string(hide_password=True) if "://" in url else url


@cache
def open_storage(url: str) -> BaseStorage:
    """The storage at a URL, opened once per process. Raises BadInput if nothing answers there."""
    if "://" not in url:
        Path(url).parent.mkdir(parents=True, exist_ok=True)
        return JournalFile(Path(url))
    for pause in (*OPEN_AGAIN, None):
        try:
            return Database(url, {} if url.startswith("sqlite") else SERVED, shown(url))
        except Exception as error:  # SQLAlchemy's and the driver's own
            if pause is None or not any(word in str(error) for word in MADE_JUST_NOW):
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                remedy = PASSWORD if "password" in reason else ""
                raise BadInput(f"--storage {url}: cannot be opened: {reason}{remedy}") from None
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


class JournalFile(CheckedJournal):
    """Optuna's journal in a file that several processes of a machine share.

    Raises:
        StorageGone: from any method, if the file cannot be read or written.
        RunFailed: from any method, if it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.lock = _Lock(path)
        self._order = threading.RLock()
        """Comes before the locks of the file and of Optuna, which `alone` and a beat take in opposite orders."""
        super().__init__(_File(str(path), lock_obj=self.lock))

    @contextmanager
    def checked(self) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            raise RunFailed(
                f"{self.lock.journal}: a line from {self.lines} on is damaged ({type(error).__name__}: "
                f"{error!s:.80}); replace the file by a copy, or begin another study by --study NAME"
            ) from None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within it, no other process writes, and no other thread a trial's attribute."""
        with self._order:
            self.lock.acquire()
            try:
                yield
            finally:
                self.lock.release()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._order:
            super().set_trial_user_attr(trial_id, key, value)


class _File(JournalFileBackend):
    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        with _storage_gone():
            yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with _storage_gone():
            super().append_logs(logs)


@contextmanager
def _storage_gone() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageGone(f"{error.filename or 'optuna.journal'}: {error.strerror}; the same command goes on") from None


class _Lock(BaseJournalFileLock):
    """The kernel's lock on a file. It is free as soon as its holder has ended, even if that was killed.

    Optuna's own locks block all others for 30 s after their holder was killed.
    """

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self._lock = FileLock(f"{journal}.lock")

    def acquire(self) -> bool:
        self._lock.acquire(poll_interval=LOCK_POLL_SECONDS)
        try:
            self._cut_torn_line()
        except BaseException:
            self._lock.release()
            raise
        return True

    def release(self) -> None:
        self._lock.release()

    def _cut_torn_line(self) -> None:
        """Remove the part of a line that a process wrote before it was killed."""
        with open(self.journal, "rb+") as file:
            size = file.seek(0, 2)
            if size == 0:
                return
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
