"""The progress of a sweep on stderr, its result on stdout, and its preview. It imports Rich and Optuna."""

import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import click
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cnnlab.cli.display.terminal import facts_table, open_block, plain_table, progress_row
from cnnlab.cli.streams import typed
from cnnlab.config.run_config import FLAGS, path_of
from cnnlab.intervals import LEAST
from cnnlab.reading.diagnosis import PLAYBOOK, Finding
from cnnlab.result import settings_text, strict_json
from cnnlab.search import Plan
from cnnlab.search.findings import Findings, sweep_result
from cnnlab.search.preview import Preview
from cnnlab.search.slots import Slot, best_first, counted
from cnnlab.search.storage import shown
from cnnlab.search.workers import SweepState, Workers

BARS = "▁▂▃▄▅▆▇█"
WITH_PATH = ("-s", "--set", "--search")
"""The options whose value begins with a setting."""


@contextmanager
def open_sweep_view(quiet: bool, plan: Plan, workers: Workers) -> Iterator[Callable[[SweepState], None]]:
    """A function that shows each state on stderr: live on a terminal, else one plain line per trial that has ended."""
    if quiet:
        yield lambda state: None
    elif sys.stderr.isatty():
        Console(stderr=True).print(Text(heading(plan, workers)))  # Rich breaks it between words
        with open_block() as draw:
            yield LiveSweep(plan, draw).show
    else:
        click.echo(heading(plan, workers), err=True)
        yield PlainSweep(plan).show


def heading(plan: Plan, workers: Workers) -> str:
    """One line about the search, and below it the plan's remarks."""
    names = ", ".join(dict.fromkeys(dimension.path for dimension in plan.space.dimensions))
    seeds = f", {plan.seeds} seeds each" if plan.seeds > 1 else ""
    what = f"study {plan.study}: {plan.trials} trials{seeds} over {names}; {plan.sampler}, {plan.pruner}; {workers}"
    return "\n".join([what, *plan.remarks])


def curves(slots: Sequence[Slot]) -> tuple[list[str], str]:
    """For each trial the validation scores after each epoch, in characters; and the range that all share."""
    scores = [_scores(slot) for slot in slots]
    known = [value for values in scores for value in values]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    drawn = ["".join(BARS[round((value - low) * scale)] for value in values) for values in scores]
    return drawn, f"{low:.3g} to {high:.3g}" if known else ""


def _scores(slot: Slot) -> list[float]:
    """The last ones, as many as are drawn."""
    values = slot.trial.intermediate_values.values() if slot.trial else ()
    return [value for value in values if math.isfinite(value)][-20:]


