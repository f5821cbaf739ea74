"""`cnnlab sync`"""

import click

from cnnlab.cli.options import tracking_uri_option


@click.command()
@click.argument("runs", nargs=-1)
@tracking_uri_option
def sync(runs: tuple[str, ...], tracking_uri: str | None) -> int:
    """Deliver to MLflow what it has not got.

    RUNS are run ids, beginnings of them, last, or directories; without any, all runs in mlruns/runs. Each run goes to
    where it was made for, or to --tracking-uri. Delivering twice changes nothing.

    \b
    Example: cnnlab sync last
    """
    from cnnlab.cli import complain
    from cnnlab.cli.courier import deliver
    from cnnlab.errors import RunFailed
    from cnnlab.tracking import find_run, list_runs

    failures = 0
    for run in [find_run(word) for word in runs] or list_runs():
        try:
            click.echo(f"{run.run_id}: {deliver(run, tracking_uri)}")
        except RunFailed as error:
            failures += 1
            complain(f"{run.run_id}: {error}")
    return 1 if failures else 0
