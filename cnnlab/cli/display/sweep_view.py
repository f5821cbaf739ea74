"""The progress of a sweep on stderr: live on a terminal, else one plain line per trial. It imports Rich."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cnnlab.cli.display.run_view import Silent, View
from cnnlab.result import settings_text

if TYPE_CHECKING:
    from cnnlab.search import Plan
    from cnnlab.search.slots import Slot
    from cnnlab.search.workers import SweepState, Workers

BARS = "▁▂▃▄▅▆▇█"


def open_sweep_view(quiet: bool, plan: "Plan", workers: "Workers") -> "AbstractContextManager[View[SweepState]]":
    """The view that suits stderr; on leaving it, the terminal is as it was."""
    if quiet:
        return nullcontext(Silent())
    if sys.stderr.isatty():
        return LiveSweepView(plan, heading(plan, workers))
    click.echo(heading(plan, workers), err=True)
    return nullcontext(PlainSweepView(plan))


class EachSweepsView:
    """Shows several sweeps one after the other, each in a view of its own."""

    def __init__(self, quiet: bool, workers: "Workers") -> None:
        self.quiet = quiet
        self.workers = workers
        self._study = ""
        self._open = ExitStack()
        self._view: View[SweepState] = Silent()

    def show(self, state: "SweepState") -> None:
        plan = state.stage.plan
        if plan.study != self._study:
            self._open.close()
            first = plan if not self._study else replace(plan, doubts=[])  # the same data, so the same doubts
            self._study = plan.study
            self._view = self._open.enter_context(open_sweep_view(self.quiet, first, self.workers))
        self._view.show(state)

    def __enter__(self) -> "EachSweepsView":
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()


def heading(plan: "Plan", workers: "Workers") -> str:
    """A line that says what is searched how, then the lines that people should know before."""
    names = ", ".join(dict.fromkeys(dimension.path for dimension in plan.space.dimensions))
    seeds = f", {plan.seeds} seeds each" if plan.seeds > 1 else ""
    what = f"study {plan.study}: {plan.trials} trials{seeds} over {names}; {plan.sampler}, {plan.pruner}; {workers}"
    return "\n".join([what, *plan.remarks])


def curve(slot: "Slot") -> str:
    """The validation scores after each epoch in characters, from the lowest to the highest of them."""
    values = list(slot.trial.intermediate_values.values()) if slot.trial else []
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values[-20:])


class PlainSweepView:
    """One line per trial that has ended, without control codes: for logs."""

    def __init__(self, plan: "Plan") -> None:
        self.plan = plan
        self.printed: set[tuple[str, int]] = set()

    def show(self, state: "SweepState") -> None:
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


class LiveSweepView:
    """Redraws below what was on the terminal before."""

    def __init__(self, plan: "Plan", heading: str) -> None:
        self.plan = plan
        console = Console(stderr=True)
        console.print(Text(heading))  # which breaks it between words
        self.live = Live(console=console, auto_refresh=False)
        self.done_before: dict[str, int] = {}
        self.parts: list[RenderableType] = []

    def __enter__(self) -> "LiveSweepView":
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.update(Group(*self.parts))
        self.live.stop()

    def show(self, state: "SweepState") -> None:
        if state.stage.name == "search":
            tables = [table for table in (self._running(state), self._best(state)) if table.rows]
            self.parts = [self._bar(state), Text(self._counts(state)), *tables]
        else:
            self.parts = [Text("the best again, on fresh seeds"), self._bar(state)]
        # The cursor waits in an empty line: behind a full one the terminal's `^C` would scroll, and what is drawn next
        # would miss the lines that it replaces.
        self.live.update(Group(*self.parts, Text()), refresh=True)

    def _bar(self, state: "SweepState") -> Table:
        total, done = len(state.slots), state.finished
        before = self.done_before.setdefault(state.stage.name, done)
        left = (total - done) * state.seconds / (done - before) if done > before else None
        row = Table.grid(padding=(0, 1))
        row.add_column(no_wrap=True)
        row.add_column(max_width=40)
        row.add_column(no_wrap=True)
        row.add_row(f"{done}/{total}", ProgressBar(total=total, completed=done), f"{left:.0f} s left" if left else "")
        return row

    def _counts(self, state: "SweepState") -> str:
        states: list[str] = [slot.state for slot in state.slots]
        names = ("running", "complete", "pruned", "infeasible", "failed")
        return ", ".join(f"{states.count(name)} {name}" for name in names if states.count(name))

    def _running(self, state: "SweepState") -> Table:
        rows = [slot for slot in state.slots if slot.state == "running"]
        return _table("running", self.plan, rows, lambda slot: f"epoch {(slot.trial and slot.trial.last_step) or 0}")

    def _best(self, state: "SweepState") -> Table:
        from cnnlab.search.slots import best_first

        return _table("best", self.plan, best_first(state.slots, self.plan.score)[:5], self._value)

    def _value(self, slot: "Slot") -> str:
        return "" if slot.value is None else self.plan.score.show(slot.value)


def _table(title: str, plan: "Plan", slots: "list[Slot]", what: "Callable[[Slot], str]") -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 1))
    for name in (title, "", "curve"):
        table.add_column(name, no_wrap=True)
    table.add_column("settings")  # may wrap: if there is no room, Rich takes it from such columns
    for slot in slots:
        settings = Text(settings_text(plan.searched(slot.config)), no_wrap=True, overflow="ellipsis")
        table.add_row(f"trial {slot.number}", what(slot), Text(curve(slot), "cyan"), settings)
    return table
