"""The interval of a difference for other test images too, from which images each final had right.

Tunings and images are crossed: each tuning is measured on the same images. Both are samples, so

    d(u, i) = mean + tuning(u) + image(i) + rest(u, i),

d the difference of two arms in tuning u on image i, between -1 and 1. The variance of the mean over R tunings and n
images is that over the tunings, which `compare_all` uses, plus the images' own: se^2 = s_tunings^2/R + s_images^2/n,
with s_images^2 the variance over images of the mean over tunings, less the part of it that comes from the rest (the
random effects of a crossed design: Clark 1973, "The language-as-fixed-effect fallacy"; Owen 2007, "The pigeonhole
bootstrap"; Bouthillier et al. 2021, arXiv 2103.03098). If all tunings answer alike, s_images^2 / n is the variance of
McNemar's test.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from scipy import stats

from cnnlab.comparison.statistics import ImagesInterval
from cnnlab.training import CORRECT_FILE

Shares: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
"""(n,) for each test image the share of a unit's finals that had it right."""


def read_correct(run: Path, score: float) -> bytes | None:
    """1 for each test image that a final had right, else 0; None if its directory does not tell, or tells another
    score."""
    try:
        correct = np.load(run / CORRECT_FILE, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # the run is on another machine, or the file is damaged
        return None
    if correct.dtype != np.bool_ or correct.ndim != 1 or not len(correct):
        return None
    return correct.tobytes() if math.isclose(correct.mean(), score, abs_tol=1e-9) else None


def shares(finals: Sequence[bytes | None]) -> Shares | None:
    """The share of these finals that had each image right; None if one of them does not tell."""
    known = [np.frombuffer(correct, np.bool_) for correct in finals if correct is not None]
    if not known or len(known) < len(finals) or len({len(correct) for correct in known}) > 1:
        return None
    mean: Shares = np.mean(known, axis=0, dtype=np.float64)
    return mean


def images_interval(
    a: Sequence[Shares | None], b: Sequence[Shares | None], over_tunings: tuple[float, float], alpha: float
) -> ImagesInterval | None:
    """The interval of the mean of a - b for other images too; None if an answer is not known.

    Args:
        a, b: one entry per unit of the sample (a tuning, or a seed), two or more, the same in the same order.
        over_tunings: the interval of the same mean over these units by Student's t.
        alpha: the error rate of both.
    """
    rows = [x - y for x, y in zip(a, b, strict=True) if x is not None and y is not None and len(x) == len(y)]
    if len(rows) < max(2, len(a)) or len({len(row) for row in rows}) > 1:
        return None
    difference = np.stack(rows)
    units, images = difference.shape
    if images < 2:
        return None
    t = float(stats.t.isf(alpha / 2, units - 1))
    middle, half = sum(over_tunings) / 2, (over_tunings[1] - over_tunings[0]) / 2
    half = math.hypot(half, t * math.sqrt(images_variance(difference) / images))
    return ImagesInterval(middle - half, middle + half)


def images_variance(difference: Shares) -> float:
    """s_images^2: the variance of the images' own effects, 0 if less is found than the rest explains.

    Args:
        difference: (R, n) of each unit on each image, R of 2 or more.
    """
    units, images = difference.shape
    over_images = difference.mean(0)
    rest = difference - over_images - difference.mean(1, keepdims=True) + difference.mean()
    of_rest = float(np.square(rest).sum()) / ((units - 1) * (images - 1))
    own: float = over_images.var(ddof=1) - of_rest / units
    return max(0.0, own)
