"""The result of a comparison, for scripts and for people; its preview, for people. It imports Rich."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnnlab.cli.display.terminal import plain_table
from cnnlab.comparison import Comparison
from cnnlab.comparison.report import PAIR_COLUMNS, note_on_pairs, pair_rows
from cnnlab.comparison.verdicts import ArmResult, Verdicts, sentence
from cnnlab.comparison.workloads import Estimate, improvements, interquartile_means, ranked, scores_over
from cnnlab.result import listed, settings_text, strict_json

BAR = 24
"""Characters of an interval's bar."""
PROBABILITY = "P(A > B)"
"""A column for which a terminal has no room."""
SPARE = (("95 % interval",), ("diverged",), ("to target",), ("untuned",))
"""Columns of the arms that are left out on a narrow terminal, in this order."""
SPARE_OF_PAIRS = (("p",), ("95 % interval, all pairs",))
WRAPPED = 20
"""The last column may be wrapped to this number of characters before another column is left out."""


def print_comparison(comparison: Comparison, profile: Path | None, *, as_json: bool) -> None:
    """Print the result on stdout: each workload; if there are several, the area below the performance profile.

    Args:
        profile: the file of the performance profile over several workloads.
    """
    if as_json:
        click.echo(strict_json(comparison.result))
    elif profile is None:
        ((name, verdicts),) = comparison.verdicts.items()
        print_verdicts(name, verdicts, comparison.seconds)
    else:
        _print_workloads(comparison, profile)


def print_verdicts(name: str, verdicts: Verdicts, seconds: float) -> None:
    """Print the verdicts of one comparison, for people."""
    _print_tables(verdicts)
    click.echo(f"\n{seconds:.0f} s; report: mlruns/studies/{name}/report/compare.html")


def _print_workloads(comparison: Comparison, profile: Path) -> None:
    workloads = list(comparison.verdicts.values())
    scores = scores_over(workloads)
    for name, verdicts in comparison.verdicts.items():
        click.echo(f"\n{name}")
        _print_tables(verdicts)
    click.echo(
        f"\narea below the performance profile over {len(comparison.verdicts)} workloads "
        "(1: the fastest to the target on each)"
    )
    for arm in ranked(scores):
        click.echo(f"  {arm:14} by seconds {scores[arm].seconds:.3f}   by steps {scores[arm].steps:.3f}")
    if means := interquartile_means(workloads):
        score = workloads[0].score
        click.echo(
            f"\ninterquartile mean of the test {score.words}{score.in_tables}, 95 % stratified bootstrap interval"
        )
        for arm, mean in means.items():
            click.echo(f"  {arm:14} {_estimate(mean, score.table)}")
    click.echo("\nprobability of a better score on a workload, 95 % stratified bootstrap interval")
    for found in improvements(workloads):
        click.echo(f"  {found.a} over {found.b}: {_estimate(found.probability, '{:.2f}'.format)}")
    if comparison.note:
        click.echo(comparison.note)
    click.echo(f"\n{comparison.seconds:.0f} s; performance profile: {profile.relative_to(Path.cwd())}")


def _estimate(found: Estimate, write: Callable[[float], str]) -> str:
    return f"{write(found.value)} ({write(found.ci_low)} to {write(found.ci_high)})"


def print_contests(comparison: Comparison) -> None:
    """Print what a comparison would do, after `check()`."""
    for contest in comparison.contests:
        click.echo(f"comparison {contest.name} over {contest.question}, {comparison.workers}")
        click.echo(
            f"{contest.tunings} tunings of {contest.trials} trials each, then {contest.seeds} fresh "
            f"seed{'s' * (contest.seeds != 1)} for the best and for the defaults of each tuning"
        )
        for doubt in contest.doubts:
            click.echo(doubt)
        for arm, (plan, *_) in contest.plans.items():
            ranges = ", ".join(f"{d.path} in {d.domain}" for d in plan.space.dimensions)
            click.echo(f"  {arm:12} lr {plan.config.optimizer.lr:g} untuned; tuned: {ranges}")


