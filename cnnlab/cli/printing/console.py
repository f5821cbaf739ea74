"""rich on stdout."""

from rich.console import Console


def result_console(width: int | None = None) -> Console:
    """A console that takes text as it is: a path may hold what rich would read as its markup or an emoji."""
    return Console(highlight=False, markup=False, emoji=False, width=width)
