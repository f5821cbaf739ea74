"""A run's records for people: its epochs as a table, its losses as a curve in characters."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from cnnlab.cli.printing.curves import curves
from cnnlab.config import RunConfig, flat, flatten
from cnnlab.metrics import Metric
from cnnlab.records import Epoch, Record, RunStarted, Steps


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


def _value(metric: Metric, values: Mapping[str, float]) -> str:
    return f"{values[metric.name]:.{metric.digits}f}" if metric.name in values else ""


def loss_curve(records: Sequence[Record], width: int) -> Text:
    """Training loss (line) and validation loss (points) against the step."""
    training = [
        (step, loss) for r in records if isinstance(r, Steps) for step, loss in enumerate(r.losses, start=r.first)
    ]
    validation = [(record.step, record.val["loss"]) for record in records if isinstance(record, Epoch)]
    return Text(curves(training, validation, width, height=10), style="cyan")


def changed_settings(config: dict[str, Any]) -> str:
    """The settings that differ from the defaults, as one line."""
    chosen = flatten(config)  # not read as a RunConfig: another version's run can be shown too
    default = flat(RunConfig())
    changed = [f"{key}={value}" for key, value in chosen.items() if value != default.get(key)]
    return "settings: " + (", ".join(changed) or "all defaults")
