"""The progress of a run on stderr: live on a terminal, else one plain line per epoch."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

from cnnlab.cli.views.plain import PlainView
from cnnlab.records import Record

T = TypeVar("T", contravariant=True)


class View(Protocol[T]):
    """Is shown what goes on: every record of a run, or a sweep as it stands, again and again."""

    def show(self, news: T, /) -> None: ...


class Silent:
    """Shows nothing."""

    def show(self, news: object, /) -> None: ...


def open_view(quiet: bool) -> AbstractContextManager[View[Record]]:
    """The view that suits stderr; on leaving it, the terminal is as it was."""
    if quiet:
        return nullcontext(Silent())
    if sys.stderr.isatty():
        from cnnlab.cli.views.live import LiveView

        return LiveView()
    return nullcontext(PlainView())


def open_status(quiet: bool, what: str) -> AbstractContextManager[object]:
    """A line that moves while something is waited for; on a terminal only."""
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)
