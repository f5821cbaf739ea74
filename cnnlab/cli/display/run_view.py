"""The progress of a run on stderr in plain lines, and the wait for MLflow. `live.py` has the view for a terminal."""

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

import click

from cnnlab.cli.streams import complain
from cnnlab.errors import LONGEST_LINE, shortened
from cnnlab.metrics import Metric
from cnnlab.records import Epoch, Record, RunStarted
from cnnlab.work import Work

T = TypeVar("T", contravariant=True)


class View(Protocol[T]):
    """Shows progress: each record of a run, or each state of a sweep."""

    def show(self, news: T, /) -> None: ...


class Silent:
    """Shows nothing."""

    def show(self, news: object, /) -> None: ...


class PlainView:
    """One line per epoch, no control codes: for logs."""

    def __init__(self) -> None:
        self.epochs = 0
        self.measured: tuple[Metric, ...] = ()

    def show(self, record: Record) -> None:
        if isinstance(record, RunStarted):
            self.epochs, self.measured = record.epochs, record.measured
            for line in (heading(record), *record.notes):
                click.echo(shortened(line, LONGEST_LINE), err=True)
        elif isinstance(record, Epoch):
            click.echo(
                f"epoch {record.epoch}/{self.epochs}"
                f"  train {self._values(record.train)}  val {self._values(record.val)}{'*' if record.best else ' '}"
                f"  lr {record.lr:.3g}  {record.images_per_second:,.0f} images/s",
                err=True,
            )

    def _values(self, values: Mapping[str, float]) -> str:
        known = [metric for metric in self.measured if metric.name in values]
        return " ".join(f"{metric.short} {values[metric.name]:.4f}" for metric in known)


def open_status(quiet: bool, what: str) -> AbstractContextManager[object]:
    """A moving line while the command waits; on a terminal only."""
    if quiet or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)


def deliver(work: Work[object], later: str, *, quiet: bool) -> None:
    """Wait for MLflow. If something was not delivered, stderr says so; success is reported on a terminal only.

    Args:
        work: what is delivered.
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


def heading(started: RunStarted) -> str:
    """One line: the network, its data, its place."""
    channels, height, width = started.image_shape
    where = f" from epoch {started.epoch + 1}" if started.step else ""
    return (
        f"{started.model} ({started.parameters:,} parameters) on {started.dataset} "
        f"({started.train_size:,} + {started.val_size:,} images of {height}x{width}x{channels}), "
        f"{started.optimizer}, {started.device} {started.precision}, seed {started.seed}{where}"
    )