def interval_bar(low: float, mean: float, high: float, left: float, right: float) -> str:
    """An interval on an axis from `left` to `right`, in BAR characters: `   ├──●──┤  `; `◂` or `▸` for an end that is
    outside."""
    if high < left:
        return "◂"
    if low > right:
        return "▸"
    scale = (BAR - 1) / (right - left) if right > left else 0.0
    a, at, b = (min(BAR - 1, max(0, round((value - left) * scale))) for value in (low, mean, high))
    cells = [" "] * BAR
    cells[a : b + 1] = ["─"] * (b + 1 - a)
    cells[a], cells[b] = "├" if low >= left else "◂", "┤" if high <= right else "▸"
    cells[at] = "●"
    return "".join(cells).rstrip()


def _print_tables(verdicts: Verdicts) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    room = console.width if sys.stdout.isatty() else None
    console.print(_arms(verdicts, room))
    if verdicts.pairs:
        console.print(Text())
        console.print(_pairs(verdicts, room))
    console.print(Text(f"\n{sentence(verdicts)}.", style="bold"), soft_wrap=True)
    if len(verdicts.not_worse) > 1 and verdicts.pairs:
        console.print(Text(f"not shown to be worse than the best: {listed(verdicts.not_worse)}"), soft_wrap=True)
    for warning in verdicts.warnings:
        console.print(Text(f"! {warning}"), soft_wrap=True)
    for caveat in verdicts.caveats:
        console.print(Text(f"- {caveat}", style="dim"), soft_wrap=True)


def _arms(verdicts: Verdicts, room: int | None) -> Table:
    score = verdicts.score
    names = ("95 % interval", "untuned", "to target", "diverged", "tuned")
    columns = [verdicts.question, f"test{score.in_tables}", *names]
    rows: list[list[str]] = []
    best = score.best(summary.mean for summary in verdicts.summaries.values())
    near = [s for s in verdicts.summaries.values() if best is not None and score.gain(best, s.mean) <= score.in_sight]
    left = min((s.ci_low for s in near if s.ci_low is not None), default=0.0)
    right = max((s.ci_high for s in near if s.ci_high is not None), default=0.0)
    for arm in verdicts.arms:
        summary, untuned = verdicts.summaries.get(arm.name), verdicts.untuned.get(arm.name)
        bar = ""
        if summary and summary.ci_low is not None and summary.ci_high is not None:
            bar = interval_bar(summary.ci_low, summary.mean, summary.ci_high, left, right)
        rows.append(
            [
                arm.name,
                f"{score.table(summary.mean)} ± {score.table(summary.std)}" if summary else "none",
                bar,
                score.table(untuned.mean) if untuned else "none",
                _steps(verdicts, arm),
                str(arm.infeasible or ""),
                settings_text(arm.best_params(score)),
            ]
        )
    table, kept = _fitted(columns, rows, SPARE, room)
    if verdicts.target is not None:
        steps = f"; steps to a validation {score.words} of {score.show(verdicts.target)}, the median of the finals"
        table.caption = f"± over {verdicts.unit_words}{steps if 'to target' in kept else ''}"
        table.caption_justify = "left"
    return table


def _pairs(verdicts: Verdicts, room: int | None) -> Table:
    shown = [i for i, column in enumerate(PAIR_COLUMNS) if column != PROBABILITY]
    rows = [[row[i] for i in shown] for row in pair_rows(verdicts)]
    table, kept = _fitted([PAIR_COLUMNS[i] for i in shown], rows, SPARE_OF_PAIRS, room)
    note = note_on_pairs(verdicts)
    table.caption, table.caption_justify = note if "p" in kept else note.partition(";")[0], "left"
    return table


def _fitted(
    columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[Sequence[str]], room: int | None
) -> tuple[Table, list[str]]:
    """A table and its columns. If it is wider than `room` characters, columns of `spare` are left out."""
    kept = list(columns)
    if room is not None:
        widths = {name: max(map(len, (name, *cells))) + 2 for name, *cells in zip(columns, *rows, strict=True)}
        last = columns[-1]
        for names in spare:
            if sum(widths[name] for name in kept) <= room:
                break
            kept = [name for name in kept if name not in names]
            widths[last] = min(widths[last], WRAPPED)  # the first is left out sooner than words are wrapped
    table = plain_table(*kept)
    table.columns[-1].no_wrap = room is None
    for row in rows:
        table.add_row(*(cell for column, cell in zip(columns, row, strict=True) if column in kept))
    return table, kept


def _steps(verdicts: Verdicts, arm: ArmResult) -> str:
    to = verdicts.to_target.get(arm.name)
    if to is None:
        return ""
    return "missed" if to.steps == float("inf") else f"{to.steps:.0f} steps"
