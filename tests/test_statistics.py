"""Each statistic against SciPy, a brute count or a worked case; verdicts over simulated comparisons."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from cnnlab.comparison.statistics import (
    MOST_SEEDS,
    algoperf_scores,
    bootstrap_interval,
    compare_all,
    expected_best,
    performance_profile,
    seeds_to_decide,
    share_near_best,
    summarize,
)

MARGIN = 0.002
A = [0.912, 0.905, 0.921, 0.917, 0.909, 0.915, 0.922, 0.908, 0.913, 0.919]
B = [0.903, 0.907, 0.911, 0.904, 0.902, 0.913, 0.908, 0.9055, 0.9071, 0.9092]
C = [0.893, 0.917, 0.906, 0.889, 0.915, 0.912, 0.901, 0.9123, 0.9044, 0.8981]


def simulated(seed: int, *means: float, seeds: int = 10, std: float = 0.005) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    return {f"arm {i}": rng.normal(mean, std, seeds).tolist() for i, mean in enumerate(means)}


def test_a_summary_is_numpys() -> None:
    found = summarize(A)
    assert (found.mean, found.std, found.median) == pytest.approx((np.mean(A), np.std(A, ddof=1), np.median(A)))


def test_the_bootstrap_interval_is_that_of_resampled_means() -> None:
    rng = np.random.default_rng(1)
    means = rng.choice(A, (20_000, len(A))).mean(axis=1)
    assert bootstrap_interval(A) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=2e-4)
    assert bootstrap_interval([0.5, 0.5]) == (0.5, 0.5)


def test_a_pairs_tests_are_scipys() -> None:
    (pair,) = compare_all({"a": A, "b": B}, MARGIN)
    assert pair.difference == pytest.approx(np.mean(A) - np.mean(B))
    assert pair.p_t == pytest.approx(stats.ttest_rel(A, B).pvalue)
    assert pair.p_wilcoxon == pytest.approx(stats.wilcoxon(A, B, method="exact").pvalue)
    assert pair.p_value == max(pair.p_t or 0, pair.p_wilcoxon or 0)


def test_the_equivalence_test_is_the_worse_of_two_one_sided_ones() -> None:
    (pair,) = compare_all({"a": A, "b": B}, MARGIN)
    differences = np.subtract(A, B)
    low = stats.ttest_1samp(differences, -MARGIN, alternative="greater").pvalue
    high = stats.ttest_1samp(differences, MARGIN, alternative="less").pvalue
    assert pair.p_equal == pytest.approx(max(low, high))


def test_wilcoxon_with_ties_and_zeros_is_a_count_over_all_signs() -> None:
    a = [0.5, 0.6, 0.7, 0.8, 0.75, 0.65, 0.55, 0.61]
    differences = [0.0, 0.01, 0.01, 0.02, -0.01, 0.03, 0.02, 0.04]
    (pair,) = compare_all({"a": a, "b": [x - d for x, d in zip(a, differences, strict=True)]}, MARGIN)
    rounded = [x - (x - d) for x, d in zip(a, differences, strict=True)]
    ranks = stats.rankdata(np.abs([d for d in rounded if d != 0]))
    observed = sum(rank * np.sign(d) for rank, d in zip(ranks, [d for d in rounded if d != 0], strict=True))
    sums = [
        sum(rank * s for rank, s in zip(ranks, signs, strict=True)) for signs in itertools.product((-1, 1), repeat=7)
    ]
    assert pair.p_wilcoxon == pytest.approx(np.mean(np.abs(sums) >= abs(observed) - 1e-9))


def test_holm_corrects_over_the_pairs() -> None:
    single = [compare_all({x: s, y: t}, MARGIN)[0].p_t or 0.0 for (x, s), (y, t) in _pairs()]
    together = [pair.p_t for pair in compare_all({"a": A, "b": B, "c": C}, MARGIN)]
    smallest, middle, largest = sorted(single)
    stepped = np.maximum.accumulate([3 * smallest, 2 * middle, largest])
    assert sorted(p or 0 for p in together) == pytest.approx(stepped.tolist())


def _pairs() -> list[tuple[tuple[str, list[float]], tuple[str, list[float]]]]:
    return list(itertools.combinations({"a": A, "b": B, "c": C}.items(), 2))


def test_the_probability_that_one_beats_the_other_counts_all_pairs_of_scores() -> None:
    (pair,) = compare_all({"a": [0.1, 0.2, 0.3], "b": [0.2, 0.0, 0.5]}, MARGIN)
    counted = [(x > y) + 0.5 * (x == y) for x in (0.1, 0.2, 0.3) for y in (0.2, 0.0, 0.5)]
    assert pair.probability == pytest.approx(np.mean(counted))


def test_few_seeds_claim_nothing() -> None:
    (pair,) = compare_all({"a": [0.9, 0.91, 0.92], "b": [0.1, 0.11, 0.12]}, MARGIN)
    assert (pair.p_t, pair.p_wilcoxon, pair.p_value) == (None, None, None)
    assert pair.verdict == "undecided"
    assert pair.seeds_to_decide == 5


def test_five_seeds_have_no_wilcoxon_but_a_t_test() -> None:
    """The least that five differences can give is 2 / 2^5 = 0.0625."""
    (pair,) = compare_all({"a": A[:5], "b": [x - 0.1 for x in B[:5]]}, MARGIN)
    assert pair.p_wilcoxon is None
    assert pair.p_t is not None
    assert pair.verdict == "better"


def test_arms_that_do_not_have_the_same_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="the same seeds"):
        compare_all({"a": [0.1, 0.2], "b": [0.1]}, MARGIN)


@pytest.fixture
def _many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what costs time and has no part in a verdict: wide intervals, and statsmodels' collection of garbage."""
    monkeypatch.setattr("cnnlab.comparison.statistics.RESAMPLES", 99)
    monkeypatch.setattr("gc.collect", lambda: 0)


