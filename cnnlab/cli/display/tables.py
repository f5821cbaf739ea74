"""Tables and curves in characters. It imports Rich, so commands import it in their bodies."""

import math
import sys
from collections.abc import Collection, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cnnlab.metrics import Metric
from cnnlab.records import Epoch, Record, RunStarted, Steps

WHOLE = 200
"""Characters of a line in a pipe, where nothing is cut off."""

Point = tuple[int, float]


def result_console(in_pipe: int | None = None) -> Console:
    """A console that takes text as it is: a path may hold what Rich would read as its markup or an emoji.

    Args:
        in_pipe: characters of a line if stdout is not a terminal; None for Rich's default.
    """
    width = None if sys.stdout.isatty() else in_pipe
    return Console(highlight=False, markup=False, emoji=False, width=width)


def plain_table(*columns: str, right: Collection[str] = ()) -> Table:
    """A table without lines, whose cells are never wrapped.

    Args:
        columns: their headings.
        right: those of them whose cells are numbers.
    """
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    return table


def facts_table() -> Table:
    """Two columns: a name and what it stands for."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def epoch_table(records: Sequence[Record], most: int = 1000) -> Table:
    """The last `most` epochs, one per row."""
    measured = [started.measured for started in records if isinstance(started, RunStarted)][-1:] or [
        RunStarted.measured
    ]
    loss, *others = measured[0]
    names = [metric.short for metric in others]
    gap, mark = (2, "best") if len(others) < 2 else (1, "*")  # so that 80 characters are enough
    table = Table(box=None, header_style="dim", padding=(0, gap, 0, 0))
    for name in ("epoch", "train loss", *names, "val loss", *names, "", "lr", "images/s", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    for epoch in [record for record in records if isinstance(record, Epoch)][-most:]:
        table.add_row(
            str(epoch.epoch),
            *(_value(metric, values) for values in (epoch.train, epoch.val) for metric in (loss, *others)),
            Text(mark, style="green") if epoch.best else "",
            f"{epoch.lr:.3g}",
            f"{epoch.images_per_second:,.0f}",
            f"{epoch.seconds:.1f}",
        )
    return table


def loss_curve(records: Sequence[Record], width: int, height: int = 10) -> Text:
    """Training loss (line) and validation loss (points) against the step; empty with less than two finite losses.

    Args:
        width, height: in characters.
    """
    training = [
        (step, loss) for r in records if isinstance(r, Steps) for step, loss in enumerate(r.losses, start=r.first)
    ]
    validation = [(record.step, record.val["loss"]) for record in records if isinstance(record, Epoch)]
    points, finite = _thinned(_finite(training), 4 * width), _finite(validation)
    if len(points) < 2:
        return Text()
    import plotext  # 0.3 s, so only if there is a curve

    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    line = figure.signal(*zip(*points, strict=True), marker="braille")
    line.lines(True)
    figure.draw(line)
    if finite:
        figure.draw(figure.signal(*zip(*finite, strict=True), marker="●"))
    first, last = points[0][0], points[-1][0]
    ticks = sorted({first, (first + last) // 2, last})
    figure.ruler("x").ticks(ticks, [str(tick) for tick in ticks])
    return Text(plotext.uncolorize(figure.build()).rstrip("\n"), style="cyan")


def _value(metric: Metric, values: Mapping[str, float]) -> str:
    return f"{values[metric.name]:.4f}" if metric.name in values else ""


def _finite(points: list[Point]) -> list[Point]:
    return [(step, loss) for step, loss in points if math.isfinite(loss)]


def _thinned(points: list[Point], most: int) -> list[Point]:
    """About `most` points at most, each the mean of its neighbours: what a terminal can show."""
    size = max(1, len(points) // most)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]
