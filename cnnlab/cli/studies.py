"""`cnnlab studies`"""

from typing import TYPE_CHECKING, Any

import click

from cnnlab.result import strict_json

if TYPE_CHECKING:
    from cnnlab.search import Plan


@click.command("studies")
@click.option("--storage", metavar="URL", help="List the sweeps of a database. [default: those below mlruns/studies]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on stdout.")
def command(storage: str | None, as_json: bool) -> None:
    """\b
    Example: cnnlab studies
    """
    from cnnlab.search.study import list_plans

    rows = [_row(plan) for plan in list_plans(storage)]
    if as_json:
        click.echo(strict_json(rows))
    elif not rows:
        click.echo("no studies in mlruns/studies yet; cnnlab sweep makes one")
    else:
        _print_table(rows)


def _row(plan: "Plan") -> dict[str, Any]:
    from cnnlab.search.slots import best_first, counted
    from cnnlab.search.stages import Search, slots_of
    from cnnlab.search.storage import shown

    slots = slots_of(Search(plan))
    best = best_first(slots, plan.score)[:1]
    return {
        "study": plan.study,
        "storage": shown(plan.storage),
        "dataset": plan.config.data.dataset,
        "asked": plan.trials,
        "trials": counted(slots),
        "baseline": slots[0].value if slots else None,
        "best_value": best[0].value if best else None,
        "best_trial": best[0].number if best else None,
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    from cnnlab.cli.display.terminal import WHOLE, plain_table, result_console

    numbers = ("trials", "pruned", "infeasible", "failed", "trial 0", "best at selection", "is trial")
    table = plain_table("study", "dataset", *numbers, right=numbers)
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
    result_console(in_pipe=WHOLE).print(table)
