"""Judging a comparison from scores alone: claims, ranks, targets, and warnings of what the tuning may have done."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cnnlab.comparison.figures import band, curves_figure
from cnnlab.comparison.report import arm_table, markdown, scores_over, verdicts_json, write_report
from cnnlab.comparison.verdicts import (
    ArmResult,
    Final,
    ToTarget,
    Tried,
    Tuning,
    best_so_far,
    claim_words,
    edge_warning,
    judge,
    sentence,
)
from cnnlab.config.arms import contains
from cnnlab.metrics import ACCURACY
from cnnlab.search.slots import CurvePoint
from tests.pages import check_page

MARGIN = 0.002
IMAGE = 1 / 359
judged = partial(judge, score=ACCURACY)
CURVE = (CurvePoint(10, 0.5, 1.0, 0.5), CurvePoint(20, 0.5, 0.5, 0.8), CurvePoint(30, 0.5, 0.3, 0.9))
TRIALS = (0.7, 0.8, 0.6, 0.9, 0.85)


def tried(values: Sequence[float | None]) -> tuple[Tried, ...]:
    """Trial 0 has the defaults; the others lie in the order of their learning rates."""
    return tuple(
        Tried(value, 10.0 ** (i - 4), None if i == 0 else i / 5, untuned=i == 0, diverged=value is None)
        for i, value in enumerate(values)
    )


def arm(
    name: str,
    mean: float,
    *,
    tunings: int = 8,
    seeds: int = 1,
    std: float = 0.001,
    values: Sequence[float | None] = TRIALS,
    curve: tuple[CurvePoint, ...] = CURVE,
) -> ArmResult:
    rng = np.random.default_rng(sum(map(ord, name)))
    rows = []
    for number in range(tunings):
        finals = tuple(Final(seed, mean + std * rng.standard_normal(), curve) for seed in range(seeds))
        rows.append(Tuning(number, tried(values), 3, {"optimizer.lr": 0.1}, finals, finals))
    return ArmResult(name, tuple(rows))


def with_scores(one: ArmResult, scores: Sequence[float | None]) -> ArmResult:
    """An arm whose tunings have these scores; None is a final that diverged."""
    tunings = [
        replace(
            tuning, finals=(Final(0, 0.0, diverged=True) if score is None else replace(tuning.finals[0], score=score),)
        )
        for tuning, score in zip(one.tunings, scores, strict=True)
    ]
    return replace(one, tunings=tuple(tunings))


# claims


def test_arms_are_ranked_by_their_mean_and_told_apart() -> None:
    found = judged("optimizer", [arm("sgd", 0.88), arm("adam", 0.9)], MARGIN)
    assert found.ranking == ["adam", "sgd"]
    assert [(pair.a, pair.b, pair.verdict) for pair in found.pairs] == [("adam", "sgd", "better")]
    lead = 100 * found.pairs[0].difference
    assert sentence(found) == f"adam has the best mean; it is better than sgd (by {lead:.2f} points)"


def test_three_tunings_make_a_claim_about_the_optimizers_whose_sample_is_the_tunings() -> None:
    arms = [arm("sgd", 0.88, tunings=3, seeds=4), arm("adam", 0.9, tunings=3, seeds=4)]
    found = judged("optimizer", arms, MARGIN)
    assert (found.claim, found.unit_words) == ("optimizers", "3 tunings")
    means = [np.mean([final.score for final in tuning.finals]) for tuning in arms[1].tunings]
    assert found.summaries["adam"].mean == pytest.approx(np.mean(means))
    assert found.summaries["adam"].std == pytest.approx(np.std(means, ddof=1))
    assert "about two optimizers, tuned in this way: the sample is 3 tunings" in claim_words(found)


@pytest.mark.parametrize("tunings", [1, 2])
def test_fewer_tunings_make_a_claim_about_these_settings_whose_sample_is_the_seeds(tunings: int) -> None:
    found = judged(
        "optimizer", [arm(n, m, tunings=tunings, seeds=5) for n, m in (("sgd", 0.88), ("adam", 0.9))], MARGIN
    )
    assert (found.claim, found.units) == ("settings", 5 * tunings)
    assert sentence(found).endswith("; each verdict is about these two settings")
    assert "not about the optimizers" in claim_words(found)
    assert "| verdict on these two settings |" in markdown(found)
    object_ = verdicts_json(found)
    assert (object_["claim"], object_["pairs"][0]["claim"]) == ("settings", "settings")


def test_too_few_values_are_said_to_be_too_few() -> None:
    few = [arm(name, mean, tunings=1, seeds=2) for name, mean in (("sgd", 0.88), ("adam", 0.9))]
    found = judged("optimizer", few, MARGIN)
    assert sentence(found) == (
        "adam has the best mean, but 2 seeds are too few to claim anything; at least 3 are needed"
    )
    assert verdicts_json(found)["optimizers"][0]["ci_low"] is None
    assert "| none |" in markdown(found), "no interval of the pair"


def test_the_same_count_of_images_is_tied() -> None:
    scores = [0.9, 0.91, 0.92, 0.9]
    found = judged("optimizer", [with_scores(arm(n, 0.9, tunings=4), scores) for n in ("sgd", "adam")], MARGIN)
    assert sentence(found).startswith("sgd and adam are tied for the best mean; it is equal to adam within")
    assert "equal (tied)" in markdown(found)


def test_a_margin_is_at_least_an_image_of_the_test_split() -> None:
    arms = [arm("sgd", 0.88), arm("adam", 0.9)]
    assert judged("optimizer", arms, MARGIN, resolution=IMAGE).margin == IMAGE
    assert judged("optimizer", arms, MARGIN, resolution=1e-4).margin == MARGIN


def test_arms_not_shown_to_be_worse_than_the_best() -> None:
    arms = [arm("sgd", 0.8), arm("adam", 0.9), arm("nadam", 0.9001, std=0.003)]
    found = judged("optimizer", arms, MARGIN)
    assert sorted(found.not_worse) == ["adam", "nadam"]
    assert set(verdicts_json(found)["not_worse"]) == {"adam", "nadam"}


def test_a_tuning_that_one_arm_lacks_is_left_out_of_the_pairs() -> None:
    short = arm("sgd", 0.88)
    short = replace(short, tunings=(*short.tunings[:6], *(replace(t, finals=()) for t in short.tunings[6:])))
    found = judged("optimizer", [short, arm("adam", 0.9)], MARGIN)
    assert found.units == 6
    assert "adam: trainings without a partner were left out of the pairs; the same command goes on" in found.warnings


def test_beyond_six_looks_the_error_rate_is_not_said_to_hold() -> None:
    arms = [arm("sgd", 0.88), arm("adam", 0.9)]
    assert not any("look" in text for text in judged("optimizer", arms, MARGIN, look=6).warnings)
    assert any(
        "look 7; the error rate of 5 % holds for 6 looks" in t for t in judged("o", arms, MARGIN, look=7).warnings
    )


# trainings that diverged


def test_a_diverged_final_is_no_zero_in_a_mean() -> None:
    scores: list[float | None] = [0.9, None, 0.91, 0.92, 0.9, 0.91, 0.9, 0.9]
    bad = with_scores(arm("sgd", 0.9, values=(0.7, None, None, 0.9)), scores)
    assert (bad.infeasible, bad.failed) == (8 * 2 + 1, 1)
    found = judged("optimizer", [bad, arm("adam", 0.8)], MARGIN)
    assert found.summaries["sgd"].mean == pytest.approx(np.mean([s for s in scores if s is not None]))
    assert found.warnings[0] == "sgd: 1 of 8 finals diverged; its mean is that of the others"
    assert arm_table(found)[1][0][2] == "16 trials, 1 of 8 finals"
    assert verdicts_json(found)["optimizers"][0]["failed"] == 1 / 8
    assert found.pairs[0].failed == (1, 0)
    assert found.pairs[0].verdict == "undecided", "it fails more often, so its lead of 10 points is no verdict"


def test_an_arm_whose_finals_all_diverged_is_worse_than_the_others(tmp_path: Path) -> None:
    broken = with_scores(arm("sgd", 0.9), [None] * 8)
    found = judged("optimizer", [broken, arm("adam", 0.8)], MARGIN)
    assert found.ranking == ["adam", "sgd"]
    assert sentence(found) == "adam has the best mean; it is better than sgd (fewer of its trainings diverged)"
    assert "| adam - sgd | none | none | none | none | better |" in markdown(found)
    assert "pairs.png" in {path.name for path in write_report(found, tmp_path)}
    assert json.loads((tmp_path / "compare.json").read_text())["pairs"][0]["difference"] is None


def test_an_arm_without_a_final_is_ranked_last_and_in_no_pair() -> None:
    nothing = ArmResult("sgd", (Tuning(0, tried([None]), None, {}, (), ()),))
    found = judged("optimizer", [nothing, arm("adam", 0.9), arm("nadam", 0.8)], MARGIN)
    assert found.ranking == ["adam", "nadam", "sgd"]
    assert len(found.pairs) == 1
    assert any(text.startswith("sgd: no trial was trained to its end") for text in found.warnings)
    assert verdicts_json(found)["optimizers"][2]["mean"] is None


# warnings


def test_a_final_at_chance_level_is_reported() -> None:
    unlucky = with_scores(arm("sgd", 0.9), [0.103, *[0.9] * 7])
    arms = [unlucky, arm("adam", 0.9)]
    found = judged("optimizer", arms, MARGIN, resolution=IMAGE, chance=0.1)
    assert "sgd: 1 of 8 finals are at chance level (0.103), which lowers its mean" in found.warnings
    assert not any("chance" in text for text in judged("optimizer", arms, MARGIN, resolution=IMAGE).warnings)
    above = with_scores(arm("sgd", 0.9), [0.2, *[0.9] * 7])
    assert not any("chance" in t for t in judged("o", [above, arms[1]], MARGIN, resolution=IMAGE, chance=0.1).warnings)


def test_a_target_at_chance_level_is_reported() -> None:
    arms = [arm("broken", 0.5, curve=(CurvePoint(10, 0.5, 3.0, 0.12),)), arm("adam", 0.9)]
    found = judged("optimizer", arms, MARGIN, resolution=IMAGE, chance=0.1)
    assert found.target == 0.12
    assert "the target 0.1200 is at chance level: steps to it say nothing; give a --target" in found.warnings
    other = judged("optimizer", arms, MARGIN, target=0.2, resolution=IMAGE, chance=0.1)
    assert not any("chance" in text for text in other.warnings)


def test_a_general_optimizer_is_under_tuned_only_if_it_is_shown_to_be_worse() -> None:
    def warned(momentum: float, adam: float, std: float = 0.001) -> bool:
        found = judged("optimizer", [arm("momentum", momentum, std=std), arm("adam", adam, std=std)], MARGIN)
        return any("adam is worse than momentum, its special case: it is under-tuned" in t for t in found.warnings)

    assert warned(0.9, 0.88)
    assert not warned(0.88, 0.9), "the special case is the worse one"
    assert not warned(0.9, 0.88, std=0.1), "lower by chance"


def test_which_optimizer_contains_which() -> None:
    assert contains("adam", "momentum")
    assert contains("adam", "sgd")
    assert contains("nadam", "nesterov")
    assert not contains("momentum", "adam")
    assert not contains("mine", "sgd")


def tuned_over(rows: Sequence[Sequence[float]]) -> ArmResult:
    """An arm whose tunings have these values, in the order of their learning rates; the first is the untuned one."""
    return ArmResult("sgd", tuple(Tuning(i, tried(row), 0, {}, (), ()) for i, row in enumerate(rows)))


def test_a_score_that_still_rises_at_the_end_of_the_range_is_warned_of() -> None:
    rng = np.random.default_rng(0)

    def noisy(values: Sequence[float]) -> ArmResult:
        return tuned_over([[v + 0.01 * rng.standard_normal() for v in values] for _ in range(8)])

    rising, falling, inside = (0.5, 0.6, 0.7, 0.8, 0.9), (0.5, 0.9, 0.8, 0.7, 0.6), (0.5, 0.6, 0.8, 0.9, 0.7)
    assert "sgd: at the upper end of its range" in edge_warning(noisy(rising), ACCURACY, 0.05)
    assert "at the lower end" in edge_warning(noisy(falling), ACCURACY, 0.05)
    assert edge_warning(noisy(inside), ACCURACY, 0.05) == ""
    assert edge_warning(tuned_over([rising] * 2), ACCURACY, 0.05) == "", "two tunings show nothing"


def test_a_flat_range_is_seldom_warned_of() -> None:
    """At 5 % each, two ends: at most 10 % of flat ranges; 16 of 100 is the 95 % bound."""
    rng = np.random.default_rng(1)
    rows = [[0.9 + 0.01 * rng.standard_normal(8) for _ in range(8)] for _ in range(100)]
    assert sum(bool(edge_warning(tuned_over(some), ACCURACY, 0.05)) for some in rows) <= 16


def test_curves_that_cross_are_reported() -> None:
    """sgd finds its best at once, adam late and better."""
    early, late = (0.5, 0.9, 0.9, 0.9, 0.9), (0.5, 0.6, 0.6, 0.6, 0.95)
    rng = np.random.default_rng(0)

    def noisy(name: str, values: Sequence[float]) -> ArmResult:
        one = arm(name, 0.9)
        tunings = [
            replace(tuning, tried=tried([v + 0.003 * rng.standard_normal() for v in values])) for tuning in one.tunings
        ]
        return replace(one, tunings=tuple(tunings))

    found = judged("optimizer", [noisy("sgd", early), noisy("adam", late)], MARGIN)
    assert "after 2 trials sgd is ahead of adam, after 5 it is behind: the ranks depend on the budget" in found.warnings
    same = judged("optimizer", [noisy("sgd", early), noisy("adam", early)], MARGIN)
    assert not any("depend on the budget" in text for text in same.warnings)


def test_the_expected_best_has_a_band_from_the_tunings() -> None:
    rows = [(0.5, 0.6, 0.8), (0.5, 0.7, 0.9), (0.5, 0.65, 0.95)]
    (untuned, _), (first, ends), (last, _) = best_so_far(tuned_over(rows), ACCURACY)
    assert untuned == 0.5
    assert first == pytest.approx(np.mean([np.mean(row[1:]) for row in rows]))
    assert last == pytest.approx(np.mean([max(row) for row in rows]))
    assert ends is not None
    assert ends[0] < first < ends[1]
    assert best_so_far(tuned_over(rows[:2]), ACCURACY)[1][1] is None


# the target, and several workloads


def test_a_missed_target_counts_as_infinite() -> None:
    short = arm("sgd", 0.88, curve=CURVE[:2])
    found = judged("optimizer", [short, arm("adam", 0.9)], MARGIN, target=0.85)
    assert found.to_target["adam"] == ToTarget(30, 1.5, 0)
    assert found.to_target["sgd"] == ToTarget(math.inf, math.inf, 8)
    assert verdicts_json(found)["optimizers"][1]["steps_to_target"] is None
    assert "missed" in markdown(found)


def test_a_median_occurred() -> None:
    """One final reaches the target after 20 steps, the other after 30: 25 steps are nobody's."""
    fast = tuple(point._replace(val=point.val + 0.1) for point in CURVE)
    one = arm("sgd", 0.88, tunings=2)
    one = replace(one, tunings=(one.tunings[0], arm("sgd", 0.88, tunings=2, curve=fast).tunings[1]))
    found = judged("optimizer", [one, arm("adam", 0.9, tunings=2)], MARGIN, target=0.85)
    assert found.to_target["sgd"] == ToTarget(20, 1.0, 0)


