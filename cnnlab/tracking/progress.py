"""What has been delivered of a run, per store; kept beside its journal in `delivery.json`."""

import json
from contextlib import suppress
from dataclasses import asdict, field, replace
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from cnnlab.errors import without_passwords
from cnnlab.files import written_whole
from cnnlab.tracking.run_dir import RunDir
from cnnlab.tracking.store import reason, stamp
from cnnlab.tracking.uri import page_of


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Progress:
    """What one store has of a run."""

    mlflow_run_id: str | None = None
    experiment_id: str | None = None
    """MLflow's; None until the delivery is complete."""
    offset: Annotated[int, Field(ge=0)] = 0
    """Bytes of the journal that the store has."""
    complete: bool = False
    """Whether the run has ended and the store has all of it, with its model and figures."""
    error: str | None = None
    """The error of the last attempt; None if that succeeded."""
    refused: dict[str, str] = field(default_factory=dict)
    """What the store refuses for good -> the reason."""
    stamp: int = 0
    """The store's `stamp`; another store at the same place has another stamp, and has nothing of this run."""


STORES = TypeAdapter(dict[str, Progress])
"""A store's URI without its password -> what it has."""


def load_progress(run: RunDir, uri: str) -> Progress:
    """What this store has of this run. Nothing if it is not known, or if the store has been created again since."""
    known = _all(run).get(without_passwords(uri), Progress())
    return known if known.stamp == stamp(uri) else Progress(error=known.error)


def save_progress(run: RunDir, uri: str, progress: Progress) -> None:
    """Write it, atomically."""
    known = {**_all(run), without_passwords(uri): progress}
    with written_whole(run.delivery_file) as file:
        file.write_text(json.dumps({name: asdict(one) for name, one in known.items()}, indent=1))


def note_error(run: RunDir, uri: str, error: Exception) -> None:
    """Write down the error of a delivery, for the command that waits for it; not if the disk has no room."""
    with suppress(OSError):
        save_progress(run, uri, replace(load_progress(run, uri), error=reason(error, uri)))


def reopen(run: RunDir) -> None:
    """Let the end of a run be delivered again, with all artifacts: files were added to them after it."""
    journal = run.journal_file.read_bytes()
    end = journal.rstrip(b"\n").rfind(b"\n") + 1
    for uri, progress in _all(run).items():
        if progress.complete:
            save_progress(run, uri, replace(progress, offset=end, complete=False))


def mlflow_run_id(run: RunDir) -> str | None:
    """The id of this run in the store that it was delivered to last."""
    ids = [progress.mlflow_run_id for progress in _all(run).values() if progress.mlflow_run_id]
    return ids[-1] if ids else None


def mlflow_page(run: RunDir) -> str | None:
    """The page of this run on the server that has all of it; None if no server has."""
    pages = [
        page_of(uri, f"/{progress.experiment_id}/runs/{progress.mlflow_run_id}")
        for uri, progress in _all(run).items()
        if uri.startswith("http") and progress.complete
    ]
    return pages[-1] if pages else None


def is_delivered(run: RunDir) -> bool:
    """Whether some store has all that this run has written so far."""
    size = run.journal_file.stat().st_size
    known = [load_progress(run, uri) for uri in _all(run)]
    return any(progress.complete and progress.offset == size for progress in known)


def _all(run: RunDir) -> dict[str, Progress]:
    try:
        return STORES.validate_json(run.delivery_file.read_bytes())
    except (OSError, ValueError):
        return {}  # missing, torn or damaged: the run is found in MLflow by its tag
