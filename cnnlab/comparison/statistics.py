"""Statistics of scores over seeds: intervals, paired tests, verdicts, and scores over several workloads.

There is one score per seed. Both arms of a pair have the same seeds, in the same order.
"""

import math
import warnings
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal, TypeAlias

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

ALPHA = 0.05
POWER = 0.8
"""`seeds_to_decide` gives the number of seeds with which the tests have this power."""
LEAST_SEEDS = 5
"""With fewer seeds, no pair gets a verdict."""
RESAMPLES = 9999
MOST_SEEDS = 1000
"""`seeds_to_decide` reports no larger number."""
R_MAX = 4.0
"""A performance profile ends at this factor of the fastest time."""

Verdict: TypeAlias = Literal["better", "worse", "equal", "undecided"]


@dataclass(frozen=True)
class Summary:
    """Statistics of one arm's scores."""

    mean: float
    std: float
    """The sample standard deviation; 0 for one score."""
    median: float
    ci_low: float
    ci_high: float
    """95 % bootstrap interval of the mean, by percentiles (Efron 1979)."""


@dataclass(frozen=True)
class Pair:
    """Arm `a` against arm `b`, seed by seed."""

    a: str
    b: str
    difference: float
    """Mean of a - b."""
    ci_low: float
    ci_high: float
    """95 % paired bootstrap interval of the difference."""
    probability: float
    """P(A > B): that a has the better score, over all pairs of scores. A tie counts half (Agarwal et al. 2021,
    arXiv 2108.13264)."""
    p_t: float | None
    """Of the paired t test, corrected over the pairs; None if there are fewer than LEAST_SEEDS seeds."""
    p_wilcoxon: float | None
    """Of the exact signed-rank test, corrected; None if even its smallest p-value would not be significant."""
    p_equal: float | None
    """Of two one-sided t tests against a difference of the margin (Schuirmann 1987)."""
    verdict: Verdict
    """Of `a`."""
    seeds_to_decide: int | None
    """Of an undecided pair, if mean and spread stay as they are; None if it is more than MOST_SEEDS."""

    @property
    def p_value(self) -> float | None:
        """The larger p-value of the two tests, which decides the verdict; None if there is neither."""
        return max((p for p in (self.p_t, self.p_wilcoxon) if p is not None), default=None)


def summarize(scores: Sequence[float]) -> Summary:
    """Mean, spread and interval. Raises ValueError if there is no score."""
    if not scores:
        raise ValueError("no scores")
    low, high = bootstrap_interval(scores)
    std = float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
    return Summary(mean=float(np.mean(scores)), std=std, median=float(np.median(scores)), ci_low=low, ci_high=high)


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean; if all values are the same, both ends are that value."""
    if len(set(values)) == 1:
        return float(values[0]), float(values[0])
    rng = np.random.default_rng(0)
    result = stats.bootstrap((np.asarray(values),), np.mean, n_resamples=RESAMPLES, method="percentile", rng=rng)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def compare_all(scores: Mapping[str, Sequence[float]], margin: float, *, higher_is_better: bool = True) -> list[Pair]:
    """Every pair of arms, with Holm's correction over the pairs (Holm 1979).

    A pair is better or worse if the paired t test is significant and, if there are enough seeds for it, the exact
    Wilcoxon test too. A pair is equal if both one-sided tests put the difference within the margin, even if the other
    tests are significant.

    Args:
        scores: arm -> one score per seed, the same seeds in the same order.
        margin: a smaller difference does not matter.
        higher_is_better: whether the higher of two scores is the better one.

    Raises:
        ValueError: the arms have different numbers of scores.
    """
    if len({len(values) for values in scores.values()}) > 1:
        raise ValueError(
            f"each arm must have the same seeds, but got { ({name: len(s) for name, s in scores.items()}) }"
        )
    names = list(combinations(scores, 2))
    pairs = [_pair(a, b, scores[a], scores[b], margin) for a, b in names]
    t = _holm([pair.p_t for pair in pairs])
    wilcoxon = _holm([pair.p_wilcoxon for pair in pairs])
    if pairs and least_p_value(len(scores[names[0][0]])) * len(pairs) > ALPHA:
        wilcoxon = [None] * len(pairs)
    corrected = [replace(pair, p_t=p, p_wilcoxon=w) for pair, p, w in zip(pairs, t, wilcoxon, strict=True)]
    judged = [_judged(pair, scores[pair.a], scores[pair.b], margin, len(pairs)) for pair in corrected]
    return judged if higher_is_better else [_turned(pair) for pair in judged]


def _turned(pair: Pair) -> Pair:
    """The pair if the lower score is the better one; the difference stays a - b."""
    turned: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}
    return replace(pair, probability=1 - pair.probability, verdict=turned.get(pair.verdict, pair.verdict))


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


def algoperf_scores(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The area below each arm's performance profile from 1 to R_MAX, divided by R_MAX - 1.

    AlgoPerf's score (Dahl et al. 2023, arXiv 2306.07179). The profile is a step function, so the area is exact: each
    workload adds the part of [1, R_MAX] above its ratio.
    """
    fastest = [min(column) for column in zip(*times.values(), strict=True)]

    def part(time: float, best: float) -> float:
        return 0.0 if time == math.inf else max(0.0, R_MAX - time / best) / (R_MAX - 1)

    return {
        name: float(np.mean([part(time, best) for time, best in zip(row, fastest, strict=True)]))
        for name, row in times.items()
    }


