"""The progress of a sweep on stderr: live on a terminal, else one plain line a trial."""

import sys
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from cnnlab.search.studies.plan import Plan
    from cnnlab.search.studies.slots import Slot
    from cnnlab.search.sweep import View

BARS = "▁▂▃▄▅▆▇█"


class SweepView(Protocol):
    """Is shown a sweep as it stands, again and again."""

    def show(self, view: "View") -> None: ...


def open_sweep_view(quiet: bool, plan: "Plan", where: str) -> AbstractContextManager[SweepView]:
    """What suits stderr as it is; leaving it leaves the terminal as it was found."""
    if quiet:
        return nullcontext(_Silent())
    click.echo(heading(plan, where), err=True)
    return LiveSweepView(plan) if sys.stderr.isatty() else nullcontext(PlainSweepView(plan))


def heading(plan: "Plan", where: str) -> str:
    """One line that says what is searched how."""
    names = ", ".join(dict.fromkeys(dimension.path for dimension in plan.space.dimensions))
    seeds = f", {plan.seeds} seeds each" if plan.seeds > 1 else ""
    return f"study {plan.study}: {plan.trials} trials{seeds} over {names}; {plan.sampler}, {plan.pruner}; {where}"


def curve(slot: "Slot") -> str:
    """The validation accuracies after each epoch in characters, from the lowest to the highest of them."""
    values = list(slot.trial.intermediate_values.values()) if slot.trial else []
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values[-20:])


def settings_text(plan: "Plan", slot: "Slot") -> str:
    """The searched settings of a trial in a few words."""
    from cnnlab.search.findings.findings import settings_of

    found = settings_of(plan, slot)
    return ", ".join(f"{path.partition('.')[2] or path} {_short(value)}" for path, value in found.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


class PlainSweepView:
    """One line a trial that has ended, no control codes: for logs."""

    def __init__(self, plan: "Plan") -> None:
        self.plan = plan
        self.said: set[tuple[str, int]] = set()

    def show(self, view: "View") -> None:
        stage = view.stage
        for slot in view.slots:
            if slot.finished and (stage.name, slot.number) not in self.said:
                self.said.add((stage.name, slot.number))
                done = sum(name == stage.name for name, _ in self.said)
                value = f" {slot.value:.4f}" if slot.value is not None else ""
                what = f"{stage.label(slot.number)}: {slot.state}{value}"
                click.echo(f"{done}/{len(view.slots)}  {what}  {settings_text(self.plan, slot)}", err=True)


class LiveSweepView:
    """Redraws below whatever was on the terminal."""

    def __init__(self, plan: "Plan") -> None:
        from rich.console import Console
        from rich.live import Live

        self.plan = plan
        self.live = Live(console=Console(stderr=True), auto_refresh=False)
        self.at_first: dict[str, int] = {}
        self.parts: list[Any] = []

    def __enter__(self) -> "LiveSweepView":
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from rich.console import Group

        self.live.update(Group(*self.parts))
        self.live.stop()

    def show(self, view: "View") -> None:
        from rich.console import Group
        from rich.text import Text

        if view.stage.name == "search":
            tables = [table for table in (self._running(view), self._best(view)) if table.rows]
            self.parts = [self._bar(view), Text(self._counts(view)), *tables]
        else:
            self.parts = [Text("the best again, on fresh seeds"), self._bar(view)]
        # The cursor waits in an empty line: behind a full one the terminal's `^C` would scroll, and what is drawn next
        # would miss the lines that it replaces.
        self.live.update(Group(*self.parts, Text()), refresh=True)

    def _bar(self, view: "View") -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        total, done = len(view.slots), sum(slot.finished for slot in view.slots)
        before = self.at_first.setdefault(view.stage.name, done)
        left = (total - done) * view.seconds / (done - before) if done > before else None
        row = Table.grid(padding=(0, 1))
        row.add_column(no_wrap=True)
        row.add_column(max_width=40)
        row.add_column(no_wrap=True)
        row.add_row(f"{done}/{total}", ProgressBar(total=total, completed=done), f"{left:.0f} s left" if left else "")
        return row

    def _counts(self, view: "View") -> str:
        states: list[str] = [slot.state for slot in view.slots]
        names = ("running", "complete", "pruned", "infeasible", "failed")
        return ", ".join(f"{states.count(name)} {name}" for name in names if states.count(name))

    def _running(self, view: "View") -> Any:
        rows = [slot for slot in view.slots if slot.state == "running"]
        return _table("running", self.plan, rows, lambda slot: f"epoch {slot.trial.last_step or 0}")

    def _best(self, view: "View") -> Any:
        from cnnlab.search.sweep import best_first

        return _table("best", self.plan, best_first(view.slots)[:5], lambda slot: f"{slot.value:.4f}")


def _table(title: str, plan: "Plan", slots: "list[Slot]", what: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", padding=(0, 1))
    for name in (title, "", "curve"):
        table.add_column(name, no_wrap=True)
    table.add_column("settings")  # may wrap: where there is no room, Rich takes it from such columns
    for slot in slots:
        settings = Text(settings_text(plan, slot), no_wrap=True, overflow="ellipsis")
        table.add_row(f"trial {slot.number}", what(slot), Text(curve(slot), "cyan"), settings)
    return table


class _Silent:
    def show(self, view: "View") -> None: ...
