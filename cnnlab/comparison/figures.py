"""A comparison's figures: curves with bands, sensitivity, expected best, matrix of pairs, performance profile."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cnnlab.comparison.statistics import R_MAX, performance_profile
from cnnlab.comparison.verdicts import Final, Verdicts, best_so_far
from cnnlab.intervals import interval
from cnnlab.look import WHITE_ON, new_figure, save
from cnnlab.metrics import Metric
from cnnlab.reading.run_figures import several_figure
from cnnlab.tracking import RunDir, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADINGS = {
    "losses": "Training loss of each step, and validation {score}: one training of each",
    "curves": "Validation {score} of the finals: mean and 95 % interval",
    "sensitivity": "{Score} over the learning rate",
    "expected_best": "Expected best of 1, 2 ... trials, the untuned one first: mean and 95 % interval over tunings",
    "pairs": "Row less column, in {points} of {score}",
    "profile": "Share of workloads within a factor of the fastest",
}
"""A figure's file -> its title."""


def heading_of(figure: str, score: Metric) -> str:
    """The title of a figure."""
    words = score.words
    return HEADINGS[figure].format(score=words, Score=words[:1].upper() + words[1:], points=score.points)


def draw_comparison(verdicts: Verdicts, folder: Path) -> list[Path]:
    """Write as PNG the figures for which there are enough trainings; returns their paths."""
    figures = {"curves": curves_figure(verdicts), "sensitivity": sensitivity_figure(verdicts)}
    if all(arm.independent for arm in verdicts.arms) and any(
        len(t.drawn) > 1 for a in verdicts.arms for t in a.tunings
    ):
        figures["expected_best"] = expected_best_figure(verdicts)
    if verdicts.pairs:
        figures["pairs"] = pairs_figure(verdicts)
    return [save(figure, folder / f"{name}.png") for name, figure in figures.items()]


def draw_losses(untuned: Mapping[str, RunDir], folder: Path) -> Path:
    """Write losses.png: the training loss of each step and the validation score, of one training of each arm."""
    records = {arm: read(run.journal_file)[0] for arm, run in untuned.items()}
    return save(several_figure(records), folder / "losses.png")


