"""Each statistic against SciPy, a brute count or a worked case; error rates over simulated comparisons."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from cnnlab.comparison.statistics import (
    FIRST_LOOK,
    LOOKS,
    compare_all,
    error_rate,
    expected_best,
    performance_profile,
    profile_scores,
    summarize,
)
from cnnlab.intervals import ALPHA, interval
from cnnlab.metrics import ACCURACY, LOSS

MARGIN = 0.002
IMAGE = 1 / 359
"""One image of the digits' test split."""
A = [0.912, 0.905, 0.921, 0.917, 0.909, 0.915, 0.922, 0.908, 0.913, 0.919]
B = [0.903, 0.907, 0.911, 0.904, 0.902, 0.913, 0.908, 0.9055, 0.9071, 0.9092]
C = [0.893, 0.917, 0.906, 0.889, 0.915, 0.912, 0.901, 0.9123, 0.9044, 0.8981]
DIVERGED = None


# intervals


def test_a_summary_is_numpys_and_scipys() -> None:
    found = summarize(A)
    assert (found.mean, found.std) == pytest.approx((np.mean(A), np.std(A, ddof=1)))
    expected = stats.t.interval(0.95, len(A) - 1, loc=np.mean(A), scale=stats.sem(A))
    assert (found.ci_low, found.ci_high) == pytest.approx(expected)


def test_a_median_is_a_score_that_occurred() -> None:
    assert summarize([0.1, 0.2, 0.4, 0.9]).median == 0.2
    assert summarize(A).median in A


@pytest.mark.parametrize("values", [[0.9], [0.9, 0.8]])
def test_fewer_than_three_scores_have_no_interval(values: list[float]) -> None:
    assert interval(values) is None
    assert (summarize(values).ci_low, summarize(values).ci_high) == (None, None)


def test_no_scores_are_no_sample() -> None:
    with pytest.raises(ValueError, match="no scores"):
        summarize([])


def test_an_interval_of_accuracies_ends_at_1_and_at_0() -> None:
    low, high = interval([0.99, 0.97, 1.0]) or (0, 0)
    assert high > 1
    assert summarize([0.99, 0.97, 1.0], bounds=ACCURACY.bounds).ci_high == 1
    assert interval([0.99, 0.97, 1.0], bounds=ACCURACY.bounds) == (low, 1)
    assert interval([0.01, 0.03, 0.0], bounds=ACCURACY.bounds) == pytest.approx((0, 1 - low))
    assert interval([0.99, 0.97, 1.0], bounds=LOSS.bounds) == (low, high)


def test_equal_scores_have_the_spread_of_rounding_to_an_image() -> None:
    low, high = interval([0.9] * 4, resolution=IMAGE) or (0, 0)
    rounding = IMAGE / math.sqrt(12) / math.sqrt(4)  # the standard deviation of a uniform error
    assert (high - low) / 2 == pytest.approx(stats.t.isf(0.025, 3) * rounding)


# pairs


def test_a_pair_of_arms_is_scipys_paired_t_test() -> None:
    (pair,) = compare_all({"a": A, "b": B}, MARGIN)
    test = stats.ttest_rel(A, B)
    ends = test.confidence_interval(1 - FIRST_LOOK)
    assert pair.difference == pytest.approx(np.mean(A) - np.mean(B))
    assert (pair.ci_low, pair.ci_high) == pytest.approx((ends.low, ends.high))
    assert pair.p_value == pytest.approx(test.pvalue * ALPHA / FIRST_LOOK)
    assert pair.verdict == "better"


def test_pairs_share_the_error_rate_by_bonferroni() -> None:
    scores = {"a": A, "b": B, "c": C}
    for pair in compare_all(scores, MARGIN):
        test = stats.ttest_rel(scores[pair.a], scores[pair.b])
        ends = test.confidence_interval(1 - FIRST_LOOK / 3)
        assert (pair.ci_low, pair.ci_high) == pytest.approx((ends.low, ends.high))
        assert pair.p_value == pytest.approx(min(1, 3 * test.pvalue * ALPHA / FIRST_LOOK))


