"""The URI of MLflow's store, the name of the experiment, and their pages on a server."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from cnnlab.errors import HIDDEN, BadInput, RunFailed, quoted, shortened, without_passwords
from cnnlab.tracking.run_dir import MLRUNS

NO_PASSWORD = "its password is not kept: give the whole URI by --tracking-uri or MLFLOW_TRACKING_URI, or use ~/.pgpass"
SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")

LONGEST_NAME = 500
"""Of an experiment in MLflow."""
BUSY_SECONDS = 20.0
"""How long SQLite waits for the transaction of another process."""


def resolve(flag: str | None, *, needed: bool = False) -> str:
    """The flag, else $MLFLOW_TRACKING_URI, else the SQLite database mlruns/mlflow.db; "none" stays "none".

    A path of SQLite's is made absolute, so that the courier may run anywhere.

    Args:
        flag: --tracking-uri.
        needed: whether the command needs a store: the flag "none" is refused, and MLFLOW_TRACKING_URI=none is ignored.

    Raises:
        BadInput: MLflow does not take this URI.
    """
    variable = os.environ.get("MLFLOW_TRACKING_URI", "")
    if needed and variable.lower() == "none":
        variable = ""
    uri = flag or variable or f"sqlite:///{MLRUNS}/mlflow.db"
    name = "--tracking-uri" if flag else "MLFLOW_TRACKING_URI"
    if uri.lower() == "none" and not needed:
        return "none"
    head, colon, rest = uri.partition(":")
    uri = head.lower() + colon + rest  # SQLAlchemy knows no "SQLite"
    scheme, given = urlsplit(uri).scheme.partition("+")[0], f"{name} {shortened(uri)}"
    if scheme == "sqlite":
        path = uri.partition(":///")[2]
        if not path:
            raise BadInput(f"{given}: SQLite's URI names a file, as in sqlite:///mlruns/mlflow.db")
        return f"{uri.partition(':///')[0]}:///{Path(path).absolute()}"
    if scheme in SCHEMES and scheme != "databricks" and not re.fullmatch(r"[\w+.-]+://\S+", uri):
        raise BadInput(f"{given}: a URI begins with {head.lower()}:// and has no spaces; %20 means one")
    if scheme in ("postgresql", "mysql", "mssql") and uri.partition("?")[0].count("@") > 1:
        raise BadInput(f"{given}: the password of a database has an @ in it; write %40 in place of that")
    if scheme not in SCHEMES:
        raise BadInput(
            f"{given}: not a store that MLflow takes; use sqlite:///FILE (plain folders are refused since "
            f"MLflow 3.13), {'' if needed else 'none, '}or a URI that begins with one of {', '.join(SCHEMES)}"
        )
    return uri


def resolve_experiment(name: str | None) -> str:
    """The name given, else $MLFLOW_EXPERIMENT_NAME, else cnnlab. Raises BadInput if MLflow does not take it."""
    source = "MLFLOW_EXPERIMENT_NAME" if name is None else "--experiment-name"
    name = (os.environ.get("MLFLOW_EXPERIMENT_NAME") or "cnnlab") if name is None else name
    if not name.strip() or len(name) > LONGEST_NAME:
        raise BadInput(
            f"{source}: {quoted(name)} is not allowed; it must be the name of an MLflow experiment, of at most "
            f"{LONGEST_NAME} characters"
        )
    return name


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other store."""
    path = uri.partition(":///")[2].partition("?")[0]
    return Path(path).absolute() if uri.startswith("sqlite") else None


def whole(uri: str) -> str:
    """A store's URI with the password that `without_passwords` removed, if $MLFLOW_TRACKING_URI is the same with it.

    Else without a password: MLflow reads MLFLOW_TRACKING_PASSWORD and MLFLOW_TRACKING_TOKEN, PostgreSQL ~/.pgpass.
    """
    known = os.environ.get("MLFLOW_TRACKING_URI", "")
    return known if HIDDEN in uri and without_passwords(known) == uri else _bare(uri)


def lacks_password(uri: str) -> bool:
    """Whether the URI had a password that is not known here."""
    return HIDDEN in uri and whole(uri) == _bare(uri)


def _bare(uri: str) -> str:
    """The URI without HIDDEN."""
    hidden = re.escape(HIDDEN)
    return re.sub(rf"(?<=://){hidden}@|:{hidden}(?=@)|[\w.-]+(=|%3D){hidden}&?|[?&][\w.-]+={hidden}$", "", uri)


def open_sqlite(path: Path, *, mode: str = "rw") -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", timeout=BUSY_SECONDS, uri=True)


@contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """Within it SQLite reads this file. Raises RunFailed if it is damaged or no database."""
    try:
        yield
    except sqlite3.OperationalError:  # in use, or it may not be read
        raise
    except sqlite3.DatabaseError as error:
        raise RunFailed(
            f"{path}: this store is damaged ({error}); put a copy in its place, or move it away and deliver all runs "
            "to a new one by cnnlab sync"
        ) from None


def page_of(server: str, path: str = "") -> str:
    """The page of a server's experiments, or the page `path` below it: `/ID/runs`, `/ID/runs/RUN`."""
    server = _bare(without_passwords(server))
    # by default the UI shows the traces of language models
    return f"{server.rstrip('/')}/#/experiments{path}?workflowType=machine_learning"