def test_the_target_does_not_depend_on_who_else_is_compared() -> None:
    """It is the median of what the first arm's defaults reached."""
    sgd, adam = arm("sgd", 0.88), arm("adam", 0.9)
    low = arm("broken", 0.1, curve=(CurvePoint(10, 0.5, 3.0, 0.1),))
    assert judged("optimizer", [sgd, adam], MARGIN).target == 0.9
    assert judged("optimizer", [sgd, adam, low], MARGIN).target == 0.9
    assert judged("optimizer", [low, sgd, adam], MARGIN).target == 0.1
    out_of_reach = judged("optimizer", [sgd, adam], MARGIN, target=0.99)
    assert "the target 0.9900 was reached by none" in out_of_reach.warnings


def test_the_score_over_workloads() -> None:
    slow = arm("sgd", 0.88, curve=tuple(CurvePoint(2 * a, 2 * b, c, d) for a, b, c, d in CURVE))
    both = [judged("optimizer", [slow, arm("adam", 0.9)], MARGIN, target=0.9)] * 2
    scores = scores_over(both)
    assert scores["adam"].steps == 1
    assert scores["sgd"].steps == pytest.approx(2 / 3)  # a ratio of 2 leaves (4 - 2) / (4 - 1)


# the report


def test_a_curves_band_is_an_interval_over_the_finals() -> None:
    points = band(arm("sgd", 0.88, tunings=3).finals, ACCURACY)
    assert [point.step for point in points] == [10, 20, 30]
    assert all(point.low is not None for point in points)
    assert all(point.low is None for point in band(arm("sgd", 0.88, tunings=2).finals, ACCURACY))