@pytest.mark.parametrize("look", range(1, LOOKS + 1))
def test_interval_p_value_and_verdict_agree(look: int) -> None:
    rng = np.random.default_rng(look)
    verdicts = set()
    for effect in np.linspace(0, 0.02, 60):
        scores = {"a": rng.normal(0.9 + effect, 0.005, 8).tolist(), "b": rng.normal(0.9, 0.005, 8).tolist()}
        (pair,) = compare_all(scores, 0.0, look=look)
        assert pair.p_value is not None
        assert (pair.p_value <= ALPHA) == pair.excludes_0 == (pair.verdict in ("better", "worse"))
        verdicts.add(pair.verdict)
    assert {"better", "undecided"} <= verdicts


def test_a_lower_loss_is_the_better_one() -> None:
    (pair,) = compare_all({"a": A, "b": B}, MARGIN, higher_is_better=False)
    assert (pair.verdict, pair.difference > 0) == ("worse", True)
    assert pair.probability == pytest.approx(1 - compare_all({"a": A, "b": B}, MARGIN)[0].probability)


def test_equal_is_an_interval_inside_the_margin() -> None:
    near = [a + 0.0001 * (-1) ** i for i, a in enumerate(A)]
    (pair,) = compare_all({"a": A, "b": near}, MARGIN)
    assert pair.ci_low is not None
    assert pair.ci_high is not None
    assert -MARGIN < pair.ci_low < pair.ci_high < MARGIN
    assert pair.verdict == "equal"
    (strict,) = compare_all({"a": A, "b": near}, pair.ci_high)
    assert strict.verdict == "undecided"


def test_the_same_mean_to_the_image_is_tied() -> None:
    (pair,) = compare_all({"a": [0.5, 0.6, 0.7], "b": [0.7, 0.6, 0.5]}, MARGIN)
    assert pair.tied
    assert not compare_all({"a": [0.5, 0.6, 0.7], "b": [0.7, 0.6, 0.5 + IMAGE]}, MARGIN)[0].tied


def test_equal_scores_are_not_equal_within_less_than_an_image() -> None:
    """Four tunings with the same count of right images do not prove that the arms are equal to a tenth of an image."""
    same = {"a": [0.9] * 4, "b": [0.9] * 4}
    assert compare_all(same, IMAGE / 10, resolution=IMAGE)[0].verdict == "undecided"
    assert compare_all(same, IMAGE, resolution=IMAGE)[0].verdict == "equal"


def test_two_tunings_claim_nothing() -> None:
    (pair,) = compare_all({"a": [0.9, 0.91], "b": [0.1, 0.11]}, MARGIN)
    assert (pair.ci_low, pair.ci_high, pair.p_value) == (None, None, None)
    assert pair.verdict == "undecided"


def test_the_probability_that_one_beats_the_other_counts_all_pairs_of_scores() -> None:
    (pair,) = compare_all({"a": [0.1, 0.2, 0.3], "b": [0.2, 0.0, 0.5]}, MARGIN)
    counted = [(x > y) + 0.5 * (x == y) for x in (0.1, 0.2, 0.3) for y in (0.2, 0.0, 0.5)]
    assert pair.probability == pytest.approx(np.mean(counted))


def test_arms_that_do_not_have_the_same_tunings_are_refused() -> None:
    with pytest.raises(ValueError, match="the same tunings"):
        compare_all({"a": [0.1, 0.2], "b": [0.1]}, MARGIN)


# trainings that diverged


def test_a_diverged_score_is_left_out_of_the_difference_and_counted() -> None:
    (pair,) = compare_all({"a": [DIVERGED, *A[1:]], "b": B}, MARGIN)
    assert pair.difference == pytest.approx(np.mean(A[1:]) - np.mean(B[1:]))
    assert pair.failed == (1, 0)


def test_an_arm_that_fails_more_often_is_worse_by_a_sign_test() -> None:
    """Eight failures of one arm alone have p = 2 / 2^8 = 0.8 %, four have 12.5 %."""
    (pair,) = compare_all({"a": [DIVERGED] * 8, "b": B[:8]}, MARGIN)
    assert (pair.verdict, pair.failed) == ("worse", (8, 0))
    assert math.isnan(pair.difference)
    (mirrored,) = compare_all({"b": B[:8], "a": [DIVERGED] * 8}, MARGIN)
    assert mirrored.verdict == "better"
    (few,) = compare_all({"a": [*[DIVERGED] * 4, *B[4:8]], "b": B[:8]}, MARGIN)
    assert few.verdict == "undecided", "not equal either"


