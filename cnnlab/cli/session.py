"""A run at the command line: the courier beside it, progress on stderr, the result on stdout, signals obeyed."""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from cnnlab.cli import complain
from cnnlab.cli.interrupts import Interrupt, at_once_when_interrupted, catch_interrupts
from cnnlab.cli.printing.run import print_result, result_of
from cnnlab.cli.views.run import open_status, open_view
from cnnlab.config import RunConfig
from cnnlab.errors import InUse
from cnnlab.records import Record, RunStarted
from cnnlab.tracking import Courier, RunDir, find_run, present_store, resolve

DELIVERY_SECONDS = 60.0
"""How long a run that has ended waits for MLflow to have all of it."""


def train_new(
    config: RunConfig, experiment: str, tracking_uri: str | None, directory: Path | None, *, as_json: bool, quiet: bool
) -> int:
    """Train `config`, print the result, return the exit code."""
    uri = resolve(tracking_uri)
    with Courier(uri) as courier:
        with at_once_when_interrupted("interrupted before the first step; no run was made"):
            from cnnlab.run import create_run, prepare, record_run

            prepared = prepare(config)
        with catch_interrupts() as interrupt:
            run = create_run(config, experiment, uri, directory)
            _train(run, record_run(prepared, run), courier, interrupt, quiet=quiet)
        return _conclude(run, courier, interrupt, as_json=as_json, quiet=quiet)


def train_on(word: str, place: dict[str, Any], *, as_json: bool, quiet: bool) -> int:
    """Go on with a run that was stopped, and do as `train_new`; one that has finished only prints its result again.

    Args:
        word: what names the run.
        place: where it goes on, if that is said: dotted path -> value.
    """
    run = find_run(word)
    if run.is_held():
        raise InUse(f"--resume {word}: a live process ({run.holder()}) has this run; end it first")
    if result_of(run)["status"] == "finished":
        complain(f"{run.run_id} has finished already; this is its result")
        print_result(result_of(run), as_json=as_json)
        return 0
    with Courier(present_store(run)) as courier:
        with at_once_when_interrupted("interrupted before the first step; the run is as it was"):
            from cnnlab.run import config_to_resume, prepare, record_run

            prepared = prepare(config_to_resume(run, place))
        with catch_interrupts() as interrupt:
            _train(run, record_run(prepared, run), courier, interrupt, quiet=quiet)
        return _conclude(run, courier, interrupt, as_json=as_json, quiet=quiet)


def _train(
    run: RunDir, records: Generator[Record, None, None], courier: Courier, interrupt: Interrupt, *, quiet: bool
) -> None:
    with open_view(quiet) as view, closing(records):
        for record in records:
            if isinstance(record, RunStarted):  # not before: now the run's lock is held, so it is seen to be alive
                courier.follow(run)
            view.show(record)
            if interrupt.number:
                break


def _conclude(run: RunDir, courier: Courier, interrupt: Interrupt, *, as_json: bool, quiet: bool) -> int:
    """Wait for the delivery, print the result, return the exit code."""
    with open_status(quiet, "handing the run over to MLflow"):
        undelivered = courier.wait(run, DELIVERY_SECONDS)
    if undelivered:
        complain(f"MLflow has not got all of this run yet ({undelivered}); later: cnnlab sync {run.word}")
    result = result_of(run)
    print_result(result, as_json=as_json)
    if result["status"] == "finished":
        return 0
    complain(result["reason"])
    return 128 + interrupt.number if interrupt.number else 1
