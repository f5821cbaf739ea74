"""The place where a study is kept: an SQLite file below mlruns/studies, or a database that many machines share."""

import stat
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit

import optuna
from sqlalchemy.engine import make_url

from cnnlab.errors import BadInput, quoted
from cnnlab.search.database import Database
from cnnlab.tracking import studies_root

STUDY_FILE = "study.db"
"""The SQLite file in a study's folder."""

DRIVERS = {"postgresql": ("postgresql+psycopg", "psycopg"), "mysql": ("mysql+pymysql", "pymysql")}
"""A database's scheme -> SQLAlchemy's scheme with the driver that its extra installs; the driver's module."""

SERVED = {
    "pool_size": 2,  # a process needs few connections, and many processes share the server
    "connect_args": {"connect_timeout": 10},
    "isolation_level": "READ COMMITTED",  # after a wait for a lock, see what its holder wrote; MySQL's default does not
}
"""How to connect to a database server."""

OPEN_AGAIN = (0.1, 0.5)
"""Seconds after which a database is tried again whose tables another process is making."""
MADE_JUST_NOW = ("already exists", "UNIQUE", "uplicate")
"""Words in a database's error if so. A database that does not answer is not tried again."""

PASSWORD = "; give one as user:PASSWORD@host, or for PostgreSQL by PGPASSWORD or ~/.pgpass"

optuna.logging.set_verbosity(optuna.logging.ERROR)


def storage_url(asked: str | None, study: str) -> str:
    """The storage for a study: --storage with its driver, or an SQLite file, by default the study's own.

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
def open_storage(url: str) -> Database:
    """The storage at a URL or in an SQLite file, opened once per process. Raises BadInput if nothing answers there."""
    address = url
    if "://" not in url:
        Path(url).parent.mkdir(parents=True, exist_ok=True)
        address = f"sqlite:///file:{quote(url)}?uri=true"  # SQLAlchemy and Optuna read ? and { as their own
    for pause in (*OPEN_AGAIN, None):
        try:
            return Database(address, {} if address.startswith("sqlite") else SERVED, shown(url))
        except Exception as error:  # SQLAlchemy's and the driver's own
            if pause is None or not any(word in str(error) for word in MADE_JUST_NOW):
                reason = (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0]
                remedy = PASSWORD if "password" in reason else ""
                raise BadInput(f"--storage {url}: cannot be opened: {reason}{remedy}") from None
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")
