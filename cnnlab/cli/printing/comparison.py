"""What a comparison found, for scripts and for people; what it would do, for people."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnnlab.result import strict_json
from cnnlab.wording import settings_text

if TYPE_CHECKING:
    from cnnlab.comparison import Comparison
    from cnnlab.comparison.verdicts import ArmResult, Verdicts

BAR = 24
"""Characters of an interval's bar."""
PROBABILITY = "P(A > B)"
"""A column that a terminal has no room for."""
SPARE = (("95 % interval",), ("diverged",), ("to target",), ("untuned",))
"""Columns of the arms that are left out on a narrow terminal, in this order."""
SPARE_OF_PAIRS = (("t", "Wilcoxon"), ("95 % interval",))
WRAPPED = 20
"""The last column may be wrapped to this number of characters before another column is left out."""


def print_comparison(comparison: "Comparison", profile: Path | None, *, as_json: bool) -> None:
    """On stdout; of several workloads each, then AlgoPerf's score over all of them.

    Args:
        profile: the file of the performance profile over several workloads.
    """
    if as_json:
        click.echo(strict_json(comparison.result))
    elif profile is None:
        ((name, found),) = comparison.verdicts.items()
        print_verdicts(name, found, comparison.seconds)
    else:
        _print_workloads(comparison, profile)


def print_verdicts(name: str, found: "Verdicts", seconds: float) -> None:
    """What one comparison found, for people."""
    _print_tables(found)
    click.echo(f"\n{seconds:.0f} s; report: mlruns/studies/{name}/report/compare.html")


def _print_workloads(comparison: "Comparison", profile: Path) -> None:
    from cnnlab.comparison.report import ranked, scores_over

    found = comparison.verdicts
    scores = scores_over(list(found.values()))
    for name, verdicts in found.items():
        click.echo(f"\n{name}")
        _print_tables(verdicts)
    click.echo(f"\nAlgoPerf's score over {len(found)} workloads (1: the fastest to the target on each):")
    for arm in ranked(scores):
        click.echo(f"  {arm:14} by seconds {scores[arm].seconds:.3f}   by steps {scores[arm].steps:.3f}")
    click.echo(f"{comparison.seconds:.0f} s; performance profile: {profile.relative_to(Path.cwd())}")


def print_contests(comparison: "Comparison") -> None:
    """What a comparison that was checked would do."""
    for contest in comparison.contests:
        click.echo(f"comparison {contest.name} over {contest.question}, {comparison.layout}")
        click.echo(
            f"{contest.trials} trials each, then {contest.seeds} fresh seeds each for the best and for the defaults"
        )
        for doubt in contest.doubts:
            click.echo(doubt)
        for arm, plan in contest.plans.items():
            ranges = ", ".join(f"{d.path} in {d.domain}" for d in plan.space.dimensions)
            click.echo(f"  {arm:12} lr {plan.config.optimizer.lr:g} untuned; tuned: {ranges}")


def interval_bar(low: float, mean: float, high: float, left: float, right: float) -> str:
    """An interval on an axis from `left` to `right`, in BAR characters: `   ├──●──┤  `; `◂` or `▸` of one beside it."""
    if high < left:
        return "◂"
    if low > right:
        return "▸"
    scale = (BAR - 1) / (right - left) if right > left else 0.0
    a, at, b = (max(0, round((value - left) * scale)) for value in (low, mean, high))
    cells = [" "] * BAR
    cells[a : b + 1] = ["─"] * (b + 1 - a)
    cells[a], cells[b] = "├", "┤"
    cells[at] = "●"
    return "".join(cells).rstrip()


def _print_tables(found: "Verdicts") -> None:
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


def _arms(found: "Verdicts", room: int | None) -> Any:
    score = found.score
    columns = [found.question, f"test{score.in_tables}", "95 % interval", "untuned", "to target", "diverged", "tuned"]
    rows: list[list[str]] = []
    best = score.best(summary.mean for summary in found.summaries.values())
    near = [s for s in found.summaries.values() if best is not None and score.gain(best, s.mean) <= score.in_sight]
    left, right = min((s.ci_low for s in near), default=0.0), max((s.ci_high for s in near), default=0.0)
    for arm in found.arms:
        summary, untuned = found.summaries.get(arm.name), found.untuned.get(arm.name)
        bar = summary and interval_bar(summary.ci_low, summary.mean, summary.ci_high, left, right)
        rows.append(
            [
                arm.name,
                f"{score.table(summary.mean)} ± {score.table(summary.std)}" if summary else "none",
                bar or "",
                score.table(untuned.mean) if untuned else "none",
                _steps(found, arm),
                str(arm.infeasible or ""),
                settings_text(arm.best_params),
            ]
        )
    table, kept = _fitted(columns, rows, SPARE, room)
    if found.target is not None:
        steps = (
            f"; steps to a validation {score.words} of {score.show(found.target)}, the median"
            if "to target" in kept
            else ""
        )
        table.caption, table.caption_justify = f"± over {found.seeds} seeds{steps}", "left"
    return table


def _pairs(found: "Verdicts", room: int | None) -> Any:
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
    """A table and its columns. To fit into `room` characters, columns of `spare` are left out; None for any room."""
    kept = list(columns)
    if room is not None:
        widths = {name: max(map(len, (name, *cells))) + 2 for name, *cells in zip(columns, *rows, strict=True)}
        last = columns[-1]
        for names in spare:
            if sum(widths[name] for name in kept) <= room:
                break
            kept = [name for name in kept if name not in names]
            widths[last] = min(widths[last], WRAPPED)  # the first is left out sooner than words are wrapped
    from cnnlab.cli.printing.tables import plain_table

    table = plain_table(*kept)
    table.columns[-1].no_wrap = room is None
    for row in rows:
        table.add_row(*(cell for column, cell in zip(columns, row, strict=True) if column in kept))
    return table, kept


def _steps(found: "Verdicts", arm: "ArmResult") -> str:
    to = found.to_target.get(arm.name)
    if to is None:
        return ""
    return "missed" if to.steps == float("inf") else f"{to.steps:.0f} steps"
