"""The training loop: `for record in fit(learner): ...`."""

import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnnlab.config.data import TASKS
from cnnlab.data import describe
from cnnlab.files import written_whole
from cnnlab.records import CheckpointSealed, Norms, Record, RunEnded, RunStarted
from cnnlab.training.checkpoint import Checkpoint, save_tensors, seal, weights_digest
from cnnlab.training.learner import Learner
from cnnlab.training.ledger import Diverged, Ledger, Position, check_identity, identity
from cnnlab.training.place import out_of_memory, set_for_training

LOOK_SECONDS = 0.25
"""Seconds between two readings of the losses, each of which waits for the device."""

WEIGHTS_FILE = "checkpoints/best.safetensors"
EXAMPLES_FILE = "examples.safetensors"
CORRECT_FILE = "test_correct.npy"
"""Of a run whose score counts samples: (N,) bool in the order of the test split, whether the score counts a sample."""


def fit(
    learner: Learner,
    folder: Path | None = None,
    start: Checkpoint | None = None,
    *,
    tested: bool = True,
) -> Generator[Record, None, None]:
    """Train; yield RunStarted, then Steps, Epoch and CheckpointSealed as they occur, then RunEnded.

    If the iterator is closed before its end, the training stops and a checkpoint of the last step is sealed (if there
    is a folder). The same config on the same machine gives the same weights, bit for bit, even if the run was stopped
    and resumed.

    Args:
        learner: a new one.
        folder: the run's directory, for checkpoints and the best weights; None to write no files.
        start: the checkpoint to resume from.
        tested: whether the test split is measured at the end.

    Raises:
        BadInput: the checkpoint is of another run; the message names the first difference.
        InUse: another thread of this process trains.
    """
    position, about = None, run_started(learner)
    if start:
        check_identity(identity(learner.config, about), start.values["run"], (folder or Path()) / "checkpoints")
        position = Position(**start.values["progress"])
        learner.load_state(start.tensors, start.values)
    ledger = Ledger(learner.config, about, learner.task.step_metrics, position)
    with set_for_training(learner.operator_threads, learner.generator), learner.at_work():
        yield from _Loop(learner, ledger, folder).run(tested)


def run_started(learner: Learner) -> RunStarted:
    """The record of a run that starts."""
    config, dataset = learner.config, learner.dataset
    return RunStarted(
        time=time.time(),
        step=0,
        epoch=0,
        epochs=config.training.epochs,
        steps_per_epoch=len(learner.batches),
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        dataset_source=dataset.source,
        classes=dataset.classes,
        image_shape=dataset.image_shape,
        train_size=len(dataset.train),
        val_size=len(dataset.val),
        test_size=len(dataset.test),
        model=config.model.name,
        parameters=learner.parameters,
        optimizer=config.optimizer.name,
        device=str(learner.device),
        precision=learner.precision,
        cpu_threads=learner.threads,
        seed=config.training.seed,
        task=config.task.name,
        score=config.task.metric,
        measured=TASKS[config.task.name].metrics,
        output_shape=learner.task.output_shape,
        rendering=dataset.rendering,
        stored_size=dataset.stored_size,
        counts=dict(dataset.counts),
        skipped_images=dataset.skipped,
        notes=tuple(describe(dataset)),
        initial_sha256=learner.initial_sha256,
    )


class _Loop(NamedTuple):
    """Asks the learner for steps and updates the ledger."""

    learner: Learner
    ledger: Ledger
    folder: Path | None

    def run(self, tested: bool) -> Generator[Record, None, None]:
        try:
            yield self.ledger.start()
            while not self.ledger.done:
                yield from self._train_epoch()
            yield self._finish(tested)
        except GeneratorExit:
            self._seal()
            raise
        except Diverged as diverged:
            yield self.ledger.diverged(diverged)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            yield self.ledger.out_of_memory()

    def _train_epoch(self) -> Iterator[Record]:
        yield from self._take_steps()
        epoch = self.ledger.end_epoch(self.learner.measure("val"))
        if epoch.best:
            self.learner.keep_best()
        yield epoch
        yield from self._seal()

    def _take_steps(self) -> Iterator[Record]:
        """Take the remaining steps of an epoch. Only `collect` waits for the device."""
        at = self.ledger.position
        self.ledger.steps = self.learner.begin_epoch(at.epoch, at.batch, self.ledger.batch_size)
        looked = time.perf_counter()
        while self.ledger.steps_left:
            self.learner.step(*self.ledger.next_step())
            due, norms = self.ledger.checkpoint_is_due(), self.ledger.norms_are_due()
            if not (due or norms or not self.ledger.steps_left or time.perf_counter() - looked > LOOK_SECONDS):
                continue
            yield self.ledger.note(self.learner.collect())
            if norms:
                yield Norms(time.time(), self.ledger.position.step, *self.learner.norms())
            if due:
                yield from self._seal()
            looked = time.perf_counter()

    def _seal(self) -> list[CheckpointSealed]:
        if self.folder is None:
            return []
        position, run = self.ledger.position, identity(self.ledger.config, self.ledger.about)
        tensors, values = self.learner.state()
        checkpoint = Checkpoint(tensors, {**values, "progress": self.ledger.state(), "run": run})
        path = seal(self.folder / "checkpoints", position.step, checkpoint)
        return [CheckpointSealed(time.time(), position.step, position.epoch, path.name)]

    def _finish(self, tested: bool) -> RunEnded:
        """Save the best epoch's weights; measure the test split once with them; save which samples are correct, and
        examples for the task's figure."""
        weights = self.learner.best_weights
        self.learner.load_weights(weights)
        if self.folder:
            save_tensors(weights, self.folder / WEIGHTS_FILE)
        test = self.learner.measure("test") if tested else None
        if self.folder and test and test.correct is not None:
            with written_whole(self.folder / CORRECT_FILE) as file, file.open("wb") as opened:
                np.save(opened, np.frombuffer(test.correct, np.bool_), allow_pickle=False)
        ended = self.ledger.finished(test, weights_digest(weights), WEIGHTS_FILE if self.folder else None)
        if not (tested and self.folder and (examples := self.learner.examples())):
            return ended
        save_tensors(examples, self.folder / EXAMPLES_FILE)
        return replace(ended, examples_file=EXAMPLES_FILE)
