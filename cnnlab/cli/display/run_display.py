"""The progress of a run on stderr, and its result on stdout. It imports Rich."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import click
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cnnlab.cli.display.terminal import facts_table, open_block, progress_row, result_console
from cnnlab.config.data import DATASETS
from cnnlab.errors import LONGEST_LINE, shortened, without_passwords
from cnnlab.files import from_here
from cnnlab.metrics import Metric, words_of
from cnnlab.reading.diagnosis import findings_of
from cnnlab.reading.run_figures import thinned, training_losses
from cnnlab.records import Epoch, Record, RunStarted, Steps
from cnnlab.result import strict_json
from cnnlab.tracking import RunDir, last, mlflow_page

EPOCH_ROWS = 8
"""How many of the last epochs the live view shows."""

LINE = "braille"
"""The marker of a line."""


@contextmanager
def open_run_view(quiet: bool, before: Sequence[Record] = ()) -> Iterator[Callable[[Record], None]]:
    """A function that shows each record on stderr: live on a terminal, else in plain lines for logs.

    Args:
        before: the records of a resumed run so far.
    """
    if quiet:
        yield lambda record: None
    elif sys.stderr.isatty():
        with open_block() as draw:
            yield LiveRun(draw, before).show
    else:
        yield PlainRun().show


class PlainRun:
    """One line per epoch, without control codes."""

    started: RunStarted

    def show(self, record: Record) -> None:
        if isinstance(record, RunStarted):
            self.started = record
            for line in (heading(record), *record.notes):
                click.echo(shortened(line, LONGEST_LINE), err=True)
        elif isinstance(record, Epoch):
            batch = f"  batch {record.batch_size}" if record.batch_size else ""
            click.echo(
                f"epoch {record.epoch}/{self.started.epochs}"
                f"  train {self._values(record.train)}  val {self._values(record.val)}{'*' if record.best else ' '}"
                f"  lr {record.lr:.3g}{batch}  {record.images_per_second:,.0f} {self.started.samples}/s",
                err=True,
            )

    def _values(self, values: Mapping[str, float]) -> str:
        known = [metric for metric in self.started.measured if metric.name in values]
        return " ".join(f"{metric.short} {_value(metric, values)}" for metric in known)


class LiveRun:
    """A bar, a table of epochs, and a loss curve in characters."""

    def __init__(self, draw: Callable[..., None], before: Sequence[Record] = ()) -> None:
        self.draw = draw
        self.console = Console(stderr=True)
        self.started: RunStarted | None = None
        self.records = list(before)
        self.step = 0
        self.clock = time.monotonic()

    def show(self, record: Record) -> None:
        if isinstance(record, RunStarted):
            self.started, self.step, self.clock = record, record.step, time.monotonic()
            # a resume trains the steps after its checkpoint again
            kept = [r for r in self.records if not isinstance(r, Epoch) or r.step <= record.step]
            self.records = [cut for r in kept if (cut := _up_to(r, record.step))]
        elif isinstance(record, Steps):
            self.step = record.last
        self.records.append(record)
        if started := self.started:
            total, done = self._total(started), self.step - started.step
            left = (total - self.step) * (time.monotonic() - self.clock) / done if done else None
            self.draw(
                Text(heading(started), style="bold"),
                *(Text(line, style="dim") for line in started.notes),
                progress_row("step", self.step, total, left),
                epoch_table(self.records, self.console.width, EPOCH_ROWS),
                loss_curve(self.records, min(self.console.width, 100)),
            )

    def _total(self, started: RunStarted) -> int:
        """The number of steps, if the remaining epochs have as many as the last one."""
        ends = [0, *(record.step for record in self.records if isinstance(record, Epoch))]
        per_epoch = ends[-1] - ends[-2] if len(ends) > 1 else started.steps_per_epoch
        return ends[-1] + (started.epochs - len(ends) + 1) * per_epoch


def _up_to(record: Record, step: int) -> Record | None:
    """The part of a record up to a step; None if there is none."""
    if not isinstance(record, Steps) or record.last <= step:
        return record
    count = step + 1 - record.first
    return replace(record, losses=record.losses[:count], times=record.times[:count]) if count > 0 else None


def heading(started: RunStarted) -> str:
    """One line: the network, its data, its place."""
    channels, *sides = started.image_shape
    size = "" if started.has_points else f" of {'x'.join(map(str, (*sides, channels)))}"
    where = f" from epoch {started.epoch + 1}" if started.step else ""
    return (
        f"{started.model} ({started.parameters:,} parameters) on {started.dataset} "
        f"({started.train_size:,} + {started.val_size:,} {started.samples}{size}), "
        f"{started.optimizer}, {started.device} {started.precision}, seed {started.seed}{where}"
    )


def epoch_table(records: Sequence[Record], width: int, most: int = 1000) -> Table:
    """The last `most` epochs, one per row; below 80 characters without the speed, and with many metrics without lr."""
    started = last(records, RunStarted) or RunStarted
    loss, *others = started.measured
    names = [metric.short for metric in others]
    gap, mark = (2, "best") if len(others) < 2 and width >= 80 else (1, "*")  # so that 80 and 60 characters are enough
    table = Table(box=None, header_style="dim", padding=(0, gap, 0, 0))
    speed = (f"{started.samples}/s", "s") if width >= 80 else ()
    rate = ("lr",) if width >= 80 or len(others) < 2 else ()
    for name in ("epoch", "train loss", *names, "val loss", *names, "", *rate, *speed):
        table.add_column(name, justify="right", no_wrap=True)
    for epoch in [record for record in records if isinstance(record, Epoch)][-most:]:
        table.add_row(
            str(epoch.epoch),
            *(_value(metric, values) for values in (epoch.train, epoch.val) for metric in (loss, *others)),
            Text(mark, style="green") if epoch.best else "",
            *((f"{epoch.lr:.3g}",) if rate else ()),
            *((f"{epoch.images_per_second:,.0f}", f"{epoch.seconds:.1f}") if speed else ()),
        )
    return table


def _value(metric: Metric, values: Mapping[str, float]) -> str:
    return f"{values[metric.name]:.4f}" if metric.name in values else ""


def loss_curve(records: Sequence[Record], width: int) -> Text:
    """Training loss (line) and validation loss (points) against the step; empty with less than two finite losses."""
    validation = [(record.step, record.val["loss"]) for record in records if isinstance(record, Epoch)]
    points = thinned(training_losses(records), 4 * width)
    finite = [(step, loss) for step, loss in validation if math.isfinite(loss)]
    if len(points) < 2:
        return Text()
    legend = Text("    ⠤⠤ training loss, ● validation loss", "dim")
    return Text("\n").join([_chart([(LINE, points), ("●", finite)], width, height=10), legend])


def regions_map(regions: Any) -> Text:
    """Decision regions, (rows from below, columns) of class numbers, in 20 lines of 40 characters."""
    marks = "·#+"
    lines = ["".join(marks[number % len(marks)] for number in row[::5]) for row in regions[::-10]]
    legend = ", ".join(f"{marks[number % len(marks)]} class {number}" for number in range(int(regions.max()) + 1))
    return Text("\n").join([*(Text(f"    {line}", "cyan") for line in lines), Text(f"    regions: {legend}", "dim")])


def training_curves(runs: Mapping[str, Sequence[Record]], width: int) -> Text:
    """The training losses of several runs (label -> records) against the step, a letter for each; empty without any."""
    lines = [
        (label, letter, thinned(training_losses(records), width))
        for letter, (label, records) in zip(cycle(ascii_uppercase), runs.items(), strict=False)
    ]
    drawn = [(letter, points) for _, letter, points in lines if points]
    chart = _chart(drawn, width, height=14) if drawn else Text()
    names = [Text(f"{letter} {label}{'' if points else ': no finite loss'}") for label, letter, points in lines]
    return Text("\n").join([Text("training loss"), chart, *names])


def range_curve(
    rates: Sequence[float], middle: Sequence[float], low: Sequence[float], high: Sequence[float], width: int
) -> Text:
    """Losses of a range test against the learning rate on a log scale: the middle as a line, the ends as points."""
    at = [math.log10(rate) for rate in rates[: len(middle)]]
    ticks = {power: f"1e{power}" for power in range(math.ceil(at[0]), math.floor(at[-1]) + 1)}
    ends = [*zip(at, low, strict=True), *zip(at, high, strict=True)]
    return _chart([("·", ends), (LINE, list(zip(at, middle, strict=True)))], width, height=14, ticks=ticks)


def _chart(
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    width: int,
    height: int,
    ticks: Mapping[int, str] | None = None,
) -> Text:
    """Lines, each with its marker and its points (x, y), the last on top; those in braille are joined.

    Args:
        width, height: in characters.
        ticks: x -> its label; None for the first, the middle and the last step.
    """
    import plotext  # 0.3 s, so only if there is a curve

    figure = plotext.figure
    figure.clear()
    figure.plot_size(width, height)
    for marker, points in lines:
        if points:
            signal = figure.signal(*zip(*points, strict=True), marker=marker)
            signal.lines(marker == LINE)
            figure.draw(signal)
    if ticks is None:
        steps = [int(step) for _, points in lines for step, _ in points]
        ticks = {step: str(step) for step in sorted({min(steps), (min(steps) + max(steps)) // 2, max(steps)})}
    figure.ruler("x").ticks(list(ticks), list(ticks.values()))
    return Text(plotext.uncolorize(figure.build()).rstrip("\n"), style="cyan")


def print_result(result: dict[str, Any], *, as_json: bool, store: str = "none") -> None:
    """Print the result of a run on stdout, as JSON or as a panel.

    Args:
        store: the MLflow store that gets it, perhaps later.
    """
    if as_json:
        click.echo(strict_json(result))
        return
    facts = facts_table()
    for name, value in _facts(result, store):
        facts.add_row(name, value)
    title = Text(f"{result['run_id']}: {result['status']}")
    result_console().print(Panel(facts, title=title, expand=False))


def print_brief(run: RunDir) -> None:
    """Print the titles of the run's findings, and the command that tells more, in two lines; nothing without any."""
    titles = [finding.title for finding in findings_of(run)]
    if titles:
        more = f" ({len(titles) - 2} more)" if len(titles) > 2 else ""
        click.echo(f"! {'; '.join(titles[:2])}{more}\n  cnnlab diagnose {from_here(run.word)}")


