"""The progress of a run in plain lines, for logs."""

import click

from cnnlab.records import Epoch, Record, RunStarted


class PlainView:
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
