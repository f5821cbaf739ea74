"""What the displays of several commands share: tables, bars, a block that is redrawn. It imports Rich."""

import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cnnlab.cli.streams import complain

if TYPE_CHECKING:
    from cnnlab.work import Work

WHOLE = 100_000
"""Characters of a line in a pipe: enough for all columns."""
WRAPPED = 20
"""The last column may be wrapped to this number of characters before another column is left out."""


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


def fitted_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    spare: Sequence[Sequence[str]],
    room: int | None,
    right: Collection[str] = (),
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
            widths[last] = min(widths[last], WRAPPED)  # once wrapping is allowed, count at most WRAPPED characters
    table = plain_table(*kept, right=right)
    table.columns[-1].no_wrap = room is None
    for row in rows:
        table.add_row(*(cell for column, cell in zip(columns, row, strict=True) if column in kept))
    return table, kept


def facts_table() -> Table:
    """Two columns: a name and its value."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def progress_row(unit: str, done: int, total: int, seconds_left: float | None) -> Table:
    """`step 30/90 ━━━━ 12 s left` as one row."""
    row = Table.grid(padding=(0, 1))
    row.add_column(no_wrap=True)
    row.add_column(max_width=40)
    row.add_column(no_wrap=True)
    left = "" if seconds_left is None else f"{seconds_left:.0f} s left"
    row.add_row(f"{unit} {done}/{total}".lstrip(), ProgressBar(total=total, completed=done), left)
    return row


@contextmanager
def open_block() -> Iterator[Callable[..., None]]:
    """A function that draws its arguments below what is on the terminal, in place of what it drew before."""
    drawn: tuple[RenderableType, ...] = ()
    with Live(console=Console(stderr=True), auto_refresh=False) as live:

        def draw(*parts: RenderableType) -> None:
            nonlocal drawn
            drawn = parts
            # The cursor waits in an empty line: behind a full one the terminal's `^C` would scroll, and what is drawn
            # next would miss the lines that it replaces.
            live.update(Group(*parts, Text()), refresh=True)

        try:
            yield draw
        finally:
            live.update(Group(*drawn))


def open_status(quiet: bool, what: str) -> AbstractContextManager[object]:
    """A moving line while the command waits; on a terminal only."""
    return nullcontext() if quiet or not sys.stderr.isatty() else Console(stderr=True).status(what)


def deliver(work: "Work[object]", later: str, *, quiet: bool) -> None:
    """Wait for MLflow. What was not delivered is reported on stderr; success is reported on a terminal only.

    Args:
        later: the command that delivers the rest later.
        quiet: whether success is not reported.
    """
    start = time.monotonic()
    with open_status(quiet, "handing over to MLflow"):
        undelivered = work.deliver()
    if undelivered:
        complain(f"not everything has been delivered to MLflow yet ({undelivered}); run {later}")
    elif not quiet and sys.stderr.isatty() and work.tracking_uri != "none":
        complain(f"MLflow has everything, {time.monotonic() - start:.1f} s later")
