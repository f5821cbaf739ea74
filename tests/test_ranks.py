"""A batch over ranks: the same training as by the whole batch, and the same bits whoever computes the parts."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cnnlab.config import RunConfig
from cnnlab.data import Dataset, Split
from cnnlab.errors import BadInput
from cnnlab.records import Record, RunEnded, Steps
from cnnlab.tasks.classification import Classification
from cnnlab.training import Learner, fit
from cnnlab.training.checkpoint import load_latest
from cnnlab.training.place import set_for_training, usable_threads
from cnnlab.training.ranks import SMALL_STEP, Ranks, ranks_for_step, shared_zeros, threads_for_step
from tests.runs import losses_of, small_config, small_dataset

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ranks are forks that share memory")

IMAGES = small_dataset(256, shape=(1, 12, 12))


@pytest.fixture(autouse=True)
def _no_step_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.training.ranks.SMALL_STEP", 0)


def learner(threads: int, dataset: Dataset = IMAGES, **settings: object) -> Learner:
    base = {"data__batch_size": 64, "training__epochs": 2, "place__threads": threads}
    return Learner(small_config(**base | settings), dataset)


def trained(training: Learner, folder: Path | None = None) -> list[Record]:
    return list(fit(training, folder))


def digest(records: list[Record]) -> str:
    assert isinstance(records[-1], RunEnded)
    assert records[-1].weights_sha256
    return records[-1].weights_sha256


def ended(records: list[Record]) -> RunEnded:
    assert isinstance(records[-1], RunEnded)
    return records[-1]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_ranks_train_as_the_whole_does(optimizer: str, clip: float | None) -> None:
    settings = {"optimizer__name": optimizer, "optimizer__lr": 0.005, "training__clip_norm": clip, "penalty__l1": 0.001}
    whole, ranks = learner(1, **settings), learner(3, **settings)
    assert (whole.ranks.count, ranks.ranks.count, ranks.operator_threads) == (1, 3, 1)
    by_one, by_three = trained(whole), trained(ranks)
    assert losses_of(by_three) == pytest.approx(losses_of(by_one), abs=1e-4)
    assert ended(by_three).test["loss"] == pytest.approx(ended(by_one).test["loss"], abs=1e-4)
    assert ended(by_three).confusion == ended(by_one).confusion


def test_mixed_batches_grow_over_ranks() -> None:
    growing = {
        "data__augment": ["mixup"],
        "schedule__name": "step",
        "schedule__step_epochs": 1,
        "schedule__max_batch_size": 256,
    }
    whole, ranks = trained(learner(1, **growing)), trained(learner(3, **growing))
    assert len(losses_of(ranks)) == 4 + 1
    assert losses_of(ranks) == pytest.approx(losses_of(whole), abs=1e-4)


def test_the_gradient_is_that_of_plain_pytorch() -> None:
    ranks = learner(2, model__channels=[4, 8])
    data = IMAGES.train
    expected = F.cross_entropy(ranks.model(data.inputs[:51]), data.targets[:51])
    gradients = torch.autograd.grad(expected, ranks.weights)
    with ranks.at_work():
        loss, _ = ranks.gradients(data.inputs[:51], data.targets[:51], 0)
    torch.testing.assert_close(loss, expected.detach())
    for weight, gradient in zip(ranks.weights, gradients, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, gradient)
        assert weight.grad.stride() == weight.stride(), "fused kernels walk both in the order of memory"


def test_the_bits_do_not_depend_on_who_computes_a_part() -> None:
    """By forks, and by this process alone, with dropout."""
    forks, alone = learner(2, model__dropout=0.5), learner(2, model__dropout=0.5)
    order = [(0.05, noise) for noise in range(5)]
    data = IMAGES.train
    with set_for_training(forks.operator_threads, forks.generator):  # another number of threads gives other bits
        with forks.at_work():
            assert len(forks.ranks._forks) == 1
            for lr, noise in order:
                forks.update(data.inputs[:64], data.targets[:64], lr, noise)
        alone.model.train()
        for lr, noise in order:
            alone.update(data.inputs[:64], data.targets[:64], lr, noise)
    assert all(torch.equal(*pair) for pair in zip(forks.weights, alone.weights, strict=True))


def test_dropout_differs_between_the_parts_of_a_batch() -> None:
    ranks = learner(2, model__dropout=0.5)
    one = IMAGES.train.inputs[:1].repeat(64, 1, 1, 1), IMAGES.train.targets[:1].repeat(64)
    ranks.model.train()
    ranks.gradients(*one, 0)
    assert not torch.equal(*ranks.gradients.parts)  # type: ignore[attr-defined]


def test_a_stopped_and_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    settings = {"model__dropout": 0.3, "optimizer__name": "adam"}
    whole = trained(learner(2, **settings))
    first = learner(2, **settings)
    running = fit(first, tmp_path)
    while not isinstance(next(running), Steps):
        pass
    running.close()
    second = learner(2, **settings)
    rest = list(fit(second, tmp_path, load_latest(tmp_path / "checkpoints", 10**9)))
    assert digest(rest) == digest(whole)


def test_a_fork_that_cannot_begin_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forked while a lock was held, it would wait for it for ever."""
    monkeypatch.setattr("cnnlab.training.ranks.START_PATIENCE", 0.2)
    serve, forks = Ranks._serve, []

    def fork(ranks: Ranks) -> object:
        forks.append(os.getpid())
        return real(ranks)

    real = Ranks._fork
    monkeypatch.setattr(Ranks, "_fork", fork)
    monkeypatch.setattr(Ranks, "_serve", lambda *given: serve(*given) if len(forks) > 1 else time.sleep(600))
    ranks = Ranks(2)
    with ranks.at_work(os.getpid):
        assert len(forks) == 2
        here, there = ranks.map(os.getpid, [(), ()])
    assert here == os.getpid() != there


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_is_lost_is_done_without(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.training.ranks.PATIENCE", 0.5)
    whole = trained(learner(2))
    hurt = learner(2)
    records = []
    for record in fit(hurt):
        records.append(record)
        if isinstance(record, Steps) and len(records) < 4:
            os.kill(hurt.ranks._forks[1].pid, number)
    assert digest(records) == digest(whole)


def test_an_error_of_a_part_comes_up_here() -> None:
    def fail(row: int) -> int:
        if row:
            raise ValueError(f"row {row}")
        return row

    ranks = Ranks(2)
    with ranks.at_work(fail), pytest.raises(ValueError, match="row 1"):
        ranks.map(fail, [(0,), (1,)])


def test_answers_come_in_the_order_of_the_rows() -> None:
    def answer(number: int, letter: str) -> tuple[str, int]:
        return f"{number}{letter}", os.getpid()

    ranks = Ranks(3)
    with ranks.at_work(answer):
        for count in (1, 2, 3):
            answers = ranks.map(answer, list(enumerate("abc"))[:count])
            assert [text for text, _ in answers] == ["0a", "1b", "2c"][:count]
            assert len({pid for _, pid in answers}) == count
    assert {pid for _, pid in ranks.map(answer, list(enumerate("abc")))} == {os.getpid()}


def children() -> set[int]:
    """The processes that this one has begun and not buried."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):  # gone
            continue
        if parent == os.getpid():
            found.add(int(folder.name))
    return found


@pytest.mark.parametrize("closed", [False, True])
def test_no_rank_outlives_its_training(closed: bool) -> None:
    before = children()
    training = learner(3)
    running = fit(training)
    next(running)
    assert len(children() - before) == 2
    if closed:
        running.close()
    else:
        list(running)
    assert not children() - before


def test_a_training_may_be_in_another_thread_and_after_shared_operators() -> None:
    """GNU OpenMP's threads do not come along into a fork."""
    torch.set_num_threads(2)
    torch.randn(512, 512) @ torch.randn(512, 512)
    digests: list[str] = []
    thread = threading.Thread(target=lambda: digests.append(digest(trained(learner(2)))))
    thread.start()
    thread.join(60)
    assert digests == [digest(trained(learner(2)))]


def test_a_last_batch_smaller_than_the_ranks_is_trained_on() -> None:
    dataset = small_dataset(256, shape=(1, 12, 12))  # 85 + 85 + 85 + 1
    assert ended(trained(learner(4, dataset, data__batch_size=85))).weights_sha256


def test_masks_are_learned_over_ranks() -> None:
    inputs = torch.randint(0, 255, (64, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    split = Split(inputs, (inputs[:, 0] > 127).byte())
    dataset = replace(IMAGES, classes=("dark", "light"), train=split, val=split, test=split)
    settings = {"data__dataset": "shapes_masks", "model__name": "fcn", "model__norm": "none", "model__channels": [4, 8]}
    whole, ranks = learner(1, dataset, **settings), learner(2, dataset, **settings)
    assert ranks.ranks.count == 2
    assert losses_of(trained(ranks)) == pytest.approx(losses_of(trained(whole)), abs=1e-4)


WHOLE: list[dict[str, object]] = [
    {"model__norm": "batch"},  # its statistics are the batch's
    {"training__accumulate": 2},  # a micro-batch is a part already
    {"data__batch_size": 31},
    {"model__name": "resnet20"},
    {"model__name": "torchvision/resnet18"},  # who knows what it does
]


@pytest.mark.parametrize("settings", WHOLE, ids=str)
def test_where_a_part_would_see_something_else_the_batch_stays_whole(settings: dict[str, object]) -> None:
    stays = learner(2, **settings)
    assert (stays.ranks.count, stays.operator_threads) == (1, 2)


def test_a_loss_that_is_not_its_samples_mean_sees_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert learner(2).ranks.count == 2
    monkeypatch.setattr(Classification, "additive", False)
    assert learner(2).ranks.count == 1
    with pytest.raises(BadInput, match=r"^training\.accumulate: 2 is not allowed with the loss cross_entropy"):
        learner(2, training__accumulate=2)


def test_small_steps_take_one_thread_and_large_ones_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.training.ranks.SMALL_STEP", SMALL_STEP)
    assert threads_for_step(SMALL_STEP, None) == 1
    assert threads_for_step(SMALL_STEP + 1, None) == usable_threads(None)
    assert [threads_for_step(size, 3) for size in (1, 10**12)] == [3, 3], "place.threads wins"
    assert [ranks_for_step(size, 64, 2) for size in (SMALL_STEP, SMALL_STEP + 1)] == [1, 2]
    assert [ranks_for_step(10**12, 128, threads) for threads in (1, 2, 8, 9)] == [1, 2, 8, 1]
    digits = Learner(RunConfig(), small_dataset(shape=(1, 8, 8)))
    assert (digits.threads, digits.operator_threads, digits.ranks.count) == (1, 1, 1)
    fashion = Learner(RunConfig(), small_dataset(count=64, shape=(1, 28, 28)))
    assert fashion.threads == usable_threads(None), "the benchmarks' network at batch 64"


@pytest.mark.parametrize(("asked", "threads"), [(None, "1"), (3, "3")])
def test_a_run_says_how_many_threads_it_takes(asked: int | None, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.training.ranks.SMALL_STEP", SMALL_STEP)
    training = Learner(small_config(training__epochs=1, place__threads=asked), small_dataset())
    assert trained(training)[0].mlflow_tags()["cnnlab.cpu_threads"] == threads


def test_shared_memory_takes_any_shape() -> None:
    assert [tuple(shared_zeros(shape).shape) for shape in [(), (0, 3), (2, 0), (3, 4)]] == [(), (0, 3), (2, 0), (3, 4)]


@pytest.fixture
def running(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """`cnnlab train` over two ranks, in a process group of its own."""
    command = ["-m", "cnnlab", "train", "--epochs", "500", "-s", "data.batch_size=256", "-s", "place.threads=2"]
    process = subprocess.Popen(
        [sys.executable, *command, "-s", "model.channels=[32,64]", "--run-dir", "run", "--tracking-uri", "none"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def rank_of(process: "subprocess.Popen[str]", deadline: float = 90) -> int:
    """The process id of its rank 1, when an epoch has ended."""
    end = time.monotonic() + deadline
    assert process.stderr is not None
    while time.monotonic() < end:
        if process.stderr.readline().startswith("epoch "):
            tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
            forks = [int(pid) for task in tasks for pid in task.read_text().split()]
            return next(pid for pid in forks if b"--epochs" in Path(f"/proc/{pid}/cmdline").read_bytes())
    raise AssertionError("no epoch")


def gone(pid: int, deadline: float = 30) -> bool:
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_to_all_processes_ends_the_run_as_one_to_rank_0_does(
    running: "subprocess.Popen[str]", number: int, code: int, tmp_path: Path
) -> None:
    rank = rank_of(running)
    assert len(os.listdir(f"/proc/{rank}/fd")) == 4, "the run's lock and others' pipes would outlive rank 0"
    if number == signal.SIGKILL:
        running.kill()
    else:
        os.killpg(running.pid, number)
    running.communicate(timeout=60)
    assert running.returncode == code
    assert gone(rank)
    assert number == signal.SIGKILL or list((tmp_path / "run" / "checkpoints").iterdir())
