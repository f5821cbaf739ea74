"""A batch in parts, a CPU thread a part: the same training as by the whole batch, and the same bits each time."""

from dataclasses import replace

import pytest

from cnnlab.config import RunConfig
from cnnlab.config.losses import CrossEntropy
from cnnlab.errors import BadInput
from cnnlab.records import RunEnded, Steps
from cnnlab.tasks.losses import CLASS_LOSSES, cross_entropy
from cnnlab.training import Learner
from cnnlab.training.ledger import Order
from cnnlab.training.process import usable_threads
from cnnlab.training.threads import SMALL_STEP, Parts, threads_for_step
from tests.runs import records_of, small_config, small_dataset

IMAGES = {"count": 256, "shape": (1, 28, 28)}
SETTINGS = {"data__batch_size": 64, "training__epochs": 2}


@pytest.fixture(autouse=True)
def _processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """One on which a batch is cut into parts."""
    monkeypatch.setattr("cnnlab.training.threads._processor", lambda: "AVX2")


def learner(threads: int, **settings: object) -> Learner:
    return Learner(small_config(**{**SETTINGS, "place__threads": threads, **settings}), small_dataset(**IMAGES))  # type: ignore[arg-type]


def trained(threads: int, **settings: object) -> tuple[list[float], RunEnded]:
    records = records_of(small_config(**{**SETTINGS, "place__threads": threads, **settings}), small_dataset(**IMAGES))  # type: ignore[arg-type]
    assert isinstance(records[-1], RunEnded)
    return [loss for record in records if isinstance(record, Steps) for loss in record.losses], records[-1]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_parts_train_as_the_whole_does(optimizer: str, clip: float | None) -> None:
    settings = {"optimizer__name": optimizer, "optimizer__lr": 0.005, "training__clip_norm": clip}
    whole, parts = trained(1, **settings), trained(2, **settings)
    assert learner(2, **settings).parts.count == 2
    assert parts[0] == pytest.approx(whole[0], abs=1e-4)
    assert parts[1].test["loss"] == pytest.approx(whole[1].test["loss"], abs=1e-4)
    assert parts[1].confusion == whole[1].confusion


@pytest.mark.parametrize("threads", [2, 3])
def test_the_same_number_of_threads_gives_the_same_bits(threads: int) -> None:
    assert trained(threads)[1].weights_sha256 == trained(threads)[1].weights_sha256


def test_a_last_batch_smaller_than_the_parts_is_trained_on() -> None:
    config = small_config(**{**SETTINGS, "place__threads": 4, "data__batch_size": 85})
    dataset = small_dataset(256, shape=(1, 28, 28))  # 85 + 85 + 85 + 1
    assert isinstance(records_of(config, dataset)[-1], RunEnded)


def test_gradients_have_the_memory_format_of_their_weights() -> None:
    parts = learner(2, model__channels=[4, 8])
    data = small_dataset(**IMAGES).train  # type: ignore[arg-type]
    parts.update(data.inputs[:64], data.targets[:64], Order(0.01, 0))
    for weight in parts.weights:
        assert weight.grad is not None
        assert weight.grad.stride() == weight.stride()


WHOLE: list[dict[str, object]] = [
    {"model__norm": "batch"},  # its statistics are the batch's
    {"model__dropout": 0.5},  # it draws from one generator
    {"training__accumulate": 2},
    {"data__batch_size": 16},
    {"model__name": "mlp"},
    {"model__name": "resnet20"},
]


@pytest.mark.parametrize("settings", WHOLE, ids=str)
def test_where_parts_would_not_be_the_same_or_not_pay_the_batch_stays_whole(settings: dict[str, object]) -> None:
    assert learner(2, **settings).parts.count == 1
    assert learner(1).parts.count == 1


def test_a_loss_that_is_not_its_samples_mean_sees_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert learner(2).parts.count == 2
    monkeypatch.setitem(CLASS_LOSSES, CrossEntropy, lambda config: replace(cross_entropy(config), additive=False))
    assert learner(2).parts.count == 1
    with pytest.raises(BadInput, match=r"^training\.accumulate: 2 is not allowed with the loss cross_entropy"):
        learner(2, training__accumulate=2)


def test_where_operators_share_the_threads_well_the_batch_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert learner(2).parts.count == 2
    monkeypatch.setattr("cnnlab.training.threads._processor", lambda: "AVX512")
    assert learner(2).parts.count == 1


def test_small_steps_take_one_thread_and_large_ones_all() -> None:
    assert threads_for_step(SMALL_STEP, None) == 1
    assert threads_for_step(SMALL_STEP + 1, None) == usable_threads(None)
    assert [threads_for_step(size, 3) for size in (1, 10**12)] == [3, 3], "place.threads wins"
    digits = Learner(RunConfig(), small_dataset(shape=(1, 8, 8)))
    assert digits.threads == 1
    assert digits.operator_threads == 1
    fashion = Learner(RunConfig(), small_dataset(count=64, shape=(1, 28, 28)))
    assert fashion.threads == usable_threads(None), "the benchmarks' network at batch 64"


@pytest.mark.parametrize(("asked", "threads"), [(None, "1"), (3, "3")])
def test_a_run_says_how_many_threads_it_takes(asked: int | None, threads: str) -> None:
    started = records_of(small_config(training__epochs=1, place__threads=asked))[0]
    assert started.mlflow_tags()["cnnlab.cpu_threads"] == threads


def test_parts_keep_the_order_of_the_rows() -> None:
    for count in (1, 2, 3):
        rows = Parts(count).map(lambda number, letter: f"{number}{letter}", range(7), "abcdefg")
        assert rows == ["0a", "1b", "2c", "3d", "4e", "5f", "6g"]