class PlainSweep:
    """One line per trial that has ended, without control codes: for logs."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.printed: set[tuple[str, int]] = set()

    def show(self, state: SweepState) -> None:
        stage = state.stage
        for slot in state.slots:
            if slot.finished and (stage.name, slot.number) not in self.printed:
                self.printed.add((stage.name, slot.number))
                done = sum(name == stage.name for name, _ in self.printed)
                value = f" {self.plan.score.show(slot.value)}" if slot.value is not None else ""
                what = f"{stage.label(slot.number)}: {slot.state}{value}"
                click.echo(
                    f"{done}/{len(state.slots)}  {what}  {settings_text(self.plan.searched(slot.config))}", err=True
                )


class LiveSweep:
    """A bar, the trials that run, and the best ones."""

    def __init__(self, plan: Plan, draw: Callable[..., None]) -> None:
        self.plan = plan
        self.draw = draw
        self.done_before: dict[str, int] = {}

    def show(self, state: SweepState) -> None:
        total, done = len(state.slots), state.finished
        before = self.done_before.setdefault(state.stage.name, done)
        bar = progress_row("", done, total, (total - done) * state.seconds / (done - before) if done > before else None)
        if state.stage.name != "search":
            self.draw(Text("the best again, on fresh seeds"), bar)
            return
        states: list[str] = [slot.state for slot in state.slots]
        names = [n for n in ("running", "complete", "pruned", "infeasible", "failed") if n in states]
        running = [slot for slot in state.slots if slot.state == "running"]
        best = best_first(state.slots, self.plan.score)[:5]
        drawn, scale = curves([*running, *best])
        at = [f"epoch {(slot.trial and slot.trial.last_step) or 0}" for slot in running]
        tables = (
            _table("running", self.plan, running, at, drawn[: len(running)], scale),
            _table("best", self.plan, best, [self._value(slot) for slot in best], drawn[len(running) :], scale),
        )
        counts = Text(", ".join(f"{states.count(name)} {name}" for name in names))
        self.draw(bar, counts, *(table for table in tables if table.rows))

    def _value(self, slot: Slot) -> str:
        return "" if slot.value is None else self.plan.score.show(slot.value)


def _table(title: str, plan: Plan, slots: list[Slot], what: Sequence[str], drawn: Sequence[str], scale: str) -> Table:
    """Args:
    what: of each slot, its second cell.
    drawn, scale: as of `curves`.
    """
    table = Table(box=None, header_style="dim", padding=(0, 1))
    for name in (title, "", f"curve, {scale}" if scale else "curve"):
        table.add_column(name, no_wrap=True)
    table.add_column("settings")  # the only column that Rich may shorten if the terminal is narrow
    for slot, cell, line in zip(slots, what, drawn, strict=True):
        settings = Text(settings_text(plan.searched(slot.config)), no_wrap=True, overflow="ellipsis")
        table.add_row(f"trial {slot.number}", cell, Text(line, "cyan"), settings)
    return table


def print_findings(findings: Findings, seconds: float, command: Sequence[str], *, as_json: bool) -> None:
    """On stdout.

    Args:
        command: the words after `cnnlab` that made the sweep, for the commands that the warnings suggest; empty if
            they are not known.
    """
    if as_json:
        click.echo(strict_json(sweep_result(findings, seconds)))
        return
    console = Console(highlight=False)
    parts: list[RenderableType] = [_summary(findings, seconds)]
    if findings.confirmed:
        parts += [Text(), _confirmation(findings)]
    parts += [Text(), _importances(findings)]
    title = f"{findings.plan.study}: {'best is trial ' + str(findings.best.number) if findings.best else 'no result'}"
    console.print(Panel(Group(*parts), title=Text(title), expand=False))
    if findings.warnings:
        first, *others = advised(findings, command)
        more = f" ({len(others)} more)" if others else ""
        console.print(Text(f"! {first.text}{more}"), soft_wrap=True)
        storage = findings.plan.storage
        place = ["--storage", shown(storage)] if "://" in storage else []
        again = first.command if not others else typed(["diagnose", findings.plan.study, *place])
        if again:
            console.print(Text(f"  {again}", style="bold"), soft_wrap=True)


def advised(findings: Findings, command: Sequence[str]) -> list[Finding]:
    """The warnings of a sweep, each with a whole command. `command` is as of `print_findings`."""
    return [
        Finding(
            "sweep",
            advice.text,
            advice.text,
            f'{PLAYBOOK}"{advice.section}"' if advice.section else "",
            _again(command, advice.action) if advice.action else "",
        )
        for advice in findings.warnings
    ]


def print_preview(preview: Preview, plan: Plan, workers: Workers) -> None:
    """Print the space, the first trials and the time."""
    for line in (f"study {plan.study}, {workers}", *plan.remarks, "space:"):
        click.echo(line)
    for dimension in plan.space.dimensions:
        only = f"   (only {dimension.only.path} {', '.join(dimension.only.values)})" if dimension.only else ""
        click.echo(f"  {dimension.path:24} {dimension.domain}{only}")
    click.echo(f"first of {plan.trials} trials:")
    for number, settings in enumerate(preview.trials):
        text = ", ".join(f"{p}={v:.4g}" if isinstance(v, float) else f"{p}={v}" for p, v in settings.items())
        click.echo(f"  {number}  {text}")
    click.echo(
        f"time: about {preview.seconds:,.0f} s if nothing is pruned; one training of the experiment as written takes "
        f"{preview.trial_seconds:.1f} s"
    )


def _summary(findings: Findings, seconds: float) -> Table:
    table = facts_table()
    counts = counted(findings.slots)
    ended = ", ".join(f"{number} {name}" for name, number in counts.items() if name != "total" and number)
    if findings.best:
        table.add_row("gain", _gain(findings))
        table.add_row("validation", _at_selection(findings))
        table.add_row("settings", Text(settings_text(findings.plan.searched(findings.best.config))))
        table.add_row("next", Text(f"cnnlab train mlruns/studies/{findings.plan.study}/best.yaml"))
    table.add_row("trials", f"{counts['total']} of {len(findings.slots)}: {ended or 'none ended'}; {seconds:.0f} s")
    table.add_row("report", Text(f"mlruns/studies/{findings.plan.study}/report/report.html"))
    return table


def _gain(findings: Findings) -> str:
    """The headline: the best against the experiment as written, on seeds that no trial had."""
    score, gain, best = findings.plan.score, findings.gain, findings.best
    if best and best.number == 0:
        return "no gain shown: the best is trial 0, the experiment as written"
    if gain is None and findings.confirmed:
        return "not known: trial 0 has no score on the fresh seeds of the best"
    if gain is None:
        return "not known: nothing was trained again on fresh seeds (--confirm)"
    seeds = f"{len(gain.values)} fresh seed{'s' * (len(gain.values) != 1)}"
    if gain.ends is None:
        values = ", ".join(score.table(value, sign="+") for value in gain.values)
        return f"no gain shown: {values} {score.points} over trial 0 on {seeds}; an interval needs {LEAST}"
    low, high = (score.table(end, sign="+") for end in gain.ends)
    size = f"{score.table(gain.mean, sign='+')} {score.points} over trial 0 on {seeds} (95 %: {low} to {high})"
    return size if gain.is_shown else f"no gain shown: {size}"


def _at_selection(findings: Findings) -> str:
    score, baseline, best = findings.plan.score, findings.baseline, findings.best
    assert best
    assert best.value is not None
    shown = score.show(best.value)
    return shown if baseline is None or best.number == 0 else f"{shown} at selection, trial 0 {score.show(baseline)}"


def _confirmation(findings: Findings) -> Table:
    """The mean with its interval, or the values if they are too few for one."""
    numbers = ("at selection", "on fresh seeds (95 %)", "seeds")
    table = plain_table("trained again", *numbers, right=numbers)
    for column in table.columns[:2]:
        column.no_wrap = False  # at 60 characters their headings need two lines
    for confirmed in findings.confirmed:
        fresh = ", ".join(f"{score:.4f}" for score in confirmed.scores)
        if confirmed.interval:
            low, high = confirmed.interval
            fresh = f"{confirmed.mean:.4f} ({low:.4f} to {high:.4f})"
        seeds = str(len(confirmed.scores) + confirmed.diverged)
        diverged = f", {confirmed.diverged} diverged" if confirmed.diverged else ""
        table.add_row(f"trial {confirmed.trial}", f"{confirmed.selected:.4f}", fresh, seeds + diverged)
    return table


def _importances(findings: Findings) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, share in findings.importances.items():
        table.add_row(Text(name), Text("█" * round(30 * share) or "▏", "cyan"), f"{share:.0%}")
    outer = Table.grid()
    if findings.importances:
        outer.add_row(table)
    if findings.unknown:
        outer.add_row(Text(findings.unknown))
    return outer


def _again(command: Sequence[str], action: Sequence[str]) -> str:
    """The command with the action's words at its end, without the options that they replace."""
    if not command:
        return f"by {shlex.join(action)}"
    replaced = {_sets(option, value) for option, value in pairwise(action) if option.startswith("-")}
    if action[0] != "--trials":  # every other action makes a new study
        replaced.add("--study")
    if action[0] == "-s":
        replaced.add(_sets("--search", action[1]))
    kept: list[str] = []
    words = iter(command)
    for word in words:
        option, attached, value = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        whole = [word]
        if not attached and (option in WITH_PATH or _sets(option, value) in replaced):
            whole.append(value := next(words, ""))
        kept += [] if _sets(option, value) in replaced else whole
    return typed([*kept, *action])


def _sets(option: str, value: str) -> str:
    """What an option sets: a setting, a setting's range, or the option itself."""
    path = value.partition("=")[0]
    if option in WITH_PATH:
        return f"--search {path_of(path)}" if option == "--search" else path
    return FLAGS.get(option.lstrip("-").replace("-", "_"), option)
