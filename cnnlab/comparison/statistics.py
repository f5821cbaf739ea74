"""Statistics of a comparison: intervals, verdicts on pairs, and scores over several workloads.

The sample is the tunings: each tunes every arm anew, with points, seeds and splits that all arms share, so arms are
paired. `benchmarks/honesty.py` measures the error rates of these rules; docs/compare.md shows them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, median_low
from typing import Literal, TypeAlias

import numpy as np
from scipy import special

from cnnlab.intervals import ALPHA, interval, standard_error

FIRST_LOOK, LATER_LOOK, LOOKS = 0.025, 0.001, 6
"""The error rate of the first look at a comparison, and of each later one of these LOOKS in all."""
R_MAX = 4.0
"""A performance profile ends at this factor of the fastest time."""

Verdict: TypeAlias = Literal["better", "worse", "equal", "undecided"]


@dataclass(frozen=True)
class Summary:
    """Statistics of one arm's scores, of trainings that did not diverge."""

    mean: float
    std: float
    """The sample standard deviation; 0 for one score."""
    median: float
    """A score that occurred: of an even number, the lower one of the two in the middle."""
    ci_low: float | None
    """95 % interval of the mean by Student's t; None for fewer than LEAST scores."""
    ci_high: float | None


@dataclass(frozen=True)
class ImagesInterval:
    """The interval of a difference, for other images of the same source too; as wide as that over tunings, or wider."""

    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Rope:
    """Probabilities that one arm is better than the other by more than the margin, equal within it, or worse."""

    better: float
    equal: float
    worse: float


@dataclass(frozen=True)
class Pair:
    """Arm `a` against arm `b`, paired by tuning (or by seed, if there are fewer than LEAST tunings)."""

    a: str
    b: str
    difference: float
    """Mean of a - b."""
    ci_low: float | None
    """Simultaneous 95 % interval of the difference: all pairs and all looks together err in at most 5 % of comparisons.
    It decides the verdict. None if there are fewer than LEAST differences."""
    ci_high: float | None
    p_value: float | None
    """Of the paired t test, corrected as the interval is: at most 5 % exactly if the interval excludes 0. None without
    an interval."""
    probability: float
    """P(A > B): that a has the better score, over all pairs of scores. A tie counts half (Agarwal et al. 2021,
    arXiv 2108.13264)."""
    verdict: Verdict
    """Of `a`."""
    failed: tuple[int, int] = (0, 0)
    """The number of trainings of `a` and of `b` that diverged where the other arm's did not."""
    images: ImagesInterval | None = None
    """The interval for other test images too, if the score is a share of images and all answers are known."""
    rope: Rope | None = None
    """By the Bayesian t test of --rope."""

    @property
    def tied(self) -> bool:
        """Whether both have the same mean, to the image."""
        return abs(self.difference) < 1e-12

    @property
    def excludes_0(self) -> bool:
        """Whether there is an interval, and 0 lies outside it."""
        return self.ci_low is not None and self.ci_high is not None and (self.ci_low > 0 or self.ci_high < 0)


def error_rate(look: int) -> float:
    """The error rate of the `look`-th look at a comparison (from 1), over all its pairs.

    A look is a result with more tunings or seeds than before. The rates of LOOKS looks add up to 3 %, so all their
    intervals hold together (union bound; repeated confidence intervals: Jennison and Turnbull 1989). The rest of ALPHA
    is for scores that are not normal: with these rates false differences are at most 5 % in every simulated world.
    """
    return FIRST_LOOK if look == 1 else LATER_LOOK