def test_an_arm_that_fails_more_often_is_never_better() -> None:
    higher = [b + 0.05 + 0.001 * (-1) ** i for i, b in enumerate(B)]
    assert compare_all({"a": higher, "b": B}, MARGIN)[0].verdict == "better"
    (pair,) = compare_all({"a": [DIVERGED, *higher[1:]], "b": B}, MARGIN)
    assert pair.excludes_0
    assert pair.verdict == "undecided"


def test_failures_of_both_arms_together_decide_nothing() -> None:
    higher = [b + 0.05 + 0.001 * (-1) ** i for i, b in enumerate(B)]
    (pair,) = compare_all({"a": [DIVERGED, *higher[1:]], "b": [DIVERGED, *B[1:]]}, MARGIN)
    assert (pair.failed, pair.verdict) == ((0, 0), "better")


# error rates


def test_the_looks_share_less_than_five_percent() -> None:
    """The rest is for scores that are not normal."""
    assert sum(error_rate(look) for look in range(1, LOOKS + 1)) == pytest.approx(0.03)


def simulated(rng: np.random.Generator, *means: float, tunings: int, std: float = 0.005) -> dict[str, list[float]]:
    """Scores of arms that share a part of the luck of each tuning."""
    shared = rng.normal(0, std / 2, tunings)
    return {f"arm {i}": (shared + rng.normal(mean, std, tunings)).tolist() for i, mean in enumerate(means)}


@pytest.mark.parametrize("arms", [2, 4])
def test_equal_arms_are_seldom_told_apart_over_all_pairs(arms: int) -> None:
    """At 2.5 %, a first look errs in at most 7 of 150 comparisons with 95 %."""
    rng = np.random.default_rng(0)
    wrong = sum(
        any(pair.excludes_0 for pair in compare_all(simulated(rng, *[0.9] * arms, tunings=5), MARGIN))
        for _ in range(150)
    )
    assert wrong <= 7


def test_more_tunings_until_there_is_a_verdict_err_in_five_percent_at_most() -> None:
    """Six looks at 300 comparisons of equal arms; 21 is the 95 % bound for 5 %."""
    rng = np.random.default_rng(1)
    tunings = (3, 5, 8, 12, 16, 24)
    wrong = each = 0
    for _ in range(300):
        differences = np.subtract(*simulated(rng, 0.9, 0.9, tunings=tunings[-1]).values()).tolist()
        looks = list(enumerate(tunings, start=1))
        wrong += any(_excludes_0(interval(differences[:n], error_rate(look))) for look, n in looks)
        each += any(_excludes_0(interval(differences[:n])) for _, n in looks)
    assert wrong <= 21
    assert each > 2 * 15, "the simulation notices looks that cost nothing"


def _excludes_0(ends: tuple[float, float] | None) -> bool:
    return ends is not None and not ends[0] <= 0 <= ends[1]


def test_a_difference_of_two_standard_deviations_is_found() -> None:
    rng = np.random.default_rng(2)
    found = sum(compare_all(simulated(rng, 0.91, 0.9, tunings=8), MARGIN)[0].verdict == "better" for _ in range(200))
    assert found >= 150


# several trials, several workloads


def test_the_expected_best_is_the_mean_over_all_subsets() -> None:
    values = [0.3, 0.9, 0.5, 0.7, 0.1]
    for k, found in enumerate(expected_best(values), start=1):
        assert found == pytest.approx(np.mean([max(subset) for subset in itertools.combinations(values, k)]))


def test_a_performance_profile_on_a_worked_case() -> None:
    times = {"a": [1.0, 2.0], "b": [2.0, 2.0], "c": [math.inf, 8.0]}
    assert performance_profile(times, [1.0, 2.0, 4.0]) == {"a": [1, 1, 1], "b": [0.5, 1, 1], "c": [0, 0, 0.5]}
    assert profile_scores(times) == pytest.approx({"a": 1.0, "b": (2 / 3 + 1) / 2, "c": 0.0})


def test_a_profiles_score_is_its_area() -> None:
    times = {"a": [1.0, 3.0, 10.0], "b": [2.5, 1.0, math.inf], "c": [1.3, 3.9, 9.0]}
    ratios = np.linspace(1, 4, 30_001)
    areas = {
        name: float(np.trapezoid(profile, ratios)) / 3 for name, profile in performance_profile(times, ratios).items()
    }
    assert profile_scores(times) == pytest.approx(areas, abs=1e-3)