def print_page(run: RunDir) -> None:
    """Print the address of the run's page if a server has all of the run, on its own line, so that it can be copied."""
    if page := mlflow_page(run):
        click.echo(without_passwords(page))


def _facts(result: dict[str, Any], store: str) -> Iterator[tuple[str, str]]:
    """The lines of the panel, each a name and its value."""
    score, metrics = result["score"], result["metrics"]
    name = words_of(score["name"])
    if score["value"] is not None:
        loss = "" if score["name"] == "loss" else f"  (loss {metrics['test']['loss']:.4f})"
        yield f"test {name}", f"{score['value']:.4f}{loss}"
    if result["best_epoch"]:
        best = f"{result['best_epoch']} of {result['epochs']}, validation {name} {metrics['val'][score['name']]:.4f}"
        yield "best epoch", best
    if result["fit_seconds"]:
        rate = f"{result['images_per_second']:,.0f} {DATASETS[result['dataset']].samples}/s"
        speed = f"{rate} on {result['device']} in {result['precision']}"
        yield "time", f"{result['fit_seconds']:.1f} s, {speed}"
    if skipped := result["skipped_images"]:
        yield "skipped", f"{skipped} image{'s' if skipped > 1 else ''} that cannot be read"
    for warning in result["warnings"]:
        yield "warning", warning
    yield "files", from_here(result["run_dir"])
    if result["reason"]:  # it says what to do too
        yield "reason", result["reason"]
    elif command := _next_command(result, store):
        yield "next", command


def _next_command(result: dict[str, Any], store: str) -> str:
    """Empty if a server has a page for the run."""
    run = RunDir(Path(result["run_dir"]))
    word = from_here(run.word)
    if result["status"] != "finished":
        return f"cnnlab train --resume {word}"
    if store.startswith("http") or mlflow_page(run):
        return ""
    return "cnnlab ui" if store != "none" or result["mlflow_run_id"] else f"cnnlab sync {word}"
