"""The progress of a run in plain lines, for logs."""

from collections.abc import Mapping

import click

from cnnlab.errors import LONGEST_LINE, shortened
from cnnlab.metrics import Metric
from cnnlab.records import Epoch, Record, RunStarted


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
        return " ".join(f"{metric.short} {values[metric.name]:.{metric.digits}f}" for metric in known)


def heading(started: RunStarted) -> str:
    """One line that says what is trained on what."""
    channels, height, width = started.image_shape
    where = f" from epoch {started.epoch + 1}" if started.step else ""
    return (
        f"{started.model} ({started.parameters:,} parameters) on {started.dataset} "
        f"({started.train_size:,} + {started.val_size:,} images of {height}x{width}x{channels}), "
        f"{started.optimizer}, {started.device} {started.precision}, seed {started.seed}{where}"
    )
