"""Several workloads: times to the target, probability of improvement, IQM, and the critical-difference picture.

Probability of improvement and IQM are as rliable defines them (Agarwal et al. 2021, arXiv 2108.13264), with its
stratified percentile bootstrap: each workload's scores are drawn anew, the workloads stay.
"""

import importlib
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy import stats

from cnnlab.comparison.statistics import profile_scores
from cnnlab.comparison.verdicts import ToTarget, Verdicts
from cnnlab.intervals import ALPHA
from cnnlab.look import new_figure, save

RESAMPLES = 2000
LEAST_WORKLOADS = 3
"""With fewer there is no critical-difference picture."""

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


class Score(NamedTuple):
    """The area below the performance profile, in [0, 1], from the median cost of reaching each workload's target."""

    steps: float
    seconds: float


def scores_over(workloads: Sequence[Verdicts]) -> dict[str, Score]:
    """Each arm's score over the workloads."""
    steps, seconds = (profile_scores(times_to_target(workloads, unit)) for unit in Score._fields)
    return {arm: Score(steps[arm], seconds[arm]) for arm in steps}


def ranked(scores: Mapping[str, Score]) -> list[str]:
    """The arms in the order of their scores by seconds, the highest first."""
    return sorted(scores, key=lambda arm: -scores[arm].seconds)


def times_to_target(workloads: Sequence[Verdicts], unit: str) -> dict[str, list[float]]:
    """Arm -> its `steps` or `seconds` to the target of each workload; infinity if it was missed."""
    missed = ToTarget(math.inf, math.inf, 0)
    return {
        arm: [getattr(verdicts.to_target.get(arm, missed), unit) for verdicts in workloads]
        for arm in workloads[0].ranking
    }


class Estimate(NamedTuple):
    """A figure over workloads with the 95 % interval of the stratified bootstrap."""

    value: float
    ci_low: float
    ci_high: float


class Improvement(NamedTuple):
    """The probability that `a` has a better score than `b` on a workload drawn at random."""

    a: str
    b: str
    probability: Estimate


def interquartile_means(workloads: Sequence[Verdicts]) -> dict[str, Estimate]:
    """Arm -> the mean of the middle half of its scores on all workloads; empty if they have different metrics."""
    if len({verdicts.score.name for verdicts in workloads}) > 1:
        return {}
    samples = _samples(workloads)
    return {arm: interquartile_mean(scores, np.random.default_rng(0)) for arm, scores in samples.items()}


def improvements(workloads: Sequence[Verdicts]) -> list[Improvement]:
    """The probability of improvement of each pair of arms."""
    signs = [1 if verdicts.score.higher_is_better else -1 for verdicts in workloads]
    better = {
        arm: [sign * row for sign, row in zip(signs, scores, strict=True)]
        for arm, scores in _samples(workloads).items()
    }
    return [
        Improvement(a, b, probability_of_improvement(better[a], better[b], np.random.default_rng(0)))
        for a, b in combinations(better, 2)
    ]


def interquartile_mean(scores: Sequence[Array], rng: np.random.Generator) -> Estimate:
    """IQM: the mean of all scores without a quarter of them at each end.

    Args:
        scores: a row per workload.
    """
    drawn = np.concatenate([_resampled(row, rng) for row in scores], axis=1)
    return _estimate(stats.trim_mean(np.concatenate(scores), 0.25), stats.trim_mean(drawn, 0.25, axis=1))


def probability_of_improvement(a: Sequence[Array], b: Sequence[Array], rng: np.random.Generator) -> Estimate:
    """P(a > b) over all pairs of scores of a workload, a tie half; the mean over workloads.

    Args:
        a, b: a row per workload, higher scores better.
    """
    value = np.mean([_wins(x, y) for x, y in zip(a, b, strict=True)])
    drawn = [_wins(_resampled(x, rng), _resampled(y, rng)) for x, y in zip(a, b, strict=True)]
    return _estimate(value, np.mean(drawn, axis=0))


def _wins(a: Array, b: Array) -> Array:
    x, y = a[..., :, None], b[..., None, :]
    wins: Array = ((x > y) + 0.5 * (x == y)).mean((-2, -1))
    return wins


def _resampled(row: Array, rng: np.random.Generator) -> Array:
    drawn: Array = row[rng.integers(len(row), size=(RESAMPLES, len(row)))]
    return drawn


def _estimate(value: Any, drawn: Array) -> Estimate:
    low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2])
    return Estimate(float(value), float(low), float(high))


def _samples(workloads: Sequence[Verdicts]) -> dict[str, list[Array]]:
    """Arm -> its scores on each workload, without those that diverged; only arms that have some on each."""
    samples: dict[str, list[Array]] = {}
    for arm in workloads[0].ranking:
        rows = [_scores(verdicts, arm) for verdicts in workloads]
        if all(map(len, rows)):
            samples[arm] = rows
    return samples


def _scores(verdicts: Verdicts, name: str) -> Array:
    arm = next(arm for arm in verdicts.arms if arm.name == name)
    return np.array([value for value in arm.units(verdicts.claim).values() if value is not None], np.float64)


def draw_critical_difference(workloads: Sequence[Verdicts], folder: Path) -> tuple[Path | None, str]:
    """Write critical_difference.png: mean ranks over the workloads; arms that Nemenyi's test does not tell apart are
    joined (Demšar 2006).

    Returns:
        The path, or None and the reason, as a sentence without a full stop.
    """
    samples = _samples(workloads)
    if len(workloads) < LEAST_WORKLOADS or len(samples) < 3:
        return None, (
            f"no critical-difference picture: it needs {LEAST_WORKLOADS} workloads and 3 arms or more, "
            f"but there are {len(workloads)} and {len(samples)}"
        )
    try:
        posthocs, pandas = importlib.import_module("scikit_posthocs"), importlib.import_module("pandas")
    except ImportError:
        return None, "no critical-difference picture: scikit-posthocs is missing; pip install 'cnnlab[paper]'"
    signs = [1 if verdicts.score.higher_is_better else -1 for verdicts in workloads]
    table = pandas.DataFrame(
        {arm: [s * float(row.mean()) for s, row in zip(signs, rows, strict=True)] for arm, rows in samples.items()}
    )
    figure = new_figure(8, 1.2 + 0.3 * len(samples))
    posthocs.critical_difference_diagram(
        table.rank(axis=1, ascending=False).mean(), posthocs.posthoc_nemenyi_friedman(table), ax=figure.subplots()
    )
    folder.mkdir(parents=True, exist_ok=True)
    return save(figure, folder / "critical_difference.png", bbox_inches="tight"), ""
