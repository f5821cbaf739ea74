"""`cnnlab runs`"""

import csv
import sys
from collections.abc import Iterator
from typing import Any

import click

from cnnlab.cli.streams import complain
from cnnlab.errors import BadInput, CnnlabError
from cnnlab.result import strict_json


@click.command("runs")
@click.option("--where", metavar="CONDITION", help='Only runs for which it holds: "epochs > 5 and lr < 0.01".')
@click.option("--sort", metavar="NAME", help="The lowest value first; with -NAME the highest first.")
@click.option("--columns", metavar="NAME,...", help="These columns, as run_id,lr,epochs.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV on stdout.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on stdout.")
def command(where: str | None, sort: str | None, columns: str | None, as_csv: bool, as_json: bool) -> None:
    """Read from the journals below mlruns/runs, oldest first, without MLflow. Names are the keys of --json, flags as lr
    or batch_size, and settings as optimizer.lr.

    \b
    Example: cnnlab runs --where "val_accuracy > 0.9 and lr < 0.01" --sort -test_accuracy
    """
    from cnnlab.reading.several import check_names, chosen, differing, row_of

    if as_json and as_csv:
        raise BadInput("--json and --csv are both given; keep one")
    results = {result["run_dir"]: result for result in _readable()}
    rows = [row_of(result) for result in results.values()]
    names = columns.split(",") if columns is not None else []
    check_names(names, dict.fromkeys(name for row in rows for name in row), "--columns")
    rows = chosen(rows, where, sort)
    found = [results[row["run_dir"]] for row in rows]
    if as_json:
        click.echo(strict_json(found))
    elif as_csv:
        differ = dict.fromkeys(path for one in differing([result["config"] for result in found]) for path in one)
        plain = [key for result in found[:1] for key, value in result.items() if not isinstance(value, dict | list)]
        writer = csv.DictWriter(sys.stdout, names or list(dict.fromkeys([*plain, *differ])), "", "ignore")
        writer.writeheader()
        writer.writerows(rows)
    elif not found:
        click.echo(
            f"no run of {len(results)}: {where}" if results else "no runs in mlruns/runs yet; cnnlab train makes one"
        )
    else:
        from cnnlab.cli.display.runs_display import print_columns, print_runs

        print_columns(rows, names) if names else print_runs(found)


def _readable() -> Iterator[dict[str, Any]]:
    """The result of each run. If a run cannot be read, stderr has a line about it."""
    from cnnlab.reading import run_result
    from cnnlab.tracking import list_runs

    for run in list_runs():
        try:
            yield run_result(run)
        except CnnlabError as error:
            complain(str(error))