def draw_profile(times: Mapping[str, Sequence[float]], folder: Path) -> Path:
    """Write the performance profile as profile.png.

    Args:
        times: arm -> its seconds on each workload; infinity if it missed the target.
        folder: created if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figure = new_figure(6, 4)
    axes = figure.subplots()
    ratios = np.linspace(1, R_MAX, 301).tolist()
    for name, shares in performance_profile(times, ratios).items():
        axes.step(ratios, shares, where="post", label=name)
    axes.set(xlabel="factor", ylabel="share of workloads", ylim=(-0.02, 1.02), title=HEADINGS["profile"])
    axes.legend()
    return save(figure, folder / "profile.png")


class BandPoint(NamedTuple):
    """Means over the finals of an arm after an epoch."""

    step: int
    seconds: float
    """Since the training began."""
    train_loss: float
    val: float
    """The validation score."""
    low: float | None
    """95 % interval of that mean; None for fewer than 3 finals."""
    high: float | None


def band(finals: Sequence[Final], score: Metric) -> list[BandPoint]:
    """A point for each epoch that more than half of the finals reached."""
    points = []
    for epoch in range(max((len(final.history) for final in finals), default=0)):
        reached = [final for final in finals if len(final.history) > epoch]
        if 2 * len(reached) <= len(finals):
            break
        values = [final.validation[epoch] for final in reached]
        low, high = interval(values, bounds=score.bounds) or (None, None)
        points.append(
            BandPoint(
                step=reached[0].steps[epoch],
                seconds=float(np.mean([final.seconds[epoch] for final in reached])),
                train_loss=float(np.mean([final.history[epoch].train_loss for final in reached])),
                val=float(np.mean(values)),
                low=low,
                high=high,
            )
        )
    return points


def _near_the_best(bands: Sequence[Sequence[BandPoint]], score: Metric) -> tuple[float, float] | None:
    """Limits of the axis if some arm ends so far from the best that it would flatten the others; None if none does."""
    best = score.best(points[-1].val for points in bands)
    near = [points for points in bands if best is not None and score.gain(best, points[-1].val) <= score.in_sight]
    if len(near) == len(bands):
        return None
    shown = [value for points in near for point in points for value in (point.val, point.low, point.high)]
    ends = [value for value in shown if value is not None]
    return min(ends) - score.near_best, max(ends) + score.near_best


def curves_figure(verdicts: Verdicts) -> "Figure":
    """Validation scores against the step and against the seconds, with the target."""
    figure = new_figure(11, 4)
    by_step, by_second = figure.subplots(1, 2, sharey=True)
    score = verdicts.score
    bands = {arm.name: points for arm in verdicts.arms if (points := band(arm.finals, score))}
    limits = _near_the_best(list(bands.values()), score)
    for number, arm in enumerate(verdicts.arms):
        if arm.name in bands:
            steps, seconds, _, means, lows, highs = zip(*bands[arm.name], strict=True)
            in_view = limits is None or any(limits[0] <= mean <= limits[1] for mean in means)
            label = arm.name if in_view else f"{arm.name} (outside the axis)"
            for axes, x in ((by_step, steps), (by_second, seconds)):
                axes.plot(x, means, "o-", color=f"C{number}", label=label, markersize=3)
                _fill(axes, x, lows, highs, f"C{number}")
    if limits:
        by_step.set_ylim(*limits)
    for axes, label in ((by_step, "step"), (by_second, "seconds of training")):
        if verdicts.target is not None:
            axes.axhline(verdicts.target, color="grey", linewidth=0.8, linestyle="--", label="target")
        axes.set(xlabel=label)
    by_step.set(ylabel=f"validation {score.words}")
    if by_step.lines:
        by_step.legend()
    return figure


def sensitivity_figure(verdicts: Verdicts) -> "Figure":
    """The value of each trial against its learning rate; diverged trials are on a line beyond the worst value."""
    figure = new_figure(7, 4)
    axes = figure.subplots()
    values = [tried.value for arm in verdicts.arms for tried in arm.tried if tried.value is not None]
    score = verdicts.score
    beyond = max(values, key=score.rank, default=0.0) + (-1 if score.higher_is_better else 1) * 10 * score.margin
    for number, arm in enumerate(verdicts.arms):
        points = sorted((t.lr, beyond if t.value is None else t.value) for t in arm.tried if not t.untuned)
        colour = f"C{number}"
        axes.plot([x for x, _ in points], [y for _, y in points], "o-", color=colour, label=arm.name, markersize=4)
        for untuned in [tried for tried in arm.tried if tried.untuned]:
            value = beyond if untuned.value is None else untuned.value
            axes.plot([untuned.lr], [value], "s", color=colour, markersize=7)
    axes.set(xscale="log", xlabel="learning rate", ylabel=f"best validation {score.words}")
    if verdicts.arms:
        line = "lowest" if score.higher_is_better else "highest"
        axes.legend(title=f"squares: untuned; {line} line: diverged", title_fontsize=8)
    return figure


def expected_best_figure(verdicts: Verdicts) -> "Figure":
    """The expected best value against the number of trials, the untuned one first."""
    figure = new_figure(6, 4)
    axes = figure.subplots()
    for number, arm in enumerate(verdicts.arms):
        points = best_so_far(arm, verdicts.score)
        trials = range(1, len(points) + 1)
        axes.plot(trials, [mean for mean, _ in points], "o-", color=f"C{number}", label=arm.name, markersize=4)
        lows, highs = zip(*[band or (None, None) for _, band in points], strict=True) if points else ((), ())
        _fill(axes, trials, lows, highs, f"C{number}")
    axes.locator_params(axis="x", integer=True)
    axes.set(xlabel="trials", ylabel=f"best validation {verdicts.score.words}")
    axes.legend()
    return figure


def pairs_figure(verdicts: Verdicts) -> "Figure":
    """A matrix with the mean difference and the verdict of each pair."""
    names = [arm.name for arm in verdicts.arms if arm.finals]
    size = len(names)
    figure = new_figure(3 + 1.1 * size, 2 + 0.9 * size)
    axes = figure.subplots()
    points = np.full((size, size), np.nan)
    for pair in verdicts.pairs:
        i, j = names.index(pair.a), names.index(pair.b)
        points[i, j] = verdicts.score.in_unit(pair.difference)
        points[j, i] = -points[i, j]
        turned = {"better": "worse", "worse": "better"}.get(pair.verdict, pair.verdict)
        for x, y, sign, verdict in ((j, i, 1, pair.verdict), (i, j, -1, turned)):
            text = f"{verdicts.score.table(sign * pair.difference, sign='+')}\n{verdict}"
            axes.text(x, y, text, ha="center", va="center", color="white", fontsize=8)
    widest = float(np.max(np.nan_to_num(np.abs(points)))) or 1.0
    figure.colorbar(
        axes.imshow(points, cmap=WHITE_ON, vmin=-2 * widest, vmax=2 * widest), ax=axes, label=verdicts.score.points
    )
    axes.set_xticks(range(size), names, rotation=45, ha="right")
    axes.set_yticks(range(size), names)
    return figure


def _fill(
    axes: "Axes", x: Sequence[float], lows: Sequence[float | None], highs: Sequence[float | None], colour: str
) -> None:
    """Fill the band between two curves; points without an interval are left out."""
    known = [(at, low, high) for at, low, high in zip(x, lows, highs, strict=True) if low is not None]
    if known:
        places, below, above = zip(*known, strict=True)
        axes.fill_between(places, below, above, color=colour, alpha=0.2, linewidth=0)
