"""The settings that are shown to matter in a search, by a permutation test over all its trials.

`benchmarks/honesty.py --only sweep` measures its error rates; docs/sweeps.md shows them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from cnnlab.config.space import Choices, Dimension, Params, Range, Space
from cnnlab.metrics import Metric

End: TypeAlias = Literal["lower", "upper"]
Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

ALPHA = 0.02
"""The error rate of a test over all settings. It is below 5 % because a sampler that learns makes tests too lenient."""
PERMUTATIONS = 1000
TELLING = 50
"""With fewer trials, a setting that matters is often missed."""
OUTER, NEXT = 0.1, 0.3
"""Trials up to the first share of a range are its end; those from there to the second one are next to it."""
LEAST_AT_END = 3
EDGE_ALPHA = 0.05
"""The error rate of the tests of all ends together."""
LEAST_FREE = 5
"""The least number of trials beyond the parameters of the fit."""


@dataclass(frozen=True)
class Outcome:
    """What a trial came to."""

    params: Params
    history: tuple[float, ...]
    """Its score after each epoch; fewer if it was pruned."""
    value: float | None = None
    """Of a trial that was trained to its end."""
    diverged: bool = False


def standings(outcomes: Sequence[Outcome], score: Metric) -> Array:
    """The share of the other trials that each trial beats, minus the share that beats it: in [-1, 1].

    Two trials are compared by their values if both were trained to their end, else by their best scores up to the last
    epoch that both have reached. A trial that diverged loses against each that did not. So only the order of the
    scores counts.
    """
    sign = 1 if score.higher_is_better else -1
    longest = max((len(outcome.history) for outcome in outcomes), default=0)
    reached = np.array([len(o.history) if o.value is None and not o.diverged else longest + 1 for o in outcomes])
    best = np.full((len(outcomes), longest + 1), -np.inf)
    for row, outcome in zip(best, outcomes, strict=True):
        if outcome.diverged:
            continue
        row[: len(outcome.history)] = sign * np.array(outcome.history)
        row[-1] = -np.inf if outcome.value is None else sign * outcome.value
        row[:-1] = np.maximum.accumulate(row[:-1])
    here = np.arange(len(outcomes))
    places = []
    for trial in here:
        common = np.minimum(reached, reached[trial]) - 1
        mine, theirs = best[trial, common], best[here, common]
        places.append(((mine > theirs).sum() - float((mine < theirs).sum())) / max(1, len(outcomes) - 1))
    return np.array(places)


def importances(outcomes: Sequence[Outcome], space: Space, score: Metric) -> dict[str, float]:
    """The dimensions that are shown to matter, the most important one first, each with its share of the variance.

    The trials' standings are fitted by a line, a parabola or a cubic over each range, on its scale, and by a mean for
    each choice (a cubic because trainings diverge beyond the best learning rate). The dimension with the best F test is
    added, then the next one given those, as long as at most ALPHA of the permutations of the residuals have a dimension
    with a test as good (Freedman and Lane 1983). So the error rate holds over all dimensions together. A share is the
    part of the variance of the standings that a dimension adds.
    """
    if not outcomes:
        return {}
    places = standings(outcomes, score)
    total = float(((places - places.mean()) ** 2).sum())
    left = {dimension.name: _columns(dimension, outcomes) for dimension in space.dimensions}
    fitted = np.ones((len(places), 1)) / len(places) ** 0.5
    rng = np.random.default_rng(0)
    shares: dict[str, float] = {}
    while left and total > 0:
        residuals = places - fitted @ (fitted.T @ places)
        shuffled = rng.permuted(np.tile(residuals, (PERMUTATIONS, 1)), axis=1).T
        shuffled -= fitted @ (fitted.T @ shuffled)
        bases = {name: _new_directions(columns, fitted) for name, columns in left.items()}
        tests = {
            name: _log_p(np.column_stack([residuals, shuffled]), basis, fitted.shape[1], ordered=_is_range(space[name]))
            for name, basis in bases.items()
            if basis.shape[1] and len(places) - fitted.shape[1] - basis.shape[1] >= LEAST_FREE
        }
        if not tests:
            break
        best = min(tests, key=lambda name: float(tests[name][0]))
        null = np.min([test[1:] for test in tests.values()], axis=0)
        if (1 + (null <= tests[best][0]).sum()) / (1 + PERMUTATIONS) > ALPHA:
            break
        shares[best] = float(((bases[best].T @ residuals) ** 2).sum()) / total
        fitted = np.column_stack([fitted, bases[best]])
        del left[best]
    return shares


def rising_ends(
    outcomes: Sequence[Outcome], space: Space, score: Metric, named: Collection[str]
) -> list[tuple[Dimension, End]]:
    """The ends of ranges at which trials do better than next to them, of the dimensions that are shown to matter.

    A one-sided Mann-Whitney test of the standings at each end decides (Bonferroni over both ends of all ranges).
    """
    from scipy import stats  # here, because a sweep would wait for it before its first trial

    places = standings(outcomes, score)
    ranges = [dimension for dimension in space.dimensions if _is_range(dimension)]
    rising: list[tuple[Dimension, End]] = []
    for dimension in ranges:
        if dimension.name not in named:
            continue
        positions = _positions(dimension, outcomes)
        ends: dict[End, Array] = {"lower": positions, "upper": 1 - positions}
        for end, distance in ends.items():
            outer, inner = places[distance <= OUTER], places[(distance > OUTER) & (distance <= NEXT)]
            if min(len(outer), len(inner)) < LEAST_AT_END:
                continue
            p = stats.mannwhitneyu(outer, inner, alternative="greater").pvalue
            if p < EDGE_ALPHA / (2 * len(ranges)):
                rising.append((dimension, end))
    return rising


def words(shares: Mapping[str, float], dimensions: int, trials: int) -> str:
    """What is known of the settings that are not named; empty if all are."""
    if len(shares) == dimensions:
        return ""
    who = "the others" if shares else "which settings matter"
    if trials < TELLING:
        return f"{who}: too few trials to tell ({trials}; at least {TELLING} are needed)"
    return (
        f"{who}: not shown to matter by {trials} trials"
        if shares
        else f"no setting is shown to matter by {trials} trials"
    )


def _columns(dimension: Dimension, outcomes: Sequence[Outcome]) -> Array:
    """(N, k): the cubic's or the choices' columns, centred; 0 for trials that do not have the dimension."""
    values = [outcome.params.get(dimension.name) for outcome in outcomes]
    has = np.array([value is not None for value in values])
    if isinstance(dimension.domain, Choices):
        columns = np.array([[float(value == choice) for choice in dimension.domain.values] for value in values])
    else:
        positions = np.nan_to_num(_positions(dimension, outcomes))
        columns = np.column_stack([positions, positions**2, positions**3])
    if not has.any():
        return columns[:, :0]
    centred: Array = np.where(has[:, None], columns - columns[has].mean(0), 0.0)
    return centred


def _positions(dimension: Dimension, outcomes: Sequence[Outcome]) -> Array:
    """(N,) on the scale of the range; NaN for trials that do not have the dimension."""
    assert isinstance(dimension.domain, Range)
    values = [outcome.params.get(dimension.name) for outcome in outcomes]
    return np.array([np.nan if value is None else dimension.domain.position(value) for value in values])


def _is_range(dimension: Dimension) -> bool:
    return isinstance(dimension.domain, Range)


def _new_directions(columns: Array, fitted: Array) -> Array:
    """An orthonormal basis (N, k) of what the columns add to the fitted ones, one vector per column that adds any."""
    known = fitted
    for column in columns.T:
        rest = column - known @ (known.T @ column)
        size = float(np.linalg.norm(rest))
        if size > 1e-6:
            known = np.column_stack([known, rest / size])
    return known[:, fitted.shape[1] :]


def _log_p(residuals: Array, basis: Array, used: int, *, ordered: bool) -> Array:
    """The logarithm of the p-value of the F test of each column of residuals (N, M).

    Args:
        ordered: whether the first vectors of the basis are tested alone too (a line, a parabola); the best test
            counts.
    """
    from scipy import stats  # as in rising_ends

    explained = np.cumsum((basis.T @ residuals) ** 2, axis=0)
    total = (residuals**2).sum(0)
    tests = []
    for size in range(1 if ordered else basis.shape[1], basis.shape[1] + 1):
        free = len(residuals) - used - size
        rest = np.maximum(total - explained[size - 1], 1e-12)
        tests.append(stats.f.logsf(explained[size - 1] / size / (rest / free), size, free))
    best: Array = np.min(tests, axis=0)
    return best
