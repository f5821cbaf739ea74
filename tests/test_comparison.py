"""Judging a comparison from scores alone: ranks, targets, and warnings of what the tuning may have done."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from cnnlab.comparison.report import markdown, scores_over, verdicts_json, write_report
from cnnlab.comparison.verdicts import ArmResult, Final, ToTarget, Tried, judge, sentence
from cnnlab.config.arms import contains
from cnnlab.metrics import ACCURACY
from cnnlab.search.slots import CurvePoint

MARGIN = 0.002
judged = partial(judge, score=ACCURACY)
CURVE = (CurvePoint(10, 0.5, 1.0, 0.5), CurvePoint(20, 0.5, 0.5, 0.8), CurvePoint(30, 0.5, 0.3, 0.9))


def arm(
    name: str, mean: float, *, best: int = 3, values: tuple[float | None, ...] = (0.7, 0.8, 0.6, 0.9, 0.85)
) -> ArmResult:
    finals = tuple(Final(seed, mean + 0.001 * ((seed * 7) % 5 - 2), CURVE) for seed in range(10))
    tried = [
        Tried(value, 10.0 ** (i - 4), None if i == 0 else i / 5, untuned=i == 0, diverged=value is None)
        for i, value in enumerate(values)
    ]
    return ArmResult(name, tuple(tried), best, {"optimizer.lr": 0.1}, finals, finals)


def spread(one: ArmResult, by: float) -> ArmResult:
    return replace(one, finals=tuple(replace(f, score=f.score + by * (-1) ** f.seed) for f in one.finals))


def test_arms_are_ranked_by_their_mean_and_told_apart() -> None:
    found = judged("optimizer", [arm("sgd", 0.88), spread(arm("adam", 0.9), 0.002)], MARGIN)
    assert found.ranking == ["adam", "sgd"]
    assert [(pair.a, pair.b, pair.verdict) for pair in found.pairs] == [("adam", "sgd", "better")]
    assert sentence(found) == "adam has the best mean; it is better than sgd (by 2.00 points)"


def test_a_general_optimizer_below_its_special_case_is_under_tuned() -> None:
    found = judged("optimizer", [arm("momentum", 0.9), spread(arm("adam", 0.88), 0.002)], MARGIN)
    assert any("adam is below momentum, its special case: it is under-tuned" in text for text in found.warnings)
    right = judged("optimizer", [arm("momentum", 0.88), spread(arm("adam", 0.9), 0.002)], MARGIN)
    assert not any("special case" in text for text in right.warnings)


def test_which_optimizer_contains_which() -> None:
    assert contains("adam", "momentum")
    assert contains("adam", "sgd")
    assert contains("nadam", "nesterov")
    assert not contains("momentum", "adam")
    assert not contains("mine", "sgd")


def test_a_best_rate_at_the_edge_is_warned_of() -> None:
    values = (0.7, 0.8, 0.6, 0.9, 0.85, 0.95)
    found = judged("optimizer", [arm("sgd", 0.88, best=5, values=values), arm("adam", 0.9)], MARGIN)
    assert [text for text in found.warnings if "end of its range" in text] == [
        "sgd: its best learning rate, 10, lies at the upper end of its range"
    ]


def test_ranks_that_turn_with_half_the_budget_are_warned_of() -> None:
    early, late = (0.5, 0.9, 0.5, 0.5, 0.5, 0.5), (0.5, 0.6, 0.5, 0.5, 0.5, 0.95)
    found = judged("optimizer", [arm("sgd", 0.88, best=1, values=early), arm("adam", 0.9, best=5, values=late)], MARGIN)
    assert any("the other way round with half the trials" in text for text in found.warnings)
    same = judged("optimizer", [arm("sgd", 0.88, values=early), arm("adam", 0.9, values=early)], MARGIN)
    assert not any("half the trials" in text for text in same.warnings)


def test_diverged_trials_and_finals_are_counted() -> None:
    bad = arm("sgd", 0.88, values=(0.7, None, None, 0.9))
    bad = replace(bad, finals=(Final(0, 0.0, diverged=True), *bad.finals[1:]))
    assert bad.infeasible == 3
    assert judged("optimizer", [bad, arm("adam", 0.9)], MARGIN).summaries["sgd"].mean < 0.8


def test_an_arm_without_a_final_is_ranked_last_and_in_no_pair() -> None:
    nothing = ArmResult("sgd", (Tried(None, 0.1, None, untuned=True, diverged=True),), None, {}, (), ())
    found = judged("optimizer", [nothing, arm("adam", 0.9), arm("nadam", 0.8)], MARGIN)
    assert found.ranking == ["adam", "nadam", "sgd"]
    assert len(found.pairs) == 1
    assert any(text.startswith("sgd: no trial was trained to its end") for text in found.warnings)
    assert verdicts_json(found)["optimizers"][2]["mean"] is None


def test_seeds_that_one_arm_lacks_are_left_out_of_the_pairs() -> None:
    short = arm("sgd", 0.88)
    found = judged("optimizer", [replace(short, finals=short.finals[2:]), arm("adam", 0.9)], MARGIN)
    assert found.seeds == 8
    assert any("left out of the pairs" in text for text in found.warnings)


def test_a_missed_target_counts_as_infinite() -> None:
    flat = replace(arm("sgd", 0.88), finals=tuple(Final(seed, 0.88, CURVE[:2]) for seed in range(10)))
    found = judged("optimizer", [flat, arm("adam", 0.9)], MARGIN, target=0.85)
    assert found.to_target["adam"] == ToTarget(30, 1.5, 0)
    assert found.to_target["sgd"] == ToTarget(math.inf, math.inf, 10)
    assert verdicts_json(found)["optimizers"][1]["steps_to_target"] is None
    assert "missed" in markdown(found)


def test_the_target_is_the_median_of_the_untuned_defaults() -> None:
    assert judged("optimizer", [arm("sgd", 0.88), arm("adam", 0.9)], MARGIN).target == 0.9
    out_of_reach = judged("optimizer", [arm("sgd", 0.88), arm("adam", 0.9)], MARGIN, target=0.99)
    assert "the target 0.9900 was reached by none" in out_of_reach.warnings


def test_too_few_seeds_are_said_to_be_too_few() -> None:
    few = [replace(a, finals=a.finals[:3]) for a in (arm("sgd", 0.88), arm("adam", 0.9))]
    assert "3 seeds are too few to claim anything" in sentence(judged("optimizer", few, MARGIN))


def test_the_score_over_workloads() -> None:
    slow = replace(
        arm("sgd", 0.88),
        finals=tuple(Final(s, 0.88, tuple(CurvePoint(2 * a, 2 * b, c, d) for a, b, c, d in CURVE)) for s in range(10)),
    )
    both = [judged("optimizer", [slow, arm("adam", 0.9)], MARGIN, target=0.9)] * 2
    scores = scores_over(both)
    assert scores["adam"].steps == 1
    assert scores["sgd"].steps == pytest.approx(2 / 3)  # a ratio of 2 leaves (4 - 2) / (4 - 1)


def test_the_report_needs_no_network(tmp_path: Path) -> None:
    found = judged("optimizer", [arm("sgd", 0.88), spread(arm("adam", 0.9), 0.002)], MARGIN)
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
    page = (tmp_path / "compare.html").read_text()
    assert "http" not in page
    assert page.count("data:image/png;base64,") == 4
    assert "Fixed: &lt;much&gt;" in page
    assert json.loads((tmp_path / "compare.json").read_text()) == verdicts_json(found)
    assert (tmp_path / "compare.csv").read_text().count("\n") == 41
