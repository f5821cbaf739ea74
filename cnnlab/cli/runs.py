"""`cnnlab runs`"""

import json
from collections.abc import Iterator
from typing import Any

import click

from cnnlab.cli.messages import complain
from cnnlab.errors import CnnlabError


@click.command("runs")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on stdout.")
def command(as_json: bool) -> None:
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
    """The result of each run; for one that cannot be read, a line on stderr."""
    from cnnlab.reading import run_result
    from cnnlab.tracking import list_runs

    for run in list_runs():
        try:
            yield run_result(run)
        except CnnlabError as error:
            complain(str(error))


def _print_table(results: list[dict[str, Any]]) -> None:
    from cnnlab.cli.printing.tables import WHOLE, plain_table, result_console

    numbers = ("epochs", "val acc", "test acc")
    table = plain_table("run", "status", "dataset", "model", "optimizer", *numbers, right=numbers)
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
    result_console(in_pipe=WHOLE).print(table)


def _accuracy(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
