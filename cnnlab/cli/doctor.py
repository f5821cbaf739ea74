"""`cnnlab doctor`"""

from collections.abc import Iterator

import click

from cnnlab.cli.options import store_option


@click.command("doctor")
@store_option
def command(tracking_uri: str | None) -> int:
    """Say what is wrong here, and end the runs whose process died.

    Looks at PyTorch and its devices, the data, the runs' journals and the MLflow store. The exit code is 1 where
    something is wrong.

    \b
    Example: cnnlab doctor
    """
    from cnnlab.tracking import resolve

    wrong = 0
    for good, finding in _findings(resolve(tracking_uri, needed=True)):
        wrong += not good
        click.echo(f"{'ok   ' if good else 'WRONG'}  {finding}")
    return 1 if wrong else 0


def _findings(uri: str) -> Iterator[tuple[bool, str]]:
    yield from _torch()
    yield from _runs()
    yield from _store(uri)


def _torch() -> Iterator[tuple[bool, str]]:
    from cnnlab.run import describe_hardware

    yield True, describe_hardware()


def _runs() -> Iterator[tuple[bool, str]]:
    from cnnlab.errors import CnnlabError
    from cnnlab.tracking import is_delivered, list_runs, list_studies, list_trials, mark_dead

    undelivered = 0
    runs = [*list_runs(), *list_studies(), *list_trials()]
    for run in runs:
        try:
            if fault := run.mend():
                yield False, fault
            if mark_dead(run):
                yield (
                    False,
                    f"{run.run_id}: its process had died; marked so. cnnlab train --resume {run.word} goes on",
                )
            undelivered += not (run.is_held() or is_delivered(run))
        except CnnlabError as error:
            yield False, str(error)
    if undelivered:
        yield False, f"{undelivered} runs are not in MLflow yet, or not whole; cnnlab sync delivers them"
    yield True, f"{len(runs)} runs and sweeps in mlruns"


def _store(uri: str) -> Iterator[tuple[bool, str]]:
    from cnnlab.errors import without_passwords
    from cnnlab.tracking import corrections, store_answers

    error = store_answers(uri)
    yield error is None, f"MLflow store {without_passwords(uri)}" + (f": {error}" if error else "")
    if error is None and (wrong := corrections(uri)):
        yield (
            False,
            f"this store was moved: {len(wrong)} places of artifacts lead to where it was, as {wrong[0].before}; "
            "cnnlab sync corrects them",
        )
