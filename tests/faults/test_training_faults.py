"""Faults inside a training: numbers that blow up, too little memory, a process that prepares batches dies."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cnnlab.data import Batches
from cnnlab.errors import RunFailed
from cnnlab.records import Epoch, Record, RunEnded, Steps
from cnnlab.training import Learner, fit, load_latest
from tests.faults.table import tally
from tests.runs import losses_of, records_of, small_config, small_dataset


def hurt_at(learner: Learner, step: int, hurt: Callable[[Tensor], Tensor]) -> None:
    """Have the network's outputs of one training step changed by `hurt`."""
    count = 0

    def change(module: Any, inputs: Any, outputs: Tensor) -> Tensor:
        nonlocal count
        count += module.training
        return hurt(outputs) if module.training and count == step else outputs

    learner.model.network.register_forward_hook(change)  # type: ignore[operator, union-attr]


def infinite_gradient(outputs: Tensor) -> Tensor:
    outputs.register_hook(lambda gradient: gradient * torch.inf)
    return outputs


def no_memory(outputs: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


FAULTS: dict[str, tuple[Callable[[Tensor], Tensor], str, str]] = {
    "a NaN in a batch": (lambda outputs: outputs * torch.nan, "diverged at step 6: the loss was not finite", "failed"),
    "an infinite gradient": (infinite_gradient, "diverged at step 6: the gradient was not finite", "failed"),
    "a loss 1,000 times as large": (lambda outputs: outputs * 1000, "", "finished"),
    "out of memory": (no_memory, "out of memory", "failed"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_trained_before_is_kept_and_the_fault_is_named(fault: str, tmp_path: Path) -> None:
    hurt, reason, status = FAULTS[fault]
    config, dataset = small_config(training__checkpoint_every=1), small_dataset()
    learner = Learner(config, dataset)
    hurt_at(learner, 6, hurt)
    records = list(fit(learner, tmp_path))
    ended = records[-1]
    assert isinstance(ended, RunEnded)
    undisturbed = losses_of(records_of(config, dataset))
    kept = sum(isinstance(record, Epoch) for record in records) >= 1 and losses_of(records)[:5] == undisturbed[:5]
    named = ended.status == status and reason in ended.reason
    tally(fault, tried=1, held=int(kept and named and sum(isinstance(r, RunEnded) for r in records) == 1))
    assert kept
    assert named, ended.reason
    assert list((tmp_path / "checkpoints").iterdir())


def streamed(workers: int) -> Batches:
    return Batches(small_dataset(256).train, 8, 0, device=torch.device("cpu"), residence="stream", workers=workers)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_batches_go_on_if_a_process_that_prepares_them_dies(number: int) -> None:
    expected = [inputs for inputs, _ in streamed(0).epoch(0)]
    before, found = set(multiprocessing.active_children()), []
    for inputs, _ in streamed(2).epoch(0):
        found.append(inputs)
        if len(found) in (3, 9):
            worker = next(child for child in multiprocessing.active_children() if child not in before)
            before.add(worker)
            assert worker.pid
            os.kill(worker.pid, number)
            worker.join()
    held = len(found) == len(expected) and all(map(torch.equal, found, expected))
    tally("a process that prepares batches killed", tried=2, held=2 * held)
    assert held


def test_processes_that_die_at_once_end_the_run_with_the_setting_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.data.batches._Gathered.__getitem__", lambda self, indices: os._exit(1))
    with pytest.raises(
        RunFailed, match=r"^place.workers: 2 processes that prepare batches ended too early \(DataLoader"
    ):
        list(streamed(2).epoch(0))


@pytest.mark.parametrize("workers", [0, 4])
def test_a_run_goes_on_with_another_number_of_workers(workers: int, tmp_path: Path) -> None:
    stream = {"place__residence": "stream", "data__augment": ["flip"]}
    config, dataset = small_config(**stream, place__workers=4 - workers), small_dataset()
    other = small_config(**stream, place__workers=workers)
    first: list[Record] = []
    running = fit(Learner(config, dataset), tmp_path)
    while not any(isinstance(record, Steps) for record in first):
        first.append(next(running))
    running.close()
    learner = Learner(other, dataset)
    rest = list(fit(learner, tmp_path, load_latest(tmp_path / "checkpoints", 10**9)))
    whole = records_of(config, dataset)
    held = rest[-1].weights_sha256 == whole[-1].weights_sha256  # type: ignore[attr-defined]
    tally("resumed with another number of loader workers", tried=1, held=int(held))
    assert held
