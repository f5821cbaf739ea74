"""The figures that a run's journal alone says: the curves and the confusion matrix."""

from collections.abc import Sequence
from math import nan
from typing import TYPE_CHECKING

from cnnlab.metrics import Metric
from cnnlab.records import Epoch, Record, RunStarted, Steps
from cnnlab.tracking import last

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curves_figure(records: Sequence[Record], title: str) -> "Figure":
    """Loss, score and learning rate against the step; if the score is the loss, what else is measured."""
    figure = new_figure(12, 3.6)
    loss, score, rate = figure.subplots(1, 3)
    figure.suptitle(title)
    epochs = [record for record in records if isinstance(record, Epoch)]
    metric = _drawn(last(records, RunStarted))
    steps = [epoch.step for epoch in epochs]
    _draw_losses(loss, records, epochs)
    score.plot(steps, [epoch.train.get(metric.name, nan) for epoch in epochs], "o-", label="training", markersize=3)
    score.plot(steps, [epoch.val.get(metric.name, nan) for epoch in epochs], "o-", label="validation", markersize=3)
    score.set(xlabel="step", ylabel=metric.words)
    score.legend()
    rate.plot(steps, [epoch.lr for epoch in epochs], "o-", markersize=3)
    rate.set(xlabel="step", ylabel="learning rate")
    return figure


def _drawn(started: RunStarted | None) -> Metric:
    score, measured = (started.score, started.measured) if started else (RunStarted.score, RunStarted.measured)
    return next((metric for metric in measured if metric.name != "loss"), score) if score.name == "loss" else score


def _draw_losses(axes: "Axes", records: Sequence[Record], epochs: Sequence[Epoch]) -> None:
    points = [
        (step, loss) for r in records if isinstance(r, Steps) for step, loss in enumerate(r.losses, start=r.first)
    ]
    axes.plot(*zip(*points, strict=True), color="C0", alpha=0.3, linewidth=0.7, label="training, each step")
    axes.plot(
        [e.step for e in epochs],
        [e.train["loss"] for e in epochs],
        "o-",
        color="C0",
        markersize=3,
        label="training, epoch",
    )
    axes.plot(
        [e.step for e in epochs], [e.val["loss"] for e in epochs], "o-", color="C1", markersize=3, label="validation"
    )
    axes.set(xlabel="step", ylabel="loss (mean per sample)", yscale="log")
    axes.legend()


def confusion_figure(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> "Figure":
    """Test images, or their pixels, by true class (rows) and predicted class (columns).

    Counts are written in if there is room; if one is of more than four digits, shares.
    """
    size = len(classes)
    side = min(4 + 0.35 * size, 16)
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    shares = [[cell / max(sum(row), 1) for cell in row] for row in counts]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046)
    axes.set(title=title, xlabel="predicted", ylabel="true")
    axes.set_xticks(range(size), classes, rotation=90)
    axes.set_yticks(range(size), classes)
    large = max(map(max, counts)) > 9999
    if size <= 20:
        for i, row in enumerate(counts):
            for j, cell in enumerate(row):
                colour = "white" if shares[i][j] > 0.5 else "black"
                axes.text(
                    j,
                    i,
                    f"{shares[i][j]:.1%}" if large else str(cell),
                    ha="center",
                    va="center",
                    color=colour,
                    fontsize=8,
                )
    return figure


def new_figure(width: float, height: float) -> "Figure":
    """Without pyplot: no global state and no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
