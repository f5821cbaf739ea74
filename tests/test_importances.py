"""The settings that a sweep names, and its gain: against counts by hand, NumPy and SciPy, and drawn searches."""

import re

import numpy as np
import pytest
from scipy import stats

from cnnlab.cli.display import sweep_display
from cnnlab.config.space import Choices, Condition, Dimension, Range, Space
from cnnlab.metrics import ACCURACY, LOSS, Metric
from cnnlab.search.findings import Confirmed, Findings, _best, _gain
from cnnlab.search.importances import Outcome, importances, rising_ends, standings, words
from cnnlab.search.slots import Slot

LR = Dimension("optimizer.lr", "optimizer.lr", Range(1e-4, 1.0, log=True))
DROPOUT = Dimension("model.dropout", "model.dropout", Range(0.0, 0.6))
BATCH = Dimension("data.batch_size", "data.batch_size", Choices((16, 32, 64)))
SPACE = Space((LR, DROPOUT, BATCH))


def drawn(rng: np.random.Generator, trials: int, lr: float = 0.0) -> list[Outcome]:
    """Evenly drawn points, and scores that fall by `lr` towards both ends of the learning rate's range; half pruned."""
    outcomes = []
    for number in range(trials):
        x = rng.random()
        params = {
            "optimizer.lr": 1e-4 ** (1 - x),
            "model.dropout": 0.6 * rng.random(),
            "data.batch_size": int(rng.choice([16, 32, 64])),
        }
        value = 0.9 - lr * (2 * x - 1) ** 2 + 0.01 * rng.standard_normal()
        history = (value - 0.2, value - 0.1, value)
        outcomes.append(Outcome(params, history[:1]) if number % 2 else Outcome(params, history, value))
    return outcomes


@pytest.mark.parametrize(("score", "sign"), [(ACCURACY, 1), (LOSS, -1)])
def test_trials_are_compared_after_the_last_epoch_that_both_have_reached(score: Metric, sign: int) -> None:
    outcomes = [
        Outcome({}, (sign * 0.5, sign * 0.6, sign * 0.9), sign * 0.9),
        Outcome({}, (sign * 0.3, sign * 0.8, sign * 0.7), sign * 0.8),
        Outcome({}, (sign * 0.4,)),  # pruned: beaten by the first one, better than the second was then
        Outcome({}, (sign * 0.2, sign * 0.7)),
        Outcome({}, (), diverged=True),
        Outcome({}, (sign * 0.99,), diverged=True),
    ]
    # won - lost. After two epochs the first one has 0.6 and loses to the fourth one.
    expected = [4 - 1, 3 - 2, 4 - 1, 3 - 2, -4, -4]
    assert standings(outcomes, score) * 5 == pytest.approx(expected)


def test_a_share_is_that_of_a_cubic_over_the_log_of_the_rate() -> None:
    outcomes = drawn(np.random.default_rng(1), 60, lr=0.1)
    places = standings(outcomes, ACCURACY)
    x = np.log10([outcome.params["optimizer.lr"] for outcome in outcomes])
    rest = places - np.polyval(np.polyfit(x, places, 3), x)
    found = importances(outcomes, SPACE, ACCURACY)
    assert next(iter(found)) == "optimizer.lr"
    assert found["optimizer.lr"] == pytest.approx(1 - rest.var() / places.var(), abs=1e-6)


def test_noise_is_called_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.search.importances.PERMUTATIONS", 200)
    rng = np.random.default_rng(2)
    named = sum(bool(importances(drawn(rng, 30), SPACE, ACCURACY)) for _ in range(200))
    assert named <= stats.binom.ppf(0.999, 200, 0.02)


def test_a_setting_that_matters_is_named_though_half_of_the_trials_were_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.search.importances.PERMUTATIONS", 200)
    rng = np.random.default_rng(3)
    named = [next(iter(importances(drawn(rng, 50, lr=0.03), SPACE, ACCURACY)), "") for _ in range(40)]
    assert named.count("optimizer.lr") >= 36


def test_a_rate_is_named_though_trainings_diverge_next_to_the_best_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.search.importances.PERMUTATIONS", 200)
    rng = np.random.default_rng(7)
    named = 0
    for _ in range(20):
        outcomes = []
        for _ in range(40):
            x = rng.beta(4, 1.2)  # most trials are near the best one, at 0.85
            diverged = x > 0.9 and rng.random() < 0.6
            value = 0.9 - 0.1 * (x - 0.85) ** 2 + 0.004 * rng.standard_normal()
            params = {
                "optimizer.lr": 1e-4 ** (1 - x),
                "model.dropout": 0.6 * rng.random(),
                "data.batch_size": int(rng.choice([16, 32, 64])),
            }
            outcomes.append(Outcome(params, (), diverged=True) if diverged else Outcome(params, (value,), value))
        named += next(iter(importances(outcomes, SPACE, ACCURACY)), "") == "optimizer.lr"
    assert named >= 16, "a parabola alone names it in 12 of 20"


