"""What a comparison found: as the JSON object that scripts read, and as tables with a sentence for people."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cnnlab.comparison.verdicts import ArmResult, Comparison

BAR = 24
"""Characters of an interval's bar."""
PROBABILITY = "P(A > B)"
"""A column for which a terminal has no room."""
SPARE = (("95 % interval",), ("diverged",), ("to target",), ("untuned",))
"""Columns of the arms that a narrow terminal is spared, the first first."""
SPARE_OF_PAIRS = (("t", "Wilcoxon"), ("95 % interval",))
WRAPPED = 20
"""Characters to which the last column may be wrapped before another one is left out."""


def print_comparison(found: "Comparison", name: str, seconds: float, *, as_json: bool) -> None:
    """On stdout."""
    from cnnlab.comparison.report import comparison_json

    if as_json:
        click.echo(json.dumps({**comparison_json(found), "study": name, "seconds": seconds}))
        return
    _print_tables(found)
    click.echo(f"\n{seconds:.0f} s; report: mlruns/studies/{name}/report/compare.html")


def print_workloads(found: "Mapping[str, Comparison]", seconds: float, *, as_json: bool) -> None:
    """On stdout: each workload, then AlgoPerf's score over all of them."""
    from cnnlab.comparison.report import comparison_json
    from cnnlab.comparison.workloads import scores_over, write_profile

    scores = scores_over(list(found.values()))
    folder = Path("mlruns", "studies", next(iter(found)), "report")
    profile = write_profile(list(found.values()), folder)
    ranking = sorted(scores, key=lambda arm: -scores[arm].seconds)
    if as_json:
        each = [{"study": name, **comparison_json(comparison)} for name, comparison in found.items()]
        algoperf = {arm: {"steps": score.steps, "seconds": score.seconds} for arm, score in scores.items()}
        click.echo(json.dumps({"workloads": each, "algoperf": algoperf, "ranking": ranking, "seconds": seconds}))
        return
    for name, comparison in found.items():
        click.echo(f"\n{name}")
        _print_tables(comparison)
    click.echo(f"\nAlgoPerf's score over {len(found)} workloads (1: the fastest to the target on each):")
    for arm in ranking:
        click.echo(f"  {arm:14} by seconds {scores[arm].seconds:.3f}   by steps {scores[arm].steps:.3f}")
    click.echo(f"{seconds:.0f} s; performance profile: {profile}")


def interval_bar(low: float, mean: float, high: float, left: float, right: float) -> str:
    """An interval on an axis from `left` to `right`, in BAR characters: `   ├──●──┤  `; `◂` of one left of it."""
    if high < left:
        return "◂"
    scale = (BAR - 1) / (right - left) if right > left else 0.0
    a, at, b = (max(0, round((value - left) * scale)) for value in (low, mean, high))
    cells = [" "] * BAR
    cells[a : b + 1] = ["─"] * (b + 1 - a)
    cells[a], cells[b] = "├", "┤"
    cells[at] = "●"
    return "".join(cells).rstrip()


def _print_tables(found: "Comparison") -> None:
    from rich.console import Console
    from rich.text import Text

    from cnnlab.comparison.verdicts import sentence

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    room = console.width if sys.stdout.isatty() else None
    console.print(_arms(found, room))
    if found.pairs:
        console.print(Text())
        console.print(_pairs(found, room))
    console.print(Text(f"\n{sentence(found)}.", style="bold"), soft_wrap=True)
    for warning in found.warnings:
        console.print(Text(f"! {warning}"), soft_wrap=True)


def _arms(found: "Comparison", room: int | None) -> Any:
    from cnnlab.comparison.verdicts import NEAR

    columns = [found.question, "test, %", "95 % interval", "untuned", "to target", "diverged", "tuned"]
    rows: list[list[str]] = []
    best = max((summary.mean for summary in found.summaries.values()), default=0.0)
    near = [summary for summary in found.summaries.values() if best - summary.mean <= NEAR]
    left, right = min((s.ci_low for s in near), default=0.0), max((s.ci_high for s in near), default=0.0)
    for arm in found.arms:
        summary, untuned = found.summaries.get(arm.name), found.untuned.get(arm.name)
        bar = summary and interval_bar(summary.ci_low, summary.mean, summary.ci_high, left, right)
        rows.append(
            [
                arm.name,
                f"{100 * summary.mean:.2f} ± {100 * summary.std:.2f}" if summary else "none",
                bar or "",
                f"{100 * untuned.mean:.2f}" if untuned else "none",
                _steps(found, arm),
                str(arm.infeasible or ""),
                ", ".join(f"{path.rpartition('.')[2]} {_short(value)}" for path, value in arm.best_params.items()),
            ]
        )
    table, kept = _fitted(columns, rows, SPARE, room)
    if found.target is not None:
        steps = f"; steps to a validation accuracy of {found.target:.4f}, the median" if "to target" in kept else ""
        table.caption, table.caption_justify = f"± over {found.seeds} seeds{steps}", "left"
    return table


def _pairs(found: "Comparison", room: int | None) -> Any:
    from cnnlab.comparison.report import PAIR_COLUMNS, note_on_pairs, pair_rows

    shown = [i for i, column in enumerate(PAIR_COLUMNS) if column != PROBABILITY]
    rows = [[row[i] for i in shown] for row in pair_rows(found)]
    table, kept = _fitted([PAIR_COLUMNS[i] for i in shown], rows, SPARE_OF_PAIRS, room)
    note = note_on_pairs(found)
    table.caption, table.caption_justify = note if "t" in kept else note.partition(";")[0], "left"
    return table


def _fitted(
    columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[Sequence[str]], room: int | None
) -> tuple[Any, list[str]]:
    """A table in `room` characters and its columns, without as many of `spare` as it takes; None: all of them."""
    kept = list(columns)
    if room is not None:
        widths = {name: max(map(len, (name, *cells))) + 2 for name, *cells in zip(columns, *rows, strict=True)}
        last = columns[-1]
        for names in spare:
            if sum(widths[name] for name in kept) <= room:
                break
            kept = [name for name in kept if name not in names]
            widths[last] = min(widths[last], WRAPPED)  # the first is left out sooner than words are wrapped
    table = _table(*kept)
    table.columns[-1].no_wrap = room is None
    for row in rows:
        table.add_row(*(cell for column, cell in zip(columns, row, strict=True) if column in kept))
    return table, kept


def _steps(found: "Comparison", arm: "ArmResult") -> str:
    to = found.to_target.get(arm.name)
    if to is None:
        return ""
    return "missed" if to.steps == float("inf") else f"{to.steps:.0f} steps"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(*columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
