"""A run's figures as PNG, from its journal and its file of examples."""

from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnlab.config.data import VOID
from cnnlab.look import INK, new_figure, saved
from cnnlab.metrics import Metric
from cnnlab.records import Epoch, Record, RunEnded, RunStarted, Steps
from cnnlab.tracking import RunDir, last, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


Point = tuple[int, float]
"""(step, loss)"""


def training_losses(records: Sequence[Record]) -> list[Point]:
    """The finite training losses of all steps."""
    steps = [(step, y) for r in records if isinstance(r, Steps) for step, y in enumerate(r.losses, start=r.first)]
    return [(step, loss) for step, loss in steps if isfinite(loss)]


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most `most` points, each the mean of as many neighbours as the others, or of one more."""
    count = min(len(points), most)
    ends = [len(points) * number // count for number in range(count + 1)] if count else []
    groups = [points[start:end] for start, end in pairwise(ends)]
    return [(group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups]


def draw(run_dir: Path, into: Path) -> list[Path]:
    """Write the run's figures into a folder; returns their paths. Raises BadInput if the folder cannot be created.

    curves.png, if at least one step was taken; confusion.png, if the test split was measured; examples.png, if the
    task's figure shows samples; regions.png, if the samples are points.
    """
    run = RunDir(run_dir)
    records = read(run.journal_file)[0]
    figures = {}
    if any(isinstance(record, Steps) for record in records):
        figures["curves.png"] = curves_figure(records, run.run_id)
    started, ended = last(records, RunStarted), last(records, RunEnded)
    if started and ended and ended.confusion:
        figures["confusion.png"] = confusion_figure(ended.confusion, started.classes, run.run_id)
    if started and (examples := examples_of(run)):
        name, figure = EXAMPLES[started.task]
        figures[name] = figure(examples, started.classes, run.run_id)
    return saved(figures, into)


def examples_of(run: RunDir) -> dict[str, Any]:
    """The arrays of the run's file of examples, as of `Learner.examples`; empty if it has none."""
    from safetensors.numpy import load_file

    ended = last(read(run.journal_file)[0], RunEnded)
    return load_file(run.path / ended.examples_file) if ended and ended.examples_file else {}


def draw_several(runs: Mapping[str, RunDir], into: Path) -> list[Path]:
    """Write curves.png with the curves of several runs; returns its path. Raises BadInput as `draw`.

    Args:
        runs: label -> run.
    """
    records = {label: read(run.journal_file)[0] for label, run in runs.items()}
    return saved({"curves.png": several_figure(records)}, into)


def several_figure(runs: Mapping[str, Sequence[Record]]) -> "Figure":
    """Training loss and validation score against the step, a colour for each run.

    Args:
        runs: label -> records.
    """
    figure = new_figure(11, 4)
    loss, score = figure.subplots(1, 2)
    words = []
    for number, (label, records) in enumerate(runs.items()):
        points, colour = thinned(training_losses(records), 200), f"C{number}"
        loss.plot([step for step, _ in points], [y for _, y in points], color=colour, linewidth=1, label=label)
        epochs = [record for record in records if isinstance(record, Epoch)]
        metric = _metric_of(last(records, RunStarted) or RunStarted)
        values = [epoch.val.get(metric.name, nan) for epoch in epochs]
        score.plot([epoch.step for epoch in epochs], values, color=colour, marker="o", markersize=3)
        words.append(metric.words)
    loss.set(xlabel="step", ylabel="training loss (mean per sample)", yscale="log")
    score.set(xlabel="step", ylabel=f"validation {' / '.join(dict.fromkeys(words))}")
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def curves_figure(records: Sequence[Record], title: str) -> "Figure":
    """Loss, score and learning rate against the step. If the score is the loss, another metric is drawn instead."""
    figure = new_figure(12, 3.6)
    loss, score, rate = figure.subplots(1, 3)
    figure.suptitle(title)
    epochs = [record for record in records if isinstance(record, Epoch)]
    at = [epoch.step for epoch in epochs]
    marked: dict[str, Any] = {"marker": "o", "markersize": 3}
    steps = training_losses(records)
    loss.plot(
        [step for step, _ in steps],
        [y for _, y in steps],
        color="C0",
        alpha=0.5,
        linewidth=0.7,
        label="training, each step",
    )
    loss.plot(at, [epoch.train["loss"] for epoch in epochs], color="C0", label="training, epoch", **marked)
    loss.plot(at, [epoch.val["loss"] for epoch in epochs], color="C1", label="validation", **marked)
    loss.set(xlabel="step", ylabel="loss (mean per sample)", yscale="log")
    loss.legend()
    metric = _metric_of(last(records, RunStarted) or RunStarted)
    score.plot(at, [epoch.train.get(metric.name, nan) for epoch in epochs], label="training", **marked)
    score.plot(at, [epoch.val.get(metric.name, nan) for epoch in epochs], label="validation", **marked)
    score.set(xlabel="step", ylabel=metric.words)
    score.legend()
    rate.plot(at, [epoch.lr for epoch in epochs], **marked)
    rate.set(xlabel="step", ylabel="learning rate")
    return figure


