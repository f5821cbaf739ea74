"""A small recorded run in a process of its own, which may be killed at any moment, and what it has to end with."""

import hashlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from cnnlab.config import RunConfig
from cnnlab.data import Dataset
from cnnlab.records import RunEnded, Steps
from cnnlab.run import create_run, record_run
from cnnlab.tracking import RunDir, last, read
from cnnlab.training import Learner
from tests.runs import small_config, small_dataset

STEPS_AN_EPOCH = 8


def config(epochs: int = 4, **settings: object) -> RunConfig:
    """Dropout, batch norm, augmentation and Adam: all that a checkpoint has to bring back."""
    noisy = {"model__dropout": 0.3, "model__norm": "batch", "data__augment": ["crop"], "optimizer__name": "adam"}
    return small_config(**{**noisy, "data__batch_size": 8, "training__epochs": epochs, **settings})


def new_run(path: Path, of: RunConfig) -> RunDir:
    return create_run(of, "faults", "none", path.absolute())


def prepared(of: RunConfig, dataset: Dataset | None = None) -> Learner:
    dataset = dataset or small_dataset()
    return Learner(of, dataset)


def train(run: RunDir, of: RunConfig, dataset: Dataset | None = None) -> None:
    """To the end, from where it was left."""
    for _ in record_run(prepared(of, dataset), run):
        pass


def train_elsewhere(run: RunDir, of: RunConfig, death: tuple[str, int] | None = None) -> BaseProcess:
    """`train` in another process, which has PyTorch already.

    Args:
        death: what it is killed after, and after how many times of that.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_train_until, args=(run, of, death))
    process.start()
    return process


def _train_until(run: RunDir, of: RunConfig, death: tuple[str, int] | None) -> None:
    if death:
        _die(*death)
    train(run, of)


def _die(after: str, times: int) -> None:
    """Have this process killed when a file of a checkpoint has been written, synced or renamed so many times."""
    from cnnlab import files

    done = 0

    def counted(real: Callable[..., Any], *, before: bool) -> Callable[..., Any]:
        def call(path: Path, *rest: Path) -> None:
            nonlocal done
            ours = path.name.startswith(".")  # a temporary name, not the folder that is synced after the renaming
            done += ours
            if not before:
                real(path, *rest)
            if ours and done == times:
                os.kill(os.getpid(), signal.SIGKILL)
            if before:
                real(path, *rest)

        return call

    if after == "rename":
        os.replace = counted(os.replace, before=False)
    else:
        files._sync = counted(files._sync, before=after == "write")


def outcome(run: RunDir) -> dict[str, Any]:
    """All that two runs with the same bits have in common: each loss, the weights, the last checkpoint to the bit."""
    records = read(run.journal_file)[0]
    ended = last(records, RunEnded)
    assert ended is not None
    losses = [
        (step, loss) for r in records if isinstance(r, Steps) for step, loss in enumerate(r.losses, start=r.first)
    ]
    newest = max(run.checkpoints.glob("step-*.json"))
    values = json.loads(newest.read_text())["values"]
    progress = {key: value for key, value in values["progress"].items() if "seconds" not in key}
    return {
        "losses": losses,
        "status": ended.status,
        "scores": (ended.best, ended.test, ended.best_epoch, ended.step, ended.epoch),
        "weights": (ended.weights_sha256, _sha256(run.checkpoints / "best.safetensors")),
        "checkpoint": (newest.name, _sha256(newest.with_suffix(".safetensors")), {**values, "progress": progress}),
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
