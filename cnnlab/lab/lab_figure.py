"""The figure of a claim: the curves of its arms, and what was measured of each on each seed."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import TYPE_CHECKING

from cnnlab.lab.claim import Claim
from cnnlab.lab.judgement import Judgement, Values, number_text
from cnnlab.look import new_figure, save
from cnnlab.reading.run_figures import thinned, training_losses

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cnnlab.lab.measures import Ended


def draw_claim(
    claim: Claim, values: Values, judgement: Judgement, runs: "Mapping[str, list[list[Ended]]]", path: Path
) -> None:
    """Write the figure, small enough for a page.

    Args:
        runs: arm -> seed -> its runs; empty if nothing was trained.
    """
    curves = bool(runs) and claim.over is None
    panels = len(values) + curves
    figure = new_figure(3.4 * max(panels, 2), 2.9)
    figure.suptitle(f"{fill(claim.claim, 30 * max(panels, 2))}\n{judgement.word.capitalize()}", fontsize=9)
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    colours = {arm: f"C{number}" for number, arm in enumerate(claim.arms)}
    if curves:
        _draw_curves(axes.pop(0), {arm: seeds[0][0] for arm, seeds in runs.items()}, colours)
    for panel, (measure, by_arm) in zip(axes, values.items(), strict=True):
        arms = [arm for arm in claim.arms if arm in by_arm]
        for row, arm in enumerate(arms):
            known = [value for value in by_arm[arm] if value is not None]
            panel.plot(known, [row] * len(known), "o", color=colours[arm], alpha=0.5, markersize=5)
            if known:
                panel.plot([fmean(known)] * 2, [row - 0.3, row + 0.3], color=colours[arm], linewidth=2)
                panel.annotate(
                    number_text(fmean(known)), (fmean(known), row - 0.33), ha="center", va="bottom", fontsize=7
                )
        panel.set_yticks(range(len(arms)), arms, fontsize=8)
        panel.set_ylim(len(arms) - 0.5, -0.8)
        panel.margins(x=0.15)
        panel.set_xlabel(measure, fontsize=8)
        panel.locator_params(axis="x", nbins=4)
        panel.xaxis.set_major_formatter(lambda value, _: number_text(value))
        panel.tick_params(axis="x", labelsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(figure, path, dpi=80)


def _draw_curves(axes: "Axes", runs: "Mapping[str, Ended]", colours: Mapping[str, str]) -> None:
    """Of the first seed: training loss of the steps, and validation loss of the epochs (dashed)."""
    from matplotlib.ticker import LogLocator

    for arm, run in runs.items():
        points = thinned(training_losses(run.curves.records), 100)
        steps = max(len(run.curves.losses), 1)
        axes.plot(
            [step / steps for step, _ in points], [y for _, y in points], color=colours[arm], linewidth=1, label=arm
        )
        axes.plot(
            [epoch.step / steps for epoch in run.curves.epochs], run.curves.val, "--", color=colours[arm], linewidth=1
        )
    axes.set_yscale("log")
    axes.set_xlabel("share of the training", fontsize=8)
    axes.set_ylabel("loss (dashed: validation)", fontsize=8)
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.tick_params(which="both", labelsize=7)
    axes.legend(fontsize=7, frameon=False)
