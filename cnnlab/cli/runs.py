"""`cnnlab runs`"""

from collections.abc import Iterator
from typing import Any

import click

from cnnlab.cli.streams import complain
from cnnlab.errors import CnnlabError
from cnnlab.metrics import short_name
from cnnlab.result import strict_json


@click.command("runs")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on stdout.")
def command(as_json: bool) -> None:
    """Read from the journals below mlruns/runs, oldest first, without MLflow.

    \b
    Example: cnnlab runs
    """
    results = list(_readable())
    if as_json:
        click.echo(strict_json(results))
    elif not results:
        click.echo("no runs in mlruns/runs yet; cnnlab train makes one")
    else:
        _print_table(results)


def _readable() -> Iterator[dict[str, Any]]:
    """The result of each run. If a run cannot be read, stderr has a line about it."""
    from cnnlab.reading import run_result
    from cnnlab.tracking import list_runs

    for run in list_runs():
        try:
            yield run_result(run)
        except CnnlabError as error:
            complain(str(error))


def _print_table(results: list[dict[str, Any]]) -> None:
    from cnnlab.cli.display.terminal import WHOLE, plain_table, result_console

    scores = {result["score"]["name"] for result in results}
    # a single score is named in the heading, several beside each value
    shared = short_name(next(iter(scores))) if len(scores) == 1 else ""
    numbers = ("epochs", f"val {shared}".strip(), f"test {shared}".strip())
    table = plain_table("run", "status", "dataset", "model", "optimizer", *numbers, right=numbers)
    for result in results:
        settings = (str(result[key]) for key in ("run_id", "status", "dataset", "model", "optimizer", "epochs"))
        table.add_row(*settings, *(_score(result, split, named=not shared) for split in ("val", "test")))
    result_console(in_pipe=WHOLE).print(table)


def _score(result: dict[str, Any], split: str, *, named: bool) -> str:
    name = result["score"]["name"]
    value = result["metrics"][split].get(name)
    if value is None:
        return ""
    return f"{value:.4f} {short_name(name)}" if named else f"{value:.4f}"
