"""The result of a comparison, for scripts and for people; its preview, for people. It imports Rich."""

import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnnlab.cli.display.terminal import fitted_table
from cnnlab.comparison import Comparison
from cnnlab.comparison.report import diverged, note_on_pairs, pair_columns, pair_rows, with_values
from cnnlab.comparison.verdicts import ArmResult, Verdicts, sentence
from cnnlab.comparison.workloads import Estimate, improvements, interquartile_means, ranked, scores_over
from cnnlab.files import from_here
from cnnlab.result import listed, settings_text, strict_json
from cnnlab.tracking import studies_root

BAR = 24
"""Characters of an interval's bar."""
PROBABILITY = "P(A > B)"
"""A column for which a terminal has no room."""
SPARE = (("95 % interval",), ("to target",), ("diverged",), ("untuned",))
"""Columns of the arms that are left out on a narrow terminal, in this order."""
SPARE_OF_PAIRS = (("p",), ("95 % interval, all pairs",))


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
    page = studies_root() / name / "report/compare.html"  # a claim of the lab has none
    click.echo(f"\n{seconds:.0f} s; report: {from_here(str(page)) if page.exists() else f'cnnlab report {name}'}")


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
            f"{_count(contest.tunings, 'tuning')} of {_count(contest.trials, 'trial')}"
            f"{' each' * (contest.tunings > 1)}, then {_count(contest.seeds, 'fresh seed')} "
            "for the best and for the defaults of each tuning"
        )
        for doubt in contest.doubts:
            click.echo(doubt)
        for arm, (plan, *_) in contest.plans.items():
            ranges = ", ".join(f"{d.path} in {d.domain}" for d in plan.space.dimensions)
            click.echo(f"  {arm:12} lr {plan.config.optimizer.lr:g} untuned; tuned: {ranges or 'nothing'}")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def interval_bar(low: float, mean: float, high: float, left: float, right: float) -> str:
    """An interval on an axis from `left` to `right`, in BAR characters: `   ├──●──┤  `.

    `◂` and `▸` stand for an end of the interval that lies outside the axis.
    """
    if high < left:
        return "◂"
    if low > right:
        return "▸"
    scale = (BAR - 1) / (right - left) if right > left else 0.0
    a, at, b = (min(max(0, round((value - left) * scale)), BAR - 1) for value in (low, mean, high))
    cells = [" "] * BAR
    cells[a : b + 1] = ["─"] * (b + 1 - a)
    cells[a], cells[b] = "├" if low >= left else "◂", "┤" if high <= right else "▸"
    if left <= mean <= right:
        cells[at] = "●"
    return "".join(cells).rstrip()


def _print_tables(verdicts: Verdicts) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    room = console.width if sys.stdout.isatty() else None

    def say(text: str, style: str = "", mark: str = "") -> None:
        """Words are wrapped on a terminal, below the mark; a pipe gets one line."""
        lines = textwrap.wrap(text, room - len(mark)) if room else [text]
        for number, line in enumerate(lines):
            console.print(Text((" " * len(mark) if number else mark) + line, style=style), soft_wrap=True)

    table, columns = _arms(verdicts, room)
    console.print(table)
    say(_note_on_arms(verdicts, columns))
    if verdicts.pairs:
        console.print()
        console.print(_pairs(verdicts, room))
        say(note_on_pairs(verdicts))
    console.print()
    say(f"{sentence(verdicts)}.", "bold")
    if len(verdicts.not_worse) > 1 and verdicts.pairs:
        say(f"not shown to be worse than the best: {listed(verdicts.not_worse)}")
    for warning in verdicts.warnings:
        say(warning, mark="! ")
    for caveat in verdicts.caveats:
        say(caveat, "dim", mark="- ")


def _arms(verdicts: Verdicts, room: int | None) -> tuple[Table, list[str]]:
    """The table of the arms, and its columns."""
    score = verdicts.score
    names = ("diverged", "95 % interval", "untuned", "to target", "best tuned")
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
                diverged(arm),
                bar,
                (score.table(untuned.mean) if untuned else "none") if verdicts.tuned else "",
                _steps(verdicts, arm),
                settings_text(arm.best_params(score)),
            ]
        )
    return fitted_table(*with_values(columns, rows), SPARE, room)


def _note_on_arms(verdicts: Verdicts, columns: Sequence[str]) -> str:
    note = f"mean ± standard deviation over {verdicts.unit_words}"
    if verdicts.target is None or "to target" not in columns:
        return note
    score = verdicts.score
    return (
        f"{note}; to target: steps to a validation {score.words} of {score.show(verdicts.target)}, median of the finals"
    )


def _pairs(verdicts: Verdicts, room: int | None) -> Table:
    columns = pair_columns(verdicts)
    rows = [
        ["" if name == PROBABILITY else cell for name, cell in zip(columns, row, strict=True)]
        for row in pair_rows(verdicts)
    ]
    return fitted_table(*with_values(columns, rows), SPARE_OF_PAIRS, room)[0]


def _steps(verdicts: Verdicts, arm: ArmResult) -> str:
    to = verdicts.to_target.get(arm.name)
    if to is None:
        return ""
    return "missed" if to.steps == float("inf") else f"{to.steps:.0f} steps"