def test_a_setting_of_one_optimizer_is_compared_among_its_own_trials() -> None:
    kind = Dimension("optimizer", "optimizer.name", Choices(("sgd", "adam")))
    own = Dimension(
        "optimizer.sgd.momentum", "optimizer.momentum", Range(0.0, 1.0), Condition("optimizer.name", ("sgd",))
    )
    rng = np.random.default_rng(4)
    outcomes = []
    for _ in range(60):
        sgd = rng.random() < 0.5
        params = {"optimizer": "sgd", own.name: rng.random()} if sgd else {"optimizer": "adam"}
        value = (0.5 + 0.2 * params[own.name] if sgd else 0.9) + 0.01 * rng.standard_normal()
        outcomes.append(Outcome(params, (value,), value))
    assert list(importances(outcomes, Space((kind, own)), ACCURACY)) == ["optimizer", own.name]


@pytest.mark.parametrize("trials", range(8))
def test_a_handful_of_trials_names_nothing(trials: int) -> None:
    assert importances(drawn(np.random.default_rng(5), trials, lr=0.5), SPACE, ACCURACY) == {}
    assert "too few trials to tell" in words({}, 3, trials)


def confirmed(trial: int, *scores: float | None) -> Confirmed:
    by_seed = {seed: score for seed, score in enumerate(scores) if score is not None}
    return Confirmed(trial, 0.9, by_seed, len(scores) - len(by_seed), resolution=0.0, bounds=(0.0, 1.0))


SLOTS = [Slot(number, ()) for number in range(3)]


def test_the_gain_is_paired_by_seed_and_its_interval_is_students() -> None:
    both = [confirmed(2, 0.95, 0.93, 0.96, None), confirmed(0, 0.92, 0.91, 0.94, 0.5)]
    gain = _gain(ACCURACY, SLOTS[2], both)
    assert gain is not None
    assert gain.values == pytest.approx((0.03, 0.02, 0.02))
    expected = stats.ttest_1samp(gain.values, 0).confidence_interval(0.95)
    assert gain.ends == pytest.approx((expected.low, expected.high))
    assert gain.is_shown
    three = _gain(ACCURACY, SLOTS[2], [*both, confirmed(1, 0.9, 0.9, 0.9, 0.9)])
    assert three is not None
    expected = stats.ttest_1samp(gain.values, 0).confidence_interval(1 - 0.05 / 2)
    assert three.ends == pytest.approx((expected.low, expected.high)), "the best of two was chosen by these seeds"


def test_two_seeds_give_no_interval_and_show_no_gain() -> None:
    gain = _gain(ACCURACY, SLOTS[2], [confirmed(2, 0.95, 0.95), confirmed(0, 0.90, 0.90)])
    assert gain is not None
    assert (gain.ends, gain.is_shown) == (None, False)


def test_the_best_is_that_of_the_confirmation_and_a_diverged_seed_counts_first() -> None:
    written, luck = confirmed(0, 0.92, 0.93, 0.94), confirmed(2, 0.91, 0.90, 0.92)
    plan = type("PlanOfAccuracy", (), {"score": ACCURACY})()
    assert _best(plan, SLOTS, [luck, written]) is SLOTS[0]
    assert _best(plan, SLOTS, [confirmed(2, 0.99, None, 0.99), written]) is SLOTS[0]
    assert _gain(ACCURACY, SLOTS[0], [luck, written]) is None


@pytest.mark.parametrize(("centre", "expected"), [(0.5, []), (0.2, []), (-0.3, ["lower"]), (1.3, ["upper"])])
def test_a_range_is_too_narrow_only_if_its_end_is_shown_to_be_better(centre: float, expected: list[str]) -> None:
    rng = np.random.default_rng(6)
    outcomes = []
    for _ in range(80):
        x = rng.random()
        value = 0.9 - 0.1 * (x - centre) ** 2 + 0.002 * rng.standard_normal()
        outcomes.append(Outcome({"optimizer.lr": 1e-4 ** (1 - x)}, (value,), value))
    found = rising_ends(outcomes, SPACE, ACCURACY, ["optimizer.lr"])
    assert [end for _, end in found] == expected
    assert rising_ends(outcomes, SPACE, ACCURACY, []) == [], "not of a setting that is not shown to matter"


@pytest.mark.parametrize(
    ("best", "scores", "says"),
    [
        (2, [0.95, 0.93, 0.96], r"\+2\.33 points over trial 0 on 3 fresh seeds \(95 %: \+0\.90 to \+3\.77\)"),
        (2, [0.92, 0.93, 0.90], r"no gain shown: -0\.67 points over trial 0 .*"),
        (2, [0.95, 0.93], r"no gain shown: \+3\.00, \+2\.00 points over trial 0 on 2 fresh seeds; an interval needs 3"),
        (2, [], "not known: nothing was trained again .*"),
        (0, [0.95], "no gain shown: the best is trial 0, .*"),
    ],
)
def test_the_headline_is_the_gain_or_that_none_is_shown(best: int, scores: list[float], says: str) -> None:
    written = confirmed(0, 0.92, 0.91, 0.94)
    both = [confirmed(2, *scores), written] if scores else []
    plan = type("PlanOfAccuracy", (), {"score": ACCURACY})()
    gain = _gain(ACCURACY, SLOTS[best], both)
    findings = Findings(plan, SLOTS, SLOTS[best], both, gain, importances={}, unknown="", warnings=[])
    assert re.fullmatch(says, sweep_display._gain(findings))
