"""`cnnlab studies`"""

import sys
from typing import TYPE_CHECKING, Any

import click

from cnnlab.result import strict_json

if TYPE_CHECKING:
    from cnnlab.search import Plan


SPARE = (("pruned", "infeasible", "failed"), ("is trial",), ("dataset",), ("trial 0",))
"""Columns that are left out on a narrow terminal, in this order."""


@click.command("studies")
@click.option("--storage", metavar="URL", help="List the sweeps of a database. [default: those below mlruns/studies]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list on stdout.")
def command(storage: str | None, as_json: bool) -> None:
    """\b
    Example: cnnlab studies
    """
    from cnnlab.search.study import list_plans
    from cnnlab.tracking import list_studies

    plans = list(list_plans(storage))
    if as_json:
        click.echo(strict_json([_row(plan) for plan in plans]))
        return
    if not plans:
        click.echo("no studies in mlruns/studies yet; cnnlab sweep makes one")
        return
    comparisons = [run.path.name for run in list_studies() if run.created.tags.get("kind") == "comparison"]
    alone = [plan for plan in plans if not plan.study.startswith(tuple(f"{name}." for name in comparisons))]
    if alone:
        _print_table([_row(plan) for plan in alone], alone)
    if comparisons:
        click.echo(f"comparisons: {', '.join(comparisons)}")


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


def _print_table(rows: list[dict[str, Any]], plans: "list[Plan]") -> None:
    from cnnlab.cli.display.terminal import WHOLE, fitted_table, result_console
    from cnnlab.reading.several import differing
    from cnnlab.result import settings_text

    numbers = ("trials", "pruned", "infeasible", "failed", "trial 0", "best at selection", "is trial")
    settings = differing([plan.config.model_dump(mode="json") for plan in plans])
    spaces = [{f"search {d.path.rpartition('.')[2]}": str(d.domain) for d in plan.space.dimensions} for plan in plans]
    cells = []
    for row, own, space in zip(rows, settings, spaces, strict=True):
        counts = row["trials"]
        searched = {name: domain for name, domain in space.items() if any(s.get(name) != domain for s in spaces)}
        cells.append(
            [
                row["study"],
                row["dataset"],
                f"{counts['total']}/{row['asked']}",
                *(str(counts[name]) for name in ("pruned", "infeasible", "failed")),
                *("" if row[key] is None else f"{row[key]:.4f}" for key in ("baseline", "best_value")),
                "" if row["best_trial"] is None else str(row["best_trial"]),
                settings_text({path: value for path, value in {**own, **searched}.items() if value is not None}),
            ]
        )
    room = result_console().width if sys.stdout.isatty() else None
    table, _ = fitted_table(("study", "dataset", *numbers, "settings"), cells, SPARE, room, right=numbers)
    table.columns[0].no_wrap = room is None  # a name may have 200 characters
    table.columns[0].overflow = "fold"
    result_console(in_pipe=WHOLE).print(table)