def _metric_of(started: RunStarted | type[RunStarted]) -> Metric:
    """The score; if that is the loss, the first other metric."""
    metrics = [started.score, *started.measured]
    return next((metric for metric in metrics if metric.name != "loss"), started.score)


def confusion_figure(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> "Figure":
    """Test images, or their pixels, by true class (rows) and predicted class (columns).

    Up to 20 classes, each cell shows its count; if a count has more than four digits, its share of the row.
    """
    size = len(classes)
    side = min(4 + 0.35 * size, 16)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    shares = [[cell / max(sum(row), 1) for cell in row] for row in counts]
    image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046)
    axes.set(title=title, xlabel="predicted", ylabel="true")
    axes.set_xticks(range(size), classes, rotation=90)
    axes.set_yticks(range(size), classes)
    large = max(map(max, counts)) > 9999
    for i, row in enumerate(counts if size <= 20 else ()):
        for j, cell in enumerate(row):
            text, colour = f"{shares[i][j]:.1%}" if large else str(cell), "white" if shares[i][j] < 0.45 else "navy"
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=8)
    return figure


HATCH = "////"
"""Drawn over void pixels."""


def masks_figure(examples: Mapping[str, Any], classes: Sequence[str], title: str) -> "Figure":
    """Two samples per row, each as image, truth and prediction; a legend of the classes that occur.

    Args:
        examples: arrays: inputs (N, C, H, W) uint8, targets and answers (N, H, W) uint8.
    """
    samples = list(zip(examples["inputs"], examples["targets"], examples["answers"], strict=True))
    rows = -(-len(samples) // 2)
    figure = new_figure(11, 1.9 * rows + 1)
    figure.suptitle(title)
    grid = figure.subplots(rows, 6, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    colours = palette(len(classes))
    for index, (image, truth, answer) in enumerate(samples):
        row, left = divmod(index, 2)
        shown, true, predicted = grid[row, 3 * left : 3 * left + 3]
        shown.imshow(image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255)
        _draw_mask(true, truth, colours)
        _draw_mask(predicted, answer, colours)
        if row == 0:
            for axes, word in zip((shown, true, predicted), ("image", "truth", "prediction"), strict=True):
                axes.set_title(word, fontsize=10)
    _draw_legend(figure, {int(v) for _, *masks in samples for mask in masks for v in mask.flat}, classes, colours)
    return figure


def palette(classes: int) -> "Colormap":
    """A colour per class; pale grey for the first, which is usually the background."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    others = max(classes - 1, 1)
    named = next((name for name, size in (("tab10", 10), ("tab20", 20)) if others <= size), "nipy_spectral")
    steps = range(others) if named != "nipy_spectral" else [(i + 0.5) / others for i in range(others)]
    return ListedColormap([(0.5, 0.5, 0.5, 0.25), *(colormaps[named](step) for step in steps)])


def _draw_mask(axes: "Axes", mask: Any, colours: "Colormap") -> None:
    import numpy as np

    void = mask == VOID
    axes.imshow(np.ma.masked_array(mask, void), cmap=colours, vmin=-0.5, vmax=colours.N - 0.5, interpolation="nearest")
    if void.any():
        axes.contourf(void, levels=[0.5, 1.5], colors="none", hatches=[HATCH])


def _draw_legend(figure: "Figure", seen: set[int], classes: Sequence[str], colours: "Colormap") -> None:
    from matplotlib.patches import Patch

    known = [Patch(color=colours(number), label=classes[number]) for number in sorted(seen - {VOID})]
    void = [Patch(facecolor="none", edgecolor=INK, hatch=HATCH, label="void")] if VOID in seen else []
    figure.legend(handles=[*known, *void], loc="outside lower center", ncols=8, fontsize=9, frameon=False)


def regions_figure(examples: Mapping[str, Any], classes: Sequence[str], title: str) -> "Figure":
    """The points of the test split over the regions in which the network answers each class.

    Args:
        examples: arrays: inputs (N, 2), targets (N,), regions (rows from below, columns), corners (2, 2).
    """
    from matplotlib.colors import ListedColormap

    figure = new_figure(6, 5)
    axes = figure.subplots()
    (left, bottom), (right, top) = examples["corners"]
    axes.imshow(
        examples["regions"],
        cmap=ListedColormap([f"C{number}" for number in range(len(classes))]),
        vmin=-0.5,
        vmax=len(classes) - 0.5,
        extent=(left, right, bottom, top),
        origin="lower",
        alpha=0.35,
    )
    for number, (name, marker) in enumerate(zip(classes, cycle("os^"), strict=False)):
        points = examples["inputs"][examples["targets"] == number]
        axes.scatter(points[:, 0], points[:, 1], s=9, color=f"C{number}", marker=marker, label=f"class {name}")
    axes.set(title=title, xlabel="first input", ylabel="second input")
    figure.legend(loc="outside lower center", ncols=len(classes), frameon=False)
    return figure


EXAMPLES = {"segmentation": ("examples.png", masks_figure), "classification": ("regions.png", regions_figure)}
"""Task -> the file of its runs' examples, and the function that draws them, from arrays, the classes and a title."""
