"""The live view of a run on a terminal: a bar, a table of epochs, a loss curve in characters."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cnnlab.cli.curves import curves
from cnnlab.cli.progress import heading
from cnnlab.records import Epoch, Record, RunEnded, RunStarted, Steps

if TYPE_CHECKING:
    from typing_extensions import Self

EPOCH_ROWS = 8
"""How many of the last epochs the table shows."""


class Live:
    """Redraws a few times a second below whatever was on the terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.started: RunStarted | None = None
        self.epochs: list[Epoch] = []
        self.losses: list[tuple[int, float]] = []
        self.step = 0
        self.clock = time.monotonic()
        self.live = RichLive(console=self.console, auto_refresh=False, transient=False)

    def __enter__(self) -> "Self":
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
            self.losses += enumerate(record.losses, record.first)
        elif isinstance(record, Epoch):
            self.epochs.append(record)
        if self.started and isinstance(record, RunStarted | Steps | Epoch | RunEnded):
            self.live.update(self._render(self.started), refresh=True)

    def _render(self, started: RunStarted) -> RenderableType:
        parts: list[RenderableType] = [Text(heading(started), style="bold"), self._bar(started)]
        if self.epochs:
            parts.append(self._table())
        if len(self.losses) > 1:
            width = min(self.console.width, 100)
            validation = [(epoch.step, epoch.val_loss) for epoch in self.epochs]
            parts.append(Text(curves(self.losses, validation, width, height=10), style="cyan"))
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

    def _table(self) -> Table:
        table = Table(box=None, header_style="dim", padding=(0, 1))
        for name in ("epoch", "train loss", "acc", "val loss", "acc", "", "lr", "images/s", "s"):
            table.add_column(name, justify="right")
        for epoch in self.epochs[-EPOCH_ROWS:]:
            table.add_row(
                str(epoch.epoch),
                f"{epoch.train_loss:.4f}",
                f"{epoch.train_accuracy:.4f}",
                f"{epoch.val_loss:.4f}",
                f"{epoch.val_accuracy:.4f}",
                Text("best", style="green") if epoch.best else "",
                f"{epoch.lr:.3g}",
                f"{epoch.images_per_second:,.0f}",
                f"{epoch.seconds:.1f}",
            )
        return table
