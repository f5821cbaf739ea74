"""One run: `for record in fit(config, dataset, learner): ...`. Nothing listens inside it; records come out of it."""

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from cnnlab.config import RunConfig
from cnnlab.config.data import TASKS
from cnnlab.data import Dataset, describe
from cnnlab.records import Record, RunStarted
from cnnlab.training.checkpoint import Checkpoint
from cnnlab.training.driver import Seat, drive
from cnnlab.training.learner import ROW, Learner
from cnnlab.training.ledger import Ledger, Position, check_identity, identity
from cnnlab.training.process import set_for_training


def fit(
    config: RunConfig,
    dataset: Dataset,
    learner: Learner,
    folder: Path | None = None,
    start: Checkpoint | None = None,
    *,
    tested: bool = True,
) -> Generator[Record, None, None]:
    """Train, and say what happens: RunStarted, Steps and Epoch and CheckpointSealed as they come, RunEnded.

    Closing the iterator before its end seals a checkpoint of the last step (if there is a folder) and stops.
    The same config on the same machine gives the same weights, bit for bit, whether or not the run was stopped
    and started again on the way.

    Args:
        config: what to train.
        dataset: the data that `config.data` names.
        learner: fresh, of this config and dataset.
        folder: the run's directory, for checkpoints and the best weights; None keeps nothing.
        start: a checkpoint to go on from.
        tested: whether the test split is measured at the end.

    Raises:
        BadInput: the checkpoint is of another run; naming the first difference.
        InUse: another thread of this process trains.
    """
    position, about = None, run_started(config, dataset, learner)
    if start:
        check_identity(identity(config, about), start.values["run"], (folder or Path()) / "checkpoints")
        position = Position(**start.values["progress"])
        learner.load_state(start.tensors, start.values)
    ledger = Ledger(config, about, learner.task.step_metrics, position)
    seats = {ROW: Seat(ledger, folder, tested)}
    with (
        set_for_training(learner.operator_threads, learner.generator),
        learner.at_work(),
        closing(drive(learner, seats)) as said,
    ):
        for _, record in said:
            yield record


def run_started(config: RunConfig, dataset: Dataset, learner: Learner) -> RunStarted:
    """The run as it starts."""
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
        counts=dict(dataset.counts),
        notes=tuple(describe(dataset)),
    )
