"""`cnnlab sync`"""

import click

from cnnlab.cli.completion import complete_run
from cnnlab.cli.options import store_option
from cnnlab.errors import RunFailed


@click.command("sync")
@click.argument("runs", nargs=-1, shell_complete=complete_run)
@store_option
def command(runs: tuple[str, ...], tracking_uri: str | None) -> int:
    """RUNS are run ids, beginnings of them, last, or directories; the default is all runs and sweeps in mlruns. Each
    goes to the store that it was made for, or to --tracking-uri. Delivering twice changes nothing.

    \b
    Example: cnnlab sync last
    """
    from cnnlab.cli.streams import complain
    from cnnlab.courier import deliverer_of
    from cnnlab.errors import CnnlabError, without_passwords
    from cnnlab.tracking import (
        NoAnswer,
        correct_locations,
        find_run,
        list_runs,
        list_studies,
        list_trials,
        mark_dead,
        note_error,
        present_store,
        reason,
        resolve,
    )

    failures, gone = 0, dict[str, str]()
    default = resolve(tracking_uri, needed=True)
    if corrected := correct_locations(default):
        click.echo(f"{without_passwords(default)}: was moved; {corrected} locations of artifacts were corrected")
    for run in [find_run(word) for word in runs] or [*list_runs(), *list_studies(), *list_trials()]:
        try:
            if fault := run.mend():
                complain(fault)
                failures += 1
            mark_dead(run)
            intended = present_store(run)
        except RunFailed as error:  # its journal cannot be read
            complain(str(error))
            failures += 1
            continue
        uri = default if tracking_uri or intended == "none" else intended
        try:
            if uri in gone:
                raise NoAnswer(gone[uri])
            deliverer = deliverer_of(run, uri)
            complete = deliverer.deliver_when_free()
        except Exception as error:  # any error of MLflow, its database or the network
            failures += 1
            if isinstance(error, NoAnswer):
                gone[uri] = str(error)
            note_error(run, uri, error)
            who = "" if isinstance(error, CnnlabError) else f"{without_passwords(uri)} rejected the run: "
            complain(f"{run.run_id}: {who}{reason(error, uri)}")
        else:
            state = "complete" if complete else "up to date, still running"
            click.echo(f"{run.run_id}: {state} in {without_passwords(uri)}")
            for what, why in deliverer.refused.items():
                complain(f"{run.run_id}: not in MLflow, only in the run's own files: {what} ({why})")
    return 1 if failures else 0
