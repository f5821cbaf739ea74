"""Which test images a final had right, and the interval of a difference for other images too."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cnnlab.comparison.images import images_interval, images_variance, read_correct, shares
from cnnlab.comparison.verdicts import ArmResult, Final, Tuning, Verdicts, images_words, judge
from cnnlab.intervals import interval
from cnnlab.metrics import ACCURACY
from cnnlab.records import Epoch, RunEnded
from cnnlab.training import CORRECT_FILE, Learner, fit, load_latest
from tests.runs import records_of, small_config, small_dataset

Cli = Callable[..., Any]
IMAGES = 400


def test_a_run_says_which_test_images_it_had_right(tmp_path: Path) -> None:
    learner = Learner(small_config(), small_dataset())
    ended = list(fit(learner, tmp_path))[-1]
    assert isinstance(ended, RunEnded)
    found = np.load(tmp_path / CORRECT_FILE, allow_pickle=False)
    test = learner.dataset.test
    with torch.inference_mode():
        predicted = learner.model.eval()(test.inputs).argmax(1)
    assert found.tolist() == (predicted == test.targets).tolist()
    assert found.mean() == ended.test["accuracy"]
    assert read_correct(tmp_path, ended.test["accuracy"]) == found.tobytes()


def test_the_order_is_that_of_the_split_however_many_ranks_measured_it() -> None:
    learner = Learner(small_config(), small_dataset())
    outputs, targets = torch.randn(50, 3), torch.arange(50) % 3
    chunks = list(zip(outputs.split(16), targets.split(16), strict=True))
    parts = [learner.task.measure(chunks[rank::3]) for rank in range(3)]  # 2, 1 and 1 chunks
    wanted = (outputs.argmax(1) == targets).numpy().tobytes()
    assert learner.task.metrics(parts, 50).correct == wanted
    assert learner.task.metrics([*parts, learner.task.measure([])], 50).correct == wanted


def test_a_resumed_run_writes_the_file_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    list(fit(Learner(small_config(), small_dataset()), whole))
    records = fit(Learner(small_config(), small_dataset()), stopped)
    for record in records:
        if isinstance(record, Epoch):
            records.close()
    assert not (stopped / CORRECT_FILE).exists()
    (stopped / CORRECT_FILE).write_bytes(b"of an attempt that was killed before its last record")
    list(fit(Learner(small_config(), small_dataset()), stopped, load_latest(stopped / "checkpoints", 10**9)))
    assert (stopped / CORRECT_FILE).read_bytes() == (whole / CORRECT_FILE).read_bytes()


def test_a_run_that_is_not_tested_says_nothing(tmp_path: Path) -> None:
    list(fit(Learner(small_config(training__epochs=1), small_dataset()), tmp_path, tested=False))
    assert not (tmp_path / CORRECT_FILE).exists()
    records_of(small_config(training__epochs=1))  # without a directory there is no file to write


@pytest.mark.parametrize("content", [b"", b"torn", np.zeros(4).tobytes()])
def test_a_damaged_file_tells_nothing(tmp_path: Path, content: bytes) -> None:
    assert read_correct(tmp_path, 0.5) is None
    (tmp_path / CORRECT_FILE).write_bytes(content)
    assert read_correct(tmp_path, 0.5) is None


def test_a_file_of_another_score_tells_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / CORRECT_FILE, np.array([True, False]))
    assert read_correct(tmp_path, 0.5) == b"\x01\x00"
    assert read_correct(tmp_path, 0.75) is None
    np.save(tmp_path / CORRECT_FILE, np.array([0.5, 0.5]))
    assert read_correct(tmp_path, 0.5) is None


def test_if_all_tunings_answer_alike_the_images_give_mcnemars_variance() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(IMAGES) < 0.9, rng.random(IMAGES) < 0.8
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    difference = np.stack([a.astype(float) - b] * 3)
    mcnemar = (only_a + only_b - (only_a - only_b) ** 2 / IMAGES) / IMAGES**2  # Agresti, Categorical Data, 11.1.1
    assert images_variance(difference) / IMAGES == pytest.approx(mcnemar * IMAGES / (IMAGES - 1))


def test_the_variance_equals_that_of_an_analysis_of_variance() -> None:
    """Crossed random effects without repetition: the mean squares of a two-way table, by statsmodels."""
    import pandas as pd
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    rng = np.random.default_rng(2)
    table = rng.standard_normal((5, 12)) + 2 * rng.standard_normal(12) + rng.standard_normal((5, 1))
    rows = [(table[u, i], u, i) for u in range(5) for i in range(12)]
    model = ols("d ~ C(u) + C(i)", pd.DataFrame(rows, columns=["d", "u", "i"])).fit()
    squares = anova_lm(model)["mean_sq"]
    assert images_variance(table) == pytest.approx((squares["C(i)"] - squares["Residual"]) / 5)


def test_the_interval_contains_that_over_tunings_and_widens_if_images_differ() -> None:
    rng = np.random.default_rng(3)
    easier = rng.choice([-0.4, 0.0, 0.4], IMAGES)  # for arm a
    for effect in (0.0, 1.0):
        a = [(rng.random(IMAGES) < 0.5 + effect * easier).astype(float) for _ in range(8)]
        b = [(rng.random(IMAGES) < 0.5 - effect * easier).astype(float) for _ in range(8)]
        alone = interval([float((x - y).mean()) for x, y in zip(a, b, strict=True)])
        assert alone is not None
        both = images_interval(a, b, alone, 0.05)
        assert both is not None
        assert both.ci_low <= alone[0] + 1e-12
        assert both.ci_high >= alone[1] - 1e-12
        assert ((both.ci_high - both.ci_low) > 1.5 * (alone[1] - alone[0])) == (effect > 0)


def test_there_is_no_interval_if_one_answer_is_not_known() -> None:
    known = [np.ones(4), np.array([1.0, 0, 1, 0]), np.zeros(4)]
    assert images_interval(known, known[::-1], (-1.0, 1.0), 0.05) is not None
    assert images_interval([*known[:2], None], known, (-1.0, 1.0), 0.05) is None
    assert images_interval([*known[:2], np.ones(5)], known, (-1.0, 1.0), 0.05) is None
    assert shares([b"\x01\x00", None]) is None
    assert shares([b"\x01\x00", b"\x01\x01"]).tolist() == [1.0, 0.5]


def arm(name: str, level: np.ndarray, seed: int, tunings: int = 8) -> ArmResult:
    """Tunings with one final each, which has image i right with probability level[i]."""
    rng = np.random.default_rng(seed)
    right = [rng.random(len(level)) < level for _ in range(tunings)]
    finals = [Final(0, float(some.mean()), correct=some.tobytes()) for some in right]
    return ArmResult(name, tuple(Tuning(number, (), 0, {}, (final,), ()) for number, final in enumerate(finals)))


def judged(*arms: ArmResult) -> Verdicts:
    return judge("optimizer", arms, 0.002, score=ACCURACY, resolution=1 / IMAGES)


def test_the_verdict_says_whether_it_holds_for_other_images() -> None:
    everywhere = judged(arm("good", np.full(IMAGES, 0.95), 1), arm("bad", np.full(IMAGES, 0.6), 2))
    assert everywhere.pairs[0].verdict == "better"
    assert images_words(everywhere) == "The verdicts hold for other test samples of the same source too"
    # good on most images, always wrong on others: by chance, a little more of the former
    half = np.arange(IMAGES) < 0.53 * IMAGES
    mixed = judged(arm("good", np.where(half, 1.0, 0.0), 1), arm("bad", np.where(half, 0.0, 1.0), 2))
    assert mixed.pairs[0].verdict == "better"
    assert images_words(mixed).startswith("The verdicts hold for these test samples only; on others")
    three = judged(
        arm("good", np.where(half, 1.0, 0.0), 1),
        arm("bad", np.where(half, 0.0, 1.0), 2),
        arm("worst", np.zeros(IMAGES), 3),
    )
    assert images_words(three).endswith("but for good - bad for these only")
    tied = judged(arm("good", np.full(IMAGES, 0.9), 1), arm("bad", np.full(IMAGES, 0.9), 2))
    assert images_words(tied).startswith("No verdict")


def test_without_answers_a_verdict_holds_for_these_images() -> None:
    good, bad = arm("good", np.full(IMAGES, 0.95), 1), arm("bad", np.full(IMAGES, 0.6), 2)
    first = replace(bad.tunings[0], finals=(replace(bad.tunings[0].finals[0], correct=None),))
    found = judged(good, replace(bad, tunings=(first, *bad.tunings[1:])))
    assert found.pairs[0].images is None
    assert "not known" in images_words(found)


def test_a_diverged_tuning_is_left_out_of_both_intervals() -> None:
    good, bad = arm("good", np.full(IMAGES, 0.95), 1), arm("bad", np.full(IMAGES, 0.6), 2)
    first = replace(bad.tunings[0], finals=(Final(0, 0.0, diverged=True),))
    (pair,) = judged(good, replace(bad, tunings=(first, *bad.tunings[1:]))).pairs
    assert pair.images is not None
    assert pair.ci_low is not None
    assert pair.images.ci_low <= pair.ci_low


def test_settings_are_compared_final_by_final() -> None:
    """With one tuning the seeds are the sample."""
    rng = np.random.default_rng(5)

    def one(name: str, level: float) -> ArmResult:
        right = [rng.random(IMAGES) < level for _ in range(5)]
        finals = tuple(Final(seed, float(some.mean()), correct=some.tobytes()) for seed, some in enumerate(right))
        return ArmResult(name, (Tuning(0, (), 0, {}, finals, ()),))

    found = judged(one("good", 0.95), one("bad", 0.6))
    assert found.claim == "settings"
    assert found.pairs[0].images is not None


def test_compare_offers_the_interval_for_accuracy(cli: Cli) -> None:
    words = (
        "compare",
        "--optimizers",
        "sgd,adam",
        "--tunings",
        "3",
        "--trials",
        "2",
        "--epochs",
        "1",
        "--workers",
        "1",
    )
    small = ("-s", "model.channels=[4]", "-s", "model.hidden=[]", "--tracking-uri", "none", "-q")
    done = cli(*words, *small, "--json")
    assert done.exit_code == 0, done.output
    (pair,) = json.loads(done.stdout)["pairs"]
    last_bits = 1e-12  # the two are equal if the images make no difference
    assert pair["images"]["ci_low"] <= pair["ci_low"] + last_bits
    assert pair["ci_low"] < pair["ci_high"] <= pair["images"]["ci_high"] + last_bits
    for file in Path("mlruns/studies").glob("*/confirm/*/" + CORRECT_FILE):
        file.unlink()
    name = json.loads(done.stdout)["study"]
    assert json.loads(cli("show", name, "--json").stdout)["pairs"][0]["images"] is None
