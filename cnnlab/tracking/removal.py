"""Deleting runs and studies: what belongs to one, whether it is in use, and what remains elsewhere."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from cnnlab.errors import BadInput, InUse, RunFailed
from cnnlab.records import SweepStarted
from cnnlab.tracking.journal import last, read
from cnnlab.tracking.progress import mlflow_run_id
from cnnlab.tracking.run_dir import RunDir, find_run, runs_root, studies_root, study_dir


def removable(word: str) -> list[RunDir]:
    """The run, the sweep, or the comparison with its arms' sweeps, that a word names.

    Raises:
        BadInput: there is none, it is a part of a study, or it lies outside mlruns/.
    """
    root = studies_root().absolute()
    run = RunDir((study_dir(word) or find_run(word)).path.absolute())
    with suppress(RunFailed):  # a damaged run can be removed
        if run.created.parent is not None:
            whole = run.path.relative_to(root).parts[0].partition(".")[0] if run.path.is_relative_to(root) else ""
            raise BadInput(f"{word}: it is a part of the study {whole}; remove that: cnnlab rm {whole}")
    if run.path.parent not in (runs_root().absolute(), root):
        raise BadInput(f"{word}: it lies outside mlruns, perhaps with other files; remove {run.path} yourself")
    arms = sorted(root.glob(f"{run.path.name}.*")) if run.path.parent == root else []
    return [run, *map(RunDir, arms)]


def runs_within(run: RunDir) -> list[RunDir]:
    """The run itself and, for a sweep or a comparison, all runs below it."""
    return [RunDir(path.parent) for path in sorted(run.path.rglob("journal.jsonl"))]


def check_unused(runs: Sequence[RunDir]) -> None:
    """Raises InUse if a live process has one of the runs, or one below it."""
    for run in (inner for outer in runs for inner in runs_within(outer)):
        if run.is_held():
            raise InUse(f"{run.path}: a live process ({run.holder()}) has this run; end it first")


def remains(run: RunDir) -> list[str]:
    """What a removal leaves elsewhere, in words."""
    delivered = sum(mlflow_run_id(one) is not None for one in runs_within(run))
    words = [f"{delivered} run{'s' * (delivered > 1)} in MLflow (delete in cnnlab ui)"] if delivered else []
    with suppress(RunFailed):
        started = last(read(run.journal_file)[0], SweepStarted)
        if started and "://" in started.storage:
            words.append(f"its trials in {started.storage}")
    return words


def size_of(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def remove(runs: Sequence[RunDir]) -> None:
    """Delete their folders. Raises InUse if a live process has one; then nothing is deleted."""
    check_unused(runs)
    with ExitStack() as held:
        for run in runs:
            held.enter_context(run.hold())
        for run in runs:
            shutil.rmtree(run.path)
