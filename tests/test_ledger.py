"""A run's books, fed with numbers: no network, no torch."""

import subprocess
import sys
from dataclasses import replace

import pytest

from cnnlab.config import RunConfig
from cnnlab.metrics import ACCURACY, LOSS, Measured, Metric
from cnnlab.records import RunStarted
from cnnlab.training.ledger import Diverged, Ledger, Position, Taken
from tests.runs import small_config


def about(config: RunConfig, steps: int = 2, score: Metric = ACCURACY) -> RunStarted:
    return RunStarted(
        time=0.0,
        step=0,
        epoch=0,
        epochs=config.training.epochs,
        steps_per_epoch=steps,
        dataset="numbers",
        dataset_digest="d",
        dataset_source="here",
        classes=("a", "b"),
        image_shape=(1, 2, 2),
        train_size=10,
        val_size=4,
        test_size=4,
        model="none",
        parameters=0,
        optimizer="sgd",
        device="cpu",
        precision="fp32",
        seed=0,
        score=score,
    )


def ledger(score: Metric = ACCURACY, position: Position | None = None, **settings: object) -> Ledger:
    config = small_config(**settings)
    return Ledger(config, about(config, score=score), lambda sums, samples: {"accuracy": sums[0] / samples}, position)


def train_epoch(books: Ledger, losses: tuple[float, float] = (1.0, 2.0), right: float = 5.0) -> None:
    for _ in losses:
        books.next_step()
    books.note(Taken(losses, [False, False], [6, 4], [right]))


def test_an_epochs_numbers_are_means_over_its_samples() -> None:
    books = ledger()
    books.start()
    train_epoch(books, (1.0, 2.0), right=7.0)
    epoch = books.end_epoch(Measured({"loss": 0.5, "accuracy": 0.75}))
    assert epoch.train == {"loss": (6 * 1.0 + 4 * 2.0) / 10, "accuracy": 0.7}
    assert (epoch.epoch, epoch.step, epoch.best, epoch.val) == (1, 2, True, {"loss": 0.5, "accuracy": 0.75})
    train_epoch(books, (3.0, 3.0), right=1.0)
    assert books.end_epoch(Measured({"loss": 0.5, "accuracy": 0.75})).train == {"loss": 3.0, "accuracy": 0.1}


@pytest.mark.parametrize(
    ("score", "values", "best"),
    [
        (ACCURACY, [(0.5, 1.0), (0.7, 1.0), (0.6, 0.1)], 2),
        (ACCURACY, [(0.5, 1.0), (0.5, 0.9), (0.5, 0.95)], 2),  # equal scores: the lower loss
        (LOSS, [(0.9, 1.0), (0.5, 0.2), (0.7, 0.3)], 2),
        (LOSS, [(0.1, 0.2), (0.9, 0.2), (0.9, 0.3)], 1),  # neither is better: the first
    ],
)
def test_the_best_epoch_is_chosen_by_the_score_in_its_direction(
    score: Metric, values: list[tuple[float, float]], best: int
) -> None:
    books = ledger(score)
    books.start()
    for accuracy, loss in values:
        train_epoch(books)
        books.end_epoch(Measured({"loss": loss, "accuracy": accuracy}))
    ended = books.ended("finished", "")
    assert (ended.best_epoch, ended.score) == (best, score.name)
    assert ended.best == {"accuracy": values[best - 1][0], "loss": values[best - 1][1]}


@pytest.mark.parametrize(("score", "better"), [(ACCURACY, 0.9), (LOSS, 0.1)])
def test_patience_counts_from_the_best_epoch_whichever_way_is_better(score: Metric, better: float) -> None:
    books = ledger(score, training__patience=2, training__epochs=50)
    books.start()
    for value in (0.5, better, 0.5):
        train_epoch(books)
        books.end_epoch(Measured({"loss": 0.5, "accuracy": 0.5, score.name: value}))
        assert not books.done
    train_epoch(books)
    books.end_epoch(Measured({"loss": 0.5, "accuracy": 0.5}))
    assert books.done
    assert books.position.best_epoch == 2


def test_a_step_that_was_not_applied_is_named_by_its_number() -> None:
    books = ledger()
    books.start()
    train_epoch(books)
    books.end_epoch(Measured({"loss": 1.0, "accuracy": 0.5}))
    books.next_step()
    books.next_step()
    with pytest.raises(Diverged) as caught:
        books.note(Taken([0.7, float("nan")], [False, True], [6, 4], [0.0]))
    ended = books.diverged(caught.value)
    assert ended.reason == (
        "diverged at step 4: the loss was not finite (training loss nan); try a smaller optimizer.lr, "
        "a warm-up (schedule.warmup_epochs), or training.clip_norm=1"
    )
    assert (ended.status, ended.diverged, ended.best_epoch) == ("failed", True, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_metric_of_validation_or_test_that_is_not_finite_ends_the_run(value: float) -> None:
    books = ledger()
    books.start()
    train_epoch(books)
    with pytest.raises(Diverged, match="the validation loss was not finite"):
        books.end_epoch(Measured({"loss": value, "accuracy": 0.5}))
    assert books.position.best_epoch is None
    with pytest.raises(Diverged, match="the test accuracy was not finite"):
        books.finished(Measured({"loss": 1.0, "accuracy": value}), "sha", None)


def test_in_bf16_the_advice_begins_with_the_precision() -> None:
    books = ledger()
    books.about = replace(books.about, precision="bf16")
    assert "; try --precision fp32, a smaller" in books.diverged(Diverged(3, "the gradient was not finite")).reason


def test_a_ledger_goes_on_from_its_state() -> None:
    whole = ledger(schedule__name="cosine")
    whole.start()
    train_epoch(whole)
    whole.end_epoch(Measured({"loss": 0.5, "accuracy": 0.75}))
    whole.next_step()
    whole.note(Taken([4.0], [False], [6], [3.0]))
    again = ledger(position=Position(**whole.state()), schedule__name="cosine")
    assert (again.start().step, again.start().epoch, again.steps_left) == (3, 1, 1)
    assert again.next_step() == whole.next_step()
    for books in (again, whole):
        books.note(Taken([1.0], [False], [4], [2.0]))
    ours, expected = (books.end_epoch(Measured({"loss": 0.5, "accuracy": 0.75})) for books in (again, whole))
    assert (ours.train, ours.best, ours.lr, ours.epoch) == (expected.train, False, expected.lr, 2)
    assert ours.train == {"loss": (6 * 4.0 + 4 * 1.0) / 10, "accuracy": 0.5}


def test_the_ledger_itself_needs_no_torch() -> None:
    code = """
import sys, types
from pathlib import Path
import cnnlab
package = types.ModuleType("cnnlab.training")  # the room's own __init__ brings torch
package.__path__ = [str(Path(cnnlab.__file__).parent / "training")]
sys.modules["cnnlab.training"] = package
import cnnlab.training.ledger
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
