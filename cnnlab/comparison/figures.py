"""A comparison's figures: curves with bands, sensitivity, expected best, and the matrix of pairs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cnnlab.comparison.statistics import bootstrap_interval, performance_profile
from cnnlab.comparison.verdicts import NEAR, Final, Verdicts, expected_best_of
from cnnlab.reading.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADINGS = {
    "curves": "Validation accuracy on fresh seeds: mean and 95 % interval",
    "sensitivity": "Accuracy over the learning rate",
    "expected_best": "Best of so many trials, as is to be expected",
    "pairs": "Row less column, in points of accuracy",
    "profile": "Share of workloads within a factor of the fastest",
}
"""A figure's file -> what it shows."""


def draw_comparison(found: Verdicts, folder: Path) -> list[Path]:
    """Write the figures for which there are enough trainings as PNG; returns their paths."""
    figures = {"curves": curves_figure(found), "sensitivity": sensitivity_figure(found)}
    if any(len(arm.random_values) > 1 for arm in found.arms):
        figures["expected_best"] = expected_best_figure(found)
    if found.pairs:
        figures["pairs"] = pairs_figure(found)
    return [_save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def draw_profile(times: Mapping[str, Sequence[float]], folder: Path) -> Path:
    """The performance profile as profile.png.

    Args:
        times: arm -> what it took on each workload; infinity for a miss.
    """
    figure = new_figure(6, 4)
    axes = figure.subplots()
    ratios = np.linspace(1, 4, 301).tolist()
    for name, shares in performance_profile(times, ratios).items():
        axes.step(ratios, shares, where="post", label=name)
    axes.set(xlabel="factor", ylabel="share of workloads", ylim=(-0.02, 1.02), title=HEADINGS["profile"])
    axes.legend()
    return _save(figure, folder / "profile.png")


class BandPoint(NamedTuple):
    """The finals of an arm after an epoch, all seeds together."""

    step: int
    seconds: float
    """Since the training began, the mean."""
    train_loss: float
    """The mean, nats per sample."""
    accuracy: float
    """The mean."""
    low: float
    """95 % bootstrap interval of that mean."""
    high: float


def band(finals: Sequence[Final]) -> list[BandPoint]:
    """A point for each epoch that most seeds reached."""
    points = []
    for epoch in range(max((len(final.history) for final in finals), default=0)):
        reached = [final for final in finals if len(final.history) > epoch]
        if 2 * len(reached) <= len(finals):
            break
        values = [final.accuracies[epoch] for final in reached]
        low, high = bootstrap_interval(values)
        points.append(
            BandPoint(
                step=reached[0].steps[epoch],
                seconds=float(np.mean([final.seconds[epoch] for final in reached])),
                train_loss=float(np.mean([final.history[epoch].train_loss for final in reached])),
                accuracy=float(np.mean(values)),
                low=low,
                high=high,
            )
        )
    return points


def curves_figure(found: Verdicts) -> "Figure":
    """Against the step and against the seconds, with the target."""
    figure = new_figure(11, 4)
    by_step, by_second = figure.subplots(1, 2, sharey=True)
    bands = {arm.name: band(arm.finals) for arm in found.arms if any(final.history for final in arm.finals)}
    best = max((points[-1].accuracy for points in bands.values()), default=0.0)
    near = [points for points in bands.values() if best - points[-1].accuracy <= NEAR]
    for number, arm in enumerate(found.arms):
        if arm.name in bands:
            points = bands[arm.name]
            steps, seconds, _, means, lows, highs = zip(*points, strict=True)
            label = arm.name if points in near else f"{arm.name} (below)"
            for axes, x in ((by_step, steps), (by_second, seconds)):
                axes.plot(x, means, "o-", color=f"C{number}", label=label, markersize=3)
                axes.fill_between(x, lows, highs, color=f"C{number}", alpha=0.2, linewidth=0)
    if len(near) < len(bands):
        by_step.set_ylim(bottom=min(point.low for points in near for point in points) - 0.01, top=best + 0.02)
    for axes, label in ((by_step, "step"), (by_second, "seconds of training")):
        if found.target is not None:
            axes.axhline(found.target, color="grey", linewidth=0.8, linestyle="--", label="target")
        axes.set(xlabel=label)
    by_step.set(ylabel="validation accuracy")
    if by_step.lines:
        by_step.legend()
    figure.suptitle(HEADINGS["curves"])
    return figure


def sensitivity_figure(found: Verdicts) -> "Figure":
    """Each arm's trials; those that diverged at the bottom."""
    figure = new_figure(7, 4)
    axes = figure.subplots()
    values = [tried.value for arm in found.arms for tried in arm.tried if tried.value is not None]
    floor = min(values, default=0.0) - 0.02
    for number, arm in enumerate(found.arms):
        points = sorted((t.lr, floor if t.value is None else t.value) for t in arm.tried if not t.untuned)
        colour = f"C{number}"
        axes.plot([x for x, _ in points], [y for _, y in points], "o-", color=colour, label=arm.name, markersize=4)
        for untuned in [tried for tried in arm.tried if tried.untuned]:
            value = floor if untuned.value is None else untuned.value
            axes.plot([untuned.lr], [value], "s", color=colour, markersize=7)
    axes.set(xscale="log", xlabel="learning rate", ylabel="best validation accuracy", title=HEADINGS["sensitivity"])
    if found.arms:
        axes.legend(title="squares: untuned; lowest line: diverged", title_fontsize=8)
    return figure


def expected_best_figure(found: Verdicts) -> "Figure":
    """By the number of quasi-random trials."""
    figure = new_figure(6, 4)
    axes = figure.subplots()
    for arm in found.arms:
        values = expected_best_of(arm)
        axes.plot(range(1, len(values) + 1), values, "o-", label=arm.name, markersize=4)
    axes.set(xlabel="trials", ylabel="best validation accuracy", title=HEADINGS["expected_best"])
    axes.legend()
    return figure


def pairs_figure(found: Verdicts) -> "Figure":
    """Each pair's mean difference and its verdict."""
    names = [arm.name for arm in found.arms if arm.finals]
    size = len(names)
    figure = new_figure(3 + 1.1 * size, 2 + 0.9 * size)
    axes = figure.subplots()
    points = np.full((size, size), np.nan)
    for pair in found.pairs:
        i, j = names.index(pair.a), names.index(pair.b)
        points[i, j], points[j, i] = 100 * pair.difference, -100 * pair.difference
        turned = {"better": "worse", "worse": "better"}.get(pair.verdict, pair.verdict)
        for x, y, sign, verdict in ((j, i, 1, pair.verdict), (i, j, -1, turned)):
            axes.text(x, y, f"{100 * sign * pair.difference:+.2f}\n{verdict}", ha="center", va="center", fontsize=8)
    widest = float(np.nanmax(np.abs(points))) or 1.0
    figure.colorbar(axes.imshow(points, cmap="PuOr", vmin=-1.5 * widest, vmax=1.5 * widest), ax=axes, label="points")
    axes.set_xticks(range(size), names, rotation=45, ha="right")
    axes.set_yticks(range(size), names)
    axes.set(title=HEADINGS["pairs"])
    return figure


def _save(figure: "Figure", path: Path) -> Path:
    figure.savefig(path, dpi=120)
    return path
