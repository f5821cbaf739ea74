"""Rich on stdout, and the look of the tables there."""

import sys
from collections.abc import Collection

from rich.console import Console
from rich.table import Table

WHOLE = 200
"""Characters of a line in a pipe, where nothing is cut off."""


def result_console(in_pipe: int | None = None) -> Console:
    """A console that takes text as it is: a path may hold what Rich would read as its markup or an emoji.

    Args:
        in_pipe: characters of a line where stdout is no terminal; None for Rich's default.
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
    """Two columns: what it is, and what there is to say of it."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table