def summarize(
    scores: Sequence[float], resolution: float = 0.0, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Summary:
    """Mean, spread and interval of scores.

    Args:
        resolution, bounds: as in `interval`.

    Raises:
        ValueError: there is no score.
    """
    if not scores:
        raise ValueError("no scores")
    low, high = interval(scores, resolution=resolution, bounds=bounds) or (None, None)
    std = float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
    return Summary(mean=fmean(scores), std=std, median=median_low(scores), ci_low=low, ci_high=high)


def compare_all(
    scores: Mapping[str, Sequence[float | None]],
    margin: float,
    *,
    look: int = 1,
    resolution: float = 0.0,
    higher_is_better: bool = True,
    tests: int | None = None,
) -> list[Pair]:
    """Every pair of arms, each with its simultaneous interval, which decides the verdict.

    Equal if the interval lies within the margin; else better or worse if it excludes 0; else undecided. Bonferroni's
    correction over the pairs holds for any correlation of them. An arm that diverges more often is worse if a sign test
    says so (exact, corrected alike), and is never better or equal.

    Args:
        scores: arm -> one score per tuning, the same tunings in the same order; None if it diverged.
        margin: a smaller difference does not matter.
        look: as of `error_rate`.
        resolution: as of `interval`.
        higher_is_better: whether the higher of two scores is the better one.
        tests: the number of intervals that share the error rate; None for one per pair.

    Raises:
        ValueError: the arms have different numbers of scores.
    """
    if len({len(values) for values in scores.values()}) > 1:
        raise ValueError(
            f"each arm must have the same tunings, but got { ({name: len(s) for name, s in scores.items()}) }"
        )
    names = list(combinations(scores, 2))
    alpha = error_rate(look) / (tests or max(1, len(names)))
    sign = 1 if higher_is_better else -1
    return [_pair(a, b, scores, margin, alpha, resolution, sign) for a, b in names]


def _pair(
    a: str,
    b: str,
    scores: Mapping[str, Sequence[float | None]],
    margin: float,
    alpha: float,
    resolution: float,
    sign: int,
) -> Pair:
    rows = list(zip(scores[a], scores[b], strict=True))
    both = [(one, other) for one, other in rows if one is not None and other is not None]
    failed = sum(x is None and y is not None for x, y in rows), sum(y is None and x is not None for x, y in rows)
    differences = [one - other for one, other in both]
    low, high = interval(differences, alpha, resolution) or (None, None)
    p_value = None
    if low is not None:
        t = fmean(differences) / max(standard_error(differences, resolution), 1e-300)
        p_value = min(1.0, ALPHA / alpha * 2 * float(special.stdtr(len(differences) - 1, -abs(t))))
    pair = Pair(
        a=a,
        b=b,
        difference=fmean(differences) if both else math.nan,
        ci_low=low,
        ci_high=high,
        p_value=p_value,
        probability=_probability(both, sign) if both else math.nan,
        verdict="undecided",
        failed=failed,
    )
    return replace(pair, verdict=_verdict(pair, margin, alpha, sign))


def _probability(both: Sequence[tuple[float, float]], sign: int) -> float:
    a, b = np.transpose(both)
    return float(np.mean(np.sign(sign * (a[:, None] - b)) + 1)) / 2


def _verdict(pair: Pair, margin: float, alpha: float, sign: int) -> Verdict:
    a_failed, b_failed = pair.failed
    by_failures: Verdict = "undecided"
    # special.bdtr(k, n, p) is P(X <= k)
    if a_failed != b_failed and 2 * special.bdtr(min(pair.failed), sum(pair.failed), 0.5) < alpha:
        by_failures = "worse" if a_failed > b_failed else "better"
    if pair.ci_low is None or pair.ci_high is None:
        return by_failures
    if -margin < pair.ci_low and pair.ci_high < margin:
        return "equal" if a_failed == b_failed else by_failures
    if not pair.excludes_0:
        return by_failures
    better = sign * pair.difference > 0
    fails_more = a_failed > b_failed if better else b_failed > a_failed
    return "undecided" if fails_more else "better" if better else "worse"


def expected_best(values: Sequence[float]) -> list[float]:
    """The expected best value of k = 1 ... N of these N random trials, drawn without replacement.

    E[max of k] = sum over i of v_(i) C(i-1, k-1) / C(N, k), v_(1) <= ... <= v_(N).
    """
    ordered, n = sorted(values), len(values)
    return [
        sum(value * math.comb(i, k - 1) for i, value in enumerate(ordered)) / math.comb(n, k) for k in range(1, n + 1)
    ]


def performance_profile(times: Mapping[str, Sequence[float]], ratios: Sequence[float]) -> dict[str, list[float]]:
    """The share of workloads on which an arm is within a factor of the fastest one (Dolan and Moré 2002).

    Args:
        times: arm -> the time to reach the target on each workload; infinity if it was missed.
        ratios: the factors, each at least 1.
    """
    fastest = [min(column) for column in zip(*times.values(), strict=True)]
    return {
        name: [
            float(np.mean([t < math.inf and t <= ratio * best for t, best in zip(row, fastest, strict=True)]))
            for ratio in ratios
        ]
        for name, row in times.items()
    }


def profile_scores(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The area below each arm's performance profile from 1 to R_MAX, divided by R_MAX - 1.

    The formula of AlgoPerf's score (Dahl et al. 2023, arXiv 2306.07179), on other workloads and by other rules. The
    profile is a step function, so the area is exact: each workload adds the part of [1, R_MAX] above its ratio.
    """
    fastest = [min(column) for column in zip(*times.values(), strict=True)]

    def part(time: float, best: float) -> float:
        return 0.0 if time == math.inf else max(0.0, R_MAX - time / best) / (R_MAX - 1)

    return {
        name: float(np.mean([part(time, best) for time, best in zip(row, fastest, strict=True)]))
        for name, row in times.items()
    }