def test_an_arm_of_which_only_one_final_reached_an_epoch_has_no_curve() -> None:
    rare = with_scores(arm("sgd", 0.88, tunings=3), [0.88, None, None])
    figure = curves_figure(judged("optimizer", [rare, arm("adam", 0.9, tunings=3)], MARGIN))
    assert [line.get_label() for line in figure.axes[0].lines if line.get_marker() == "o"] == ["adam"]


@pytest.mark.parametrize(("ends", "label"), [(0.7, "far"), (0.1, "far (outside the axis)")])
def test_only_an_arm_that_is_not_seen_is_outside_the_axis(ends: float, label: str) -> None:
    far = arm("far", ends, tunings=3, curve=(CurvePoint(10, 0.5, 2.0, 0.1), CurvePoint(20, 1.0, 2.0, ends)))
    figure = curves_figure(judged("optimizer", [arm("adam", 0.9, tunings=3), far], MARGIN, target=0.9))
    axes = figure.axes[0]
    assert [line.get_label() for line in axes.lines if line.get_marker() == "o"] == ["adam", label]
    low, high = axes.get_ylim()
    assert (low < ends < high) == (label == "far")


def test_the_report_needs_no_network(tmp_path: Path) -> None:
    found = judged("optimizer", [arm("sgd", 0.88), arm("adam", 0.9)], MARGIN)
    found = replace(found, caveats=("Fixed: <much>",))
    names = {path.name for path in write_report(found, tmp_path)}
    assert names == {
        "compare.json",
        "compare.md",
        "compare.csv",
        "curves.png",
        "sensitivity.png",
        "expected_best.png",
        "pairs.png",
    }
    page = check_page(tmp_path / "compare.html").text
    assert page.count("data:image/png;base64,") == 4
    assert "Fixed: &lt;much&gt;" in page
    assert json.loads((tmp_path / "compare.json").read_text()) == verdicts_json(found)
    assert (tmp_path / "compare.csv").read_text().count("\n") == 1 + 2 * 8 * 2


def test_trials_that_learn_from_earlier_ones_have_no_expected_best(tmp_path: Path) -> None:
    """Its formula is for independent trials; those of --sampler tpe are not."""
    arms = [replace(arm(name, 0.9), independent=False) for name in ("sgd", "adam")]
    assert "expected_best.png" not in {path.name for path in write_report(judged("o", arms, MARGIN), tmp_path)}