def share_near_best(positions: Sequence[float], values: Sequence[float], within: float) -> float:
    """The share of a range in which the value is at most `within` below the best, interpolated linearly.

    Args:
        positions: where in the range each value lies, in [0, 1].
        values: one per position.
    """
    order = np.argsort(positions)
    grid = np.linspace(0, 1, 1001)
    curve = np.interp(grid, np.asarray(positions)[order], np.asarray(values)[order])
    return float(np.mean(curve >= max(values) - within))


def _pair(a: str, b: str, scores_a: Sequence[float], scores_b: Sequence[float], margin: float) -> Pair:
    """The pair with p-values that are not corrected yet."""
    differences = [one - other for one, other in zip(scores_a, scores_b, strict=True)]
    low, high = bootstrap_interval(differences)
    more = stats.mannwhitneyu(scores_a, scores_b).statistic / (len(scores_a) * len(scores_b))
    enough = len(differences) >= LEAST_SEEDS
    return Pair(
        a=a,
        b=b,
        difference=float(np.mean(differences)),
        ci_low=low,
        ci_high=high,
        probability=float(more),
        p_t=_t_test(differences) if enough else None,
        p_wilcoxon=_wilcoxon(differences) if enough else None,
        p_equal=_equivalence(differences, margin) if enough else None,
        verdict="undecided",
        seeds_to_decide=None,
    )


def _t_test(differences: Sequence[float]) -> float:
    """The two-sided p-value. If all differences are the same, there is no spread: 1 if they are 0, else 0."""
    if len(set(differences)) == 1:
        return 1.0 if differences[0] == 0 else 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nearly identical data
        return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _wilcoxon(differences: Sequence[float]) -> float:
    """The exact p-value; if there are ties or zeros, by a permutation test over all signs (a sample of them for many
    seeds)."""
    if not any(differences):
        return 1.0
    sizes = [abs(difference) for difference in differences]
    if 0 not in sizes and len(set(sizes)) == len(sizes):
        return float(stats.wilcoxon(differences, method="exact").pvalue)
    method = stats.PermutationMethod(n_resamples=2**13, rng=np.random.default_rng(0))
    return float(stats.wilcoxon(differences, method=method).pvalue)


def least_p_value(seeds: int) -> float:
    """The smallest p-value of the exact two-sided signed-rank test; all differences have the same sign then."""
    return float(2.0 ** (1 - seeds))


def _equivalence(differences: Sequence[float], margin: float) -> float:
    if len(set(differences)) == 1:
        return 0.0 if abs(differences[0]) < margin else 1.0
    return float(ttost_paired(np.asarray(differences), np.zeros(len(differences)), -margin, margin)[0])


def _holm(values: Sequence[float | None]) -> list[float | None]:
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return [None] * len(values)
    return [float(p) for p in multipletests(known, ALPHA, method="holm")[1]]


def _judged(pair: Pair, scores_a: Sequence[float], scores_b: Sequence[float], margin: float, pairs: int) -> Pair:
    if pair.p_equal is not None and pair.p_equal < ALPHA:
        return replace(pair, verdict="equal")
    if pair.p_value is not None and pair.p_value < ALPHA:
        return replace(pair, verdict="better" if pair.difference > 0 else "worse")
    differences = [one - other for one, other in zip(scores_a, scores_b, strict=True)]
    return replace(pair, seeds_to_decide=seeds_to_decide(differences, margin, pairs))


def seeds_to_decide(differences: Sequence[float], margin: float, pairs: int = 1) -> int | None:
    """The number of seeds with which the tests have POWER to decide a pair with this mean and spread.

    Either the t test finds the difference, or the one-sided tests put it within the margin: the smaller number of the
    two. None if it is more than MOST_SEEDS.
    """
    if len(differences) < 2 or len(set(differences)) == 1:
        return LEAST_SEEDS if len(differences) < LEAST_SEEDS else None
    mean, std = abs(float(np.mean(differences))), float(np.std(differences, ddof=1))
    needed = [_seeds_for(mean / std, ALPHA / pairs, "two-sided")]
    if mean < margin:  # of the two one-sided tests, the one of the nearer margin decides
        needed.append(_seeds_for((margin - mean) / std, ALPHA, "larger"))
    seeds = min(needed)
    return max(LEAST_SEEDS, len(differences) + 1, int(seeds)) if seeds <= MOST_SEEDS else None


def _seeds_for(effect: float, alpha: float, alternative: str) -> float:
    """The fewest seeds with which a t test finds the effect with POWER; infinity if it is more than MOST_SEEDS."""
    test = TTestPower()
    seeds = range(2, MOST_SEEDS + 1)
    # the power of a very large effect is computed as nan
    enough = bisect_left(seeds, True, key=lambda n: not test.power(effect, n, alpha, alternative=alternative) < POWER)
    return seeds[enough] if enough < len(seeds) else math.inf
