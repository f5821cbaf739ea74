"""The live view of a run on a terminal: a bar, a table of epochs, a loss curve in characters."""

import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cnnlab.cli.display.run_view import heading
from cnnlab.cli.display.tables import epoch_table, loss_curve
from cnnlab.records import Record, RunStarted, Steps

EPOCH_ROWS = 8
"""How many of the last epochs the table shows."""


class LiveView:
    """Redraws a few times a second below whatever was on the terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.started: RunStarted | None = None
        self.records: list[Record] = []
        self.step = 0
        self.clock = time.monotonic()
        self.live = RichLive(console=self.console, auto_refresh=False, transient=False)

    def __enter__(self) -> "LiveView":
        self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def show(self, record: Record) -> None:
        if isinstance(record, RunStarted):
            self.started, self.step, self.clock = record, record.step, time.monotonic()
        elif isinstance(record, Steps):
            self.step = record.last
        self.records.append(record)
        if self.started:
            self.live.update(self._render(self.started), refresh=True)

    def _render(self, started: RunStarted) -> RenderableType:
        parts: list[RenderableType] = [Text(heading(started), style="bold")]
        parts += [Text(line, style="dim") for line in started.notes]
        parts.append(self._bar(started))
        parts.append(epoch_table(self.records, EPOCH_ROWS))
        parts.append(loss_curve(self.records, min(self.console.width, 100)))
        return Group(*parts)

    def _bar(self, started: RunStarted) -> RenderableType:
        total = started.epochs * started.steps_per_epoch
        done = self.step - started.step
        left = (total - self.step) * (time.monotonic() - self.clock) / done if done else None
        row = Table.grid(padding=(0, 1))
        row.add_row(
            f"step {self.step}/{total}",
            ProgressBar(total=total, completed=self.step, width=40),
            f"{left:.0f} s left" if left is not None else "",
        )
        return row
