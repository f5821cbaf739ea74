"""The progress of a run on stderr: live on a terminal, else one plain line an epoch."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from cnnlab.cli.views.plain import PlainView
from cnnlab.records import Record


class View(Protocol):
    """Is shown every record of a run."""

    def show(self, record: Record) -> None: ...


def open_view(quiet: bool) -> AbstractContextManager[View]:
    """What suits stderr as it is; leaving it leaves the terminal as it was found."""
    if quiet:
        return nullcontext(Silent())
    if sys.stderr.isatty():
        from cnnlab.cli.views.live import LiveView

        return LiveView()
    return nullcontext(PlainView())


def open_status(quiet: bool, what: str) -> AbstractContextManager[object]:
    """On a terminal, a line that moves while something is waited for."""
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)


class Silent:
    """Shows nothing."""

    def show(self, record: Record) -> None: ...
