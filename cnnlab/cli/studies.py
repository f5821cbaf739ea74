"""`cnnlab studies`"""

import json
import sys
from typing import Any

import click


@click.command()
@click.option("--storage", metavar="URL", help="Those of a database. [default: those below mlruns/studies]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on stdout.")
def studies(storage: str | None, as_json: bool) -> None:
    """List the sweeps made here.

    \b
    Example: cnnlab studies
    """
    from cnnlab.search.studies.study import list_plans

    rows = [_row(plan) for plan in list_plans(storage)]
    if as_json:
        click.echo(json.dumps(rows))
    elif not rows:
        click.echo("no studies in mlruns/studies yet; cnnlab sweep makes one")
    else:
        _print_table(rows)


def _row(plan: Any) -> dict[str, Any]:
    from cnnlab.search.studies.claims import study_slots
    from cnnlab.search.studies.slots import counted
    from cnnlab.search.studies.storage import shown
    from cnnlab.search.studies.study import open_or_make
    from cnnlab.search.sweep import best_first
    from cnnlab.search.trials.stages import Search

    slots = study_slots(open_or_make(plan.study, plan.storage), Search(plan).wanted)
    best = best_first(slots)[:1]
    return {
        "study": plan.study,
        "storage": shown(plan.storage),
        "dataset": plan.config.data.dataset,
        "asked": plan.trials,
        "trials": counted(slots),
        "baseline": slots[0].value,
        "best_value": best[0].value if best else None,
        "best_trial": best[0].number if best else None,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("study", "dataset", "trials", "pruned", "infeasible", "failed", "trial 0", "best", "is trial"):
        table.add_column(name, justify="left" if name in ("study", "dataset") else "right", no_wrap=True)
    for row in rows:
        counts = row["trials"]
        table.add_row(
            row["study"],
            row["dataset"],
            f"{counts['total']}/{row['asked']}",
            *(str(counts[name]) for name in ("pruned", "infeasible", "failed")),
            *("" if row[key] is None else f"{row[key]:.4f}" for key in ("baseline", "best_value")),
            "" if row["best_trial"] is None else str(row["best_trial"]),
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)
