"""Which MLflow store is meant."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from cnnlab.errors import BadInput
from cnnlab.tracking.run_dir import STORE

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


def resolve(flag: str | None) -> str:
    """The flag, else $MLFLOW_TRACKING_URI, else the SQLite database mlruns/mlflow.db; "none" stays "none".

    A path of SQLite's is made absolute, so that the courier may run anywhere.

    Raises:
        BadInput: MLflow takes no such URI.
    """
    uri = flag or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{STORE}/mlflow.db"
    name = "--tracking-uri" if flag else "MLFLOW_TRACKING_URI"
    if uri.lower() == "none":
        return "none"
    head, colon, rest = uri.partition(":")
    uri = head.lower() + colon + rest  # SQLAlchemy knows no "SQLite"
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme == "sqlite":
        path = uri.partition(":///")[2]
        if not path:
            raise BadInput(f"{name} {uri}: SQLite's URI names a file, as in sqlite:///mlruns/mlflow.db")
        return f"{uri.partition(':///')[0]}:///{Path(path).absolute()}"
    if scheme not in SCHEMES:
        raise BadInput(
            f"{name} {uri}: not a store that MLflow takes; use sqlite:///FILE (plain folders are refused since "
            f"MLflow 3.13), a URI that begins with one of {', '.join(SCHEMES)}, or none"
        )
    return uri


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store; None if the store is another kind."""
    path = uri.partition(":///")[2].partition("?")[0]
    return Path(path).absolute() if uri.startswith("sqlite") else None
