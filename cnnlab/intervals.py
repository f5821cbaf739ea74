"""The interval of a mean of few values, by Student's t."""

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np

ALPHA = 0.05
"""The error rate of an interval, and of all verdicts of a comparison together."""
LEAST = 3
"""With fewer values there is neither an interval nor a verdict."""


def interval(
    values: Sequence[float],
    alpha: float = ALPHA,
    resolution: float = 0.0,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[float, float] | None:
    """The interval of a mean by Student's t; None for fewer than LEAST values.

    Args:
        alpha: the error rate.
        resolution: the step between possible values. Their spread counts as at least that of rounding to it, so equal
            values give no interval of width 0.
        bounds: the least and the greatest possible mean. What lies outside is cut off, which changes no coverage.
    """
    from scipy import special  # here, because a sweep would wait for it; scipy.stats takes six times as long

    if len(values) < LEAST:
        return None
    half = -float(special.stdtrit(len(values) - 1, alpha / 2)) * standard_error(values, resolution)
    return max(fmean(values) - half, bounds[0]), min(fmean(values) + half, bounds[1])


def standard_error(values: Sequence[float], resolution: float = 0.0) -> float:
    """Of the mean of at least 2 values; `resolution` is as of `interval`."""
    return max(float(np.std(values, ddof=1)), resolution / math.sqrt(12)) / math.sqrt(len(values))
