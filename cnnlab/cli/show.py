"""`cnnlab show`"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnnlab.cli.options import folder

if TYPE_CHECKING:
    from cnnlab.tracking import RunDir


@click.command()
@click.argument("run", default="last")
@click.option(
    "--plot",
    type=click.Path(),
    callback=folder,
    help="Write the curves (and the confusion matrix) as PNG into this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout: that of `train --json`.")
def show(run: str, plot: Path | None, as_json: bool) -> None:
    """Show one run: its settings, curves and results.

    RUN is a run id, an unambiguous beginning of one, last, or a run's directory.

    \b
    Example: cnnlab show last --plot figures
    """
    from cnnlab.cli.result import print_result, result_of
    from cnnlab.tracking import find_run

    found = find_run(run)
    if plot:
        from cnnlab.analysis import draw

        for path in draw(found.path, plot):
            click.echo(path, err=True)
    if as_json:
        click.echo(json.dumps(result_of(found)))
        return
    _print_history(found)
    print_result(result_of(found), as_json=False)


def _print_history(run: "RunDir") -> None:
    """The settings that are not the defaults, the loss curve, the epochs."""
    from cnnlab.cli.console import result_console
    from cnnlab.cli.history import changed_settings, epoch_table, loss_curve
    from cnnlab.tracking import read

    console = result_console()
    records = read(run.journal_file)[0]
    console.print(changed_settings(run.created.config))
    console.print(loss_curve(records, min(console.width, 100)))
    console.print(epoch_table(records))
