"""`cnnlab doctor`"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import click

from cnnlab.cli.options import store_option
from cnnlab.errors import CnnlabError, RunFailed

LEAST_FREE = 2**30
"""Bytes of free space; with fewer a run may not reach its end."""
OF_NO_RUN = {"lock", "lease.json", "config.yaml", "journal.jsonl"}
"""The files of a run whose process was killed before the run began."""


class Finding(NamedTuple):
    """One line of the report."""

    good: bool
    text: str
    """If it is not good, with the remedy."""
    fix: Callable[[], object] | None = None
    """Applies the remedy."""


@click.command("doctor")
@click.option("--fix", is_flag=True, help="Also apply the remedies that need no decision of yours.")
@store_option
def command(tracking_uri: str | None, fix: bool) -> int:
    """Checks versions, devices, disks, the data cache, the journals of runs, files that nobody needs and the MLflow
    store. The exit code is 1 if there is a problem.

    \b
    Example: cnnlab doctor --fix
    """
    from cnnlab.tracking import resolve

    wrong = 0
    uri = resolve(tracking_uri, needed=True)
    for finding in chain(_versions(), _disks(), _caches(), _runs(), _orphans(), _store(uri)):
        fixed = False
        if fix and finding.fix:
            with suppress(CnnlabError, OSError):
                finding.fix()
                fixed = True
        wrong += not (finding.good or fixed)
        click.echo(f"{'ok   ' if finding.good else 'fixed' if fixed else 'WRONG'}  {finding.text}")
    return 1 if wrong else 0


def _versions() -> Iterator[Finding]:
    """Installed packages whose version cnnlab does not allow; then the devices."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    from cnnlab.run import describe_hardware

    try:
        needed = [Requirement(line) for line in requires("cnnlab") or []]
    except PackageNotFoundError:  # a checkout that is not installed
        needed = []
    for package in needed:
        if package.marker is None or package.marker.evaluate({"extra": ""}):
            try:
                installed = version(package.name)
            except PackageNotFoundError:
                installed = ""
            if not installed or not package.specifier.contains(installed, prereleases=True):
                problem = f"{package.name} {installed or 'is not installed'}: cnnlab needs {package.specifier}"
                yield Finding(False, f"{problem}; pip install '{package.name}{package.specifier}'")
    yield Finding(True, f"{describe_hardware()}; mlflow {version('mlflow')}, optuna {version('optuna')}")


def _disks() -> Iterator[Finding]:
    from cnnlab.data import default_root

    cache = default_root().absolute()
    cache = next(folder for folder in (cache, *cache.parents) if folder.exists())
    for folder in dict.fromkeys([Path.cwd(), cache, Path(tempfile.gettempdir())]):
        free = shutil.disk_usage(folder).free
        room = f"{folder}: {free / 2**30:.1f} GiB are free"
        yield Finding(free >= LEAST_FREE, room + ("" if free >= LEAST_FREE else "; make room before the next run"))


def _caches() -> Iterator[Finding]:
    from cnnlab.data import cache_damage, default_root

    files = sorted(default_root().rglob("*-????????????????.safetensors"))
    for file in files:
        if damage := cache_damage(file):
            yield Finding(False, f"{file}: {damage}; remove it; the next run makes it again", file.unlink)
    size = sum(file.stat().st_size for file in files if file.exists())
    yield Finding(True, f"{default_root()}: {len(files)} cached datasets, {size / 2**20:.0f} MiB")


def _runs() -> Iterator[Finding]:
    from cnnlab.tracking import is_delivered, list_runs, list_studies, list_trials, mark_dead

    undelivered = 0
    runs = [*list_runs(), *list_studies(), *list_trials()]
    for run in runs:
        try:
            if fault := run.mend():
                yield Finding(False, fault)
            if mark_dead(run):
                remedy = f"the run is marked as ended; cnnlab train --resume {run.word} continues it"
                yield Finding(False, f"{run.run_id}: its process died; {remedy}")
            undelivered += not (run.is_held() or is_delivered(run))
        except CnnlabError as error:
            yield Finding(False, str(error))
    if undelivered:
        text = f"{undelivered} runs are missing or incomplete in MLflow; cnnlab sync delivers them"
        yield Finding(False, text, _sync)
    yield Finding(True, f"{len(runs)} runs and sweeps in mlruns")


def _sync() -> None:
    from cnnlab.cli.sync import command as sync

    if click.get_current_context().invoke(sync, runs=(), tracking_uri=None):
        raise RunFailed("cnnlab sync printed the reason")


def _orphans() -> Iterator[Finding]:
    from cnnlab.data import default_root
    from cnnlab.files import abandoned
    from cnnlab.tracking import RunDir, runs_root, studies_root

    for root in (runs_root(), studies_root(), default_root()):
        for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
            for file in abandoned(folder):
                yield Finding(False, f"{file}: left by a process that died; remove it", file.unlink)
    for folder in sorted(runs_root().glob("*/")):
        run = RunDir(folder)
        if {path.name for path in folder.iterdir()} <= OF_NO_RUN and not (run.is_created() or run.is_held()):
            yield Finding(False, f"{folder}: no run began here; remove it", partial(shutil.rmtree, folder))


def _store(uri: str) -> Iterator[Finding]:
    from cnnlab.errors import without_passwords
    from cnnlab.tracking import correct_locations, old_locations, store_answers

    error = store_answers(uri)
    yield Finding(error is None, f"MLflow store {without_passwords(uri)}" + (f": {error}" if error else ""))
    if error is None and (wrong := old_locations(uri)):
        yield Finding(
            False,
            f"this store was moved; {len(wrong)} locations of artifacts lead to its old folder, for example "
            f"{wrong[0]}; cnnlab sync corrects them",
            lambda: correct_locations(uri),
        )
