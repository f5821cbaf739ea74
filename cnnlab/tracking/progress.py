"""How far a run has been delivered, kept beside its journal: `delivery.json`."""

import json
from dataclasses import asdict, field

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from cnnlab.errors import without_passwords
from cnnlab.files import written_whole
from cnnlab.tracking.run_dir import RunDir
from cnnlab.tracking.store import stamp
from cnnlab.tracking.uri import page_of


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Progress:
    """Of one run to one store."""

    mlflow_run_id: str | None = None
    experiment_id: str | None = None
    """MLflow's; None until it is complete."""
    offset: int = 0
    """Bytes of the journal that the store has."""
    complete: bool = False
    """All of a run that has ended is there, with its model and figures."""
    error: str | None = None
    """What went wrong last; None when the last attempt went well."""
    refused: dict[str, str] = field(default_factory=dict)
    """What the store has refused for good -> why."""
    stamp: int = 0
    """Of the store that has it; another store at the same place has another, and has nothing of this run."""

    def __post_init__(self) -> None:
        if self.offset < 0:
            raise ValueError(f"offset >= 0 must hold, but got {self.offset}")


STORES = TypeAdapter(dict[str, Progress])
"""A store's URI without its password -> how far a run is delivered to it."""


def load_progress(run: RunDir, uri: str) -> Progress:
    """What is known of this run and this store; nothing delivered where nothing is known, or the store is a new one."""
    known = _all(run).get(without_passwords(uri), Progress())
    return known if known.stamp == stamp(uri) else Progress(error=known.error)


def save_progress(run: RunDir, uri: str, progress: Progress) -> None:
    """Keep it, atomically."""
    known = {**_all(run), without_passwords(uri): progress}
    with written_whole(run.delivery_file) as file:
        file.write_text(json.dumps({name: asdict(one) for name, one in known.items()}, indent=1))


def mlflow_run_id(run: RunDir) -> str | None:
    """The id of this run in the store that it was delivered to last."""
    ids = [progress.mlflow_run_id for progress in _all(run).values() if progress.mlflow_run_id]
    return ids[-1] if ids else None


def run_page(run: RunDir) -> str | None:
    """Where the server that has all of this run shows it; None if no server has."""
    pages = [
        page_of(uri, f"/{progress.experiment_id}/runs/{progress.mlflow_run_id}")
        for uri, progress in _all(run).items()
        if uri.startswith("http") and progress.complete
    ]
    return pages[-1] if pages else None


def is_delivered(run: RunDir) -> bool:
    """Whether some store has all of this run, as far as it has got."""
    size = run.journal_file.stat().st_size
    known = [load_progress(run, uri) for uri in _all(run)]
    return any(progress.complete and progress.offset == size for progress in known)


def _all(run: RunDir) -> dict[str, Progress]:
    try:
        return STORES.validate_json(run.delivery_file.read_bytes())
    except (OSError, ValueError):
        return {}  # not there, torn or damaged: the run is found again in MLflow by its tag
