"""`cnnlab runs`"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from cnnlab.cli import complain
from cnnlab.errors import CnnlabError


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on stdout.")
def runs(as_json: bool) -> None:
    """List the runs made here.

    From the journals below mlruns/runs, oldest first; MLflow is not asked.

    \b
    Example: cnnlab runs
    """
    results = list(_readable())
    if as_json:
        click.echo(json.dumps(results))
    elif not results:
        click.echo("no runs in mlruns/runs yet; cnnlab train makes one")
    else:
        _print_table(results)


def _readable() -> Iterator[dict[str, Any]]:
    """The result of each run; of one that cannot be read, a line on stderr."""
    from cnnlab.cli.printing.run import result_of
    from cnnlab.tracking import list_runs

    for run in list_runs():
        try:
            yield result_of(run)
        except CnnlabError as error:
            complain(str(error))


def _print_table(results: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from cnnlab.cli.printing.console import result_console

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("run", "status", "dataset", "model", "optimizer"):
        table.add_column(name, no_wrap=True)
    for name in ("epochs", "val acc", "test acc"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        table.add_row(
            result["run_id"],
            result["status"],
            result["dataset"],
            result["model"],
            result["optimizer"],
            str(result["epochs"]),
            _accuracy(result["best_val_accuracy"]),
            _accuracy(result["test_accuracy"]),
        )
    # in a pipe nothing is cut off
    result_console(width=None if sys.stdout.isatty() else 200).print(table)


def _accuracy(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
