"""The progress of a run on stderr: live on a terminal, else one plain line an epoch."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import click

from cnnlab.records import Epoch, Record, RunStarted


class View(Protocol):
    """Is shown every record of a run."""

    def show(self, record: Record) -> None: ...


def open_view(quiet: bool) -> AbstractContextManager[View]:
    """What suits stderr as it is; leaving it leaves the terminal as it was found."""
    if quiet:
        return nullcontext(Silent())
    if sys.stderr.isatty():
        from cnnlab.cli.live import LiveView

        return LiveView()
    return nullcontext(Plain())


def open_status(quiet: bool, what: str) -> AbstractContextManager[object]:
    """On a terminal, a line that moves while something is waited for."""
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)


class Silent:
    """Shows nothing."""

    def show(self, record: Record) -> None: ...


class Plain:
    """One line an epoch, no control codes: for logs."""

    def __init__(self) -> None:
        self.epochs = 0

    def show(self, record: Record) -> None:
        if isinstance(record, RunStarted):
            self.epochs = record.epochs
            click.echo(heading(record), err=True)
        elif isinstance(record, Epoch):
            click.echo(
                f"epoch {record.epoch}/{self.epochs}"
                f"  train loss {record.train_loss:.4f} acc {record.train_accuracy:.4f}"
                f"  val loss {record.val_loss:.4f} acc {record.val_accuracy:.4f}{'*' if record.best else ' '}"
                f"  lr {record.lr:.3g}  {record.images_per_second:,.0f} images/s",
                err=True,
            )


def heading(started: RunStarted) -> str:
    """One line that says what is trained on what."""
    channels, height, width = started.image_shape
    where = f" from epoch {started.epoch + 1}" if started.step else ""
    return (
        f"{started.model} ({started.parameters:,} parameters) on {started.dataset} "
        f"({started.train_size:,} + {started.val_size:,} images of {height}x{width}x{channels}), "
        f"{started.optimizer}, {started.device} {started.precision}, seed {started.seed}{where}"
    )