@pytest.mark.usefixtures("_many_times")
def test_the_same_optimizer_twice_is_seldom_called_different() -> None:
    wrong = sum(
        any(pair.verdict in ("better", "worse") for pair in compare_all(simulated(seed, 0.9, 0.9), MARGIN))
        for seed in range(200)
    )
    assert wrong <= 10


@pytest.mark.usefixtures("_many_times")
def test_of_three_names_for_the_same_none_is_often_called_better() -> None:
    wrong = sum(
        any(pair.verdict in ("better", "worse") for pair in compare_all(simulated(seed, 0.9, 0.9, 0.9), MARGIN))
        for seed in range(1000, 1200)
    )
    assert wrong <= 10


@pytest.mark.usefixtures("_many_times")
def test_a_difference_of_two_standard_deviations_is_found() -> None:
    found = sum(compare_all(simulated(seed, 0.91, 0.9), MARGIN)[0].verdict == "better" for seed in range(200))
    assert found >= 180


def test_equal_means_within_the_margin() -> None:
    (pair,) = compare_all(simulated(3, 0.9, 0.9, std=0.0005), MARGIN)
    assert pair.verdict == "equal"
    (same,) = compare_all({"a": A, "b": A}, MARGIN)
    assert same.verdict == "equal"


def test_an_undecided_pair_says_how_many_seeds_would_decide() -> None:
    scores = simulated(8, 0.9035, 0.9, seeds=6)
    (pair,) = compare_all(scores, MARGIN)
    assert pair.verdict == "undecided"
    needed = pair.seeds_to_decide
    assert needed is not None
    effect = pair.difference / np.std(np.subtract(*scores.values()), ddof=1)
    assert _power(effect, needed) >= 0.8 > _power(effect, needed - 1)


def _power(effect: float, seeds: int) -> float:
    """Of a two-sided t test, by SciPy's noncentral t distribution."""
    critical = stats.t.ppf(0.975, seeds - 1)
    shift = abs(effect) * math.sqrt(seeds)
    return float(stats.nct.sf(critical, seeds - 1, shift) + stats.nct.cdf(-critical, seeds - 1, shift))


def test_a_difference_near_the_margin_is_out_of_reach() -> None:
    differences = simulated(0, 0.0, seeds=10, std=1.0)["arm 0"]
    assert seeds_to_decide([0.0001 + 0.01 * d for d in np.subtract(differences, np.mean(differences))], 0.00011) is None
    assert MOST_SEEDS == 1000


def test_the_expected_best_is_the_mean_over_all_subsets() -> None:
    values = [0.3, 0.9, 0.5, 0.7, 0.1]
    for k, found in enumerate(expected_best(values), start=1):
        assert found == pytest.approx(np.mean([max(subset) for subset in itertools.combinations(values, k)]))


def test_algoperf_on_a_worked_case() -> None:
    times = {"a": [1.0, 2.0], "b": [2.0, 2.0], "c": [math.inf, 8.0]}
    assert performance_profile(times, [1.0, 2.0, 4.0]) == {"a": [1, 1, 1], "b": [0.5, 1, 1], "c": [0, 0, 0.5]}
    assert algoperf_scores(times) == pytest.approx({"a": 1.0, "b": (2 / 3 + 1) / 2, "c": 0.0})


def test_algoperfs_score_is_the_area_of_the_profile() -> None:
    times = {"a": [1.0, 3.0, 10.0], "b": [2.5, 1.0, math.inf], "c": [1.3, 3.9, 9.0]}
    ratios = np.linspace(1, 4, 30_001)
    areas = {
        name: float(np.trapezoid(profile, ratios)) / 3 for name, profile in performance_profile(times, ratios).items()
    }
    assert algoperf_scores(times) == pytest.approx(areas, abs=1e-3)


def test_the_share_of_a_range_near_its_best() -> None:
    assert share_near_best([0, 0.5, 1], [0.9, 0.9, 0.9], within=0.01) == 1
    assert share_near_best([1, 0, 0.5], [0.8, 0.8, 0.9], within=0.05) == pytest.approx(0.5, abs=0.01)
