"""The loop: `for record in fit(config, dataset, learner): ...`. Nothing listens inside it; records come out of it."""

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from cnnlab.config import RunConfig
from cnnlab.data import Batches, Dataset, placement
from cnnlab.records import CheckpointSealed, Epoch, Record, RunEnded, RunStarted, Status, Steps
from cnnlab.seeds import derive
from cnnlab.training.checkpoint import Checkpoint, seal
from cnnlab.training.device import out_of_memory
from cnnlab.training.learner import Learner, StepResult
from cnnlab.training.schedule import learning_rate
from cnnlab.training.weights import save_tensors, weights_digest

LOOK_SECONDS = 0.25
"""How often the loop looks at the losses, which on an accelerator means waiting for it."""

WEIGHTS_FILE = "checkpoints/best.safetensors"


@dataclass
class Progress:
    """Where a run is: with it and the learner's state, the rest of the run is determined."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    """Batches of the current epoch that are done."""
    loss_sum: float = 0.0
    """Of the current epoch's images, as `correct`."""
    correct: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    best_epoch: int | None = None
    best_val_accuracy: float | None = None
    best_val_loss: float | None = None


class _Diverged(Exception):
    """At this step a loss or gradient was not finite."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(step, loss)
        self.step = step
        self.loss = loss


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

    Closing the iterator before its end seals a checkpoint of the last step (where there is a folder) and stops.
    The same config on the same machine gives the same weights, bit for bit, whether or not the run was stopped
    and started again on the way.

    Args:
        config: what to train.
        dataset: the data that `config.data` names.
        learner: fresh, of this config and dataset.
        folder: the run's directory, for checkpoints and the best weights; None keeps nothing.
        start: a checkpoint to go on from.
        tested: whether the test split is measured at the end.
    """
    return _Fit(config, dataset, learner, folder, tested).run(start)


@dataclass
class _Fit:
    config: RunConfig
    dataset: Dataset
    learner: Learner
    folder: Path | None
    tested: bool
    progress: Progress = field(default_factory=Progress)
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        data, training = self.config.data, self.config.training
        train = self.dataset.train
        size = len(train) if data.batch_size == "full" else data.batch_size
        self.batches = Batches(
            train,
            min(size * training.accumulate, len(train)),
            training.seed,
            data.augment,
            device=self.learner.device,
            residence=placement(data.residence, train.inputs.nbytes, self.learner.device),
            workers=data.workers,
        )
        self.clock = time.perf_counter()

    def run(self, start: Checkpoint | None) -> Generator[Record, None, None]:
        if start:
            self._restore(start)
        yield self._started()
        try:
            yield from self._epochs()
            ended = self._finished()
        except GeneratorExit:
            self._seal()
            raise
        except _Diverged as diverged:
            ended = replace(self._ended("failed", _divergence_advice(diverged)), diverged=True)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            ended = self._ended("failed", self._memory_advice())
        yield ended

    def _epochs(self) -> Iterator[Record]:
        self.clock = time.perf_counter()
        while self.progress.epoch < self.config.training.epochs and not self._out_of_patience():
            yield from self._train_epoch()
            yield self._end_epoch()
            if sealed := self._seal():
                yield sealed

    def _train_epoch(self) -> Iterator[Record]:
        every = self.config.training.checkpoint_every
        pending: list[StepResult] = []
        times: list[float] = []
        sizes: list[int] = []
        looked = time.perf_counter()
        self.learner.begin_epoch()
        for images, labels in self.batches.epoch(self.progress.epoch, first=self.progress.batch):
            pending.append(self.learner.step(images, labels, self._lr(), self._noise()))
            times.append(time.time())
            sizes.append(len(labels))
            self.progress.step += 1
            self.progress.batch += 1
            due = every is not None and self.progress.step % every == 0
            if due or time.perf_counter() - looked > LOOK_SECONDS:
                yield self._look(pending, times, sizes)
                pending, times, sizes = [], [], []
                if due and (sealed := self._seal()):
                    yield sealed
                looked = time.perf_counter()
        if pending:
            yield self._look(pending, times, sizes)

    def _lr(self) -> float:
        return learning_rate(
            self.config.schedule,
            self.config.optimizer.lr,
            self.progress.step,
            len(self.batches),
            self.config.training.epochs,
        )

    def _noise(self) -> int:
        return derive(self.config.training.seed, "dropout", self.progress.epoch, self.progress.batch)

    def _look(self, pending: list[StepResult], times: list[float], sizes: list[int]) -> Steps:
        # the one place of an epoch's steps that waits for the device
        losses = torch.stack([result.loss for result in pending]).tolist()
        bad = torch.stack([result.bad for result in pending]).tolist()
        first = self.progress.step - len(pending) + 1
        if any(bad):
            at = bad.index(1.0)
            raise _Diverged(first + at, losses[at])
        self.progress.correct += int(torch.stack([result.correct for result in pending]).sum().item())
        self.progress.loss_sum += math.fsum(loss * size for loss, size in zip(losses, sizes, strict=True))
        self._count_seconds()
        return Steps(first, tuple(losses), tuple(times))

    def _end_epoch(self) -> Epoch:
        evaluation = self.learner.evaluate(self.dataset.val)
        self._count_seconds()
        progress, images = self.progress, len(self.dataset.train)
        best = self._is_best(evaluation.accuracy, evaluation.loss)
        progress.epoch += 1
        if best:
            progress.best_epoch, progress.best_val_accuracy = progress.epoch, evaluation.accuracy
            progress.best_val_loss = evaluation.loss
            self.best_weights = self.learner.weights_copy()
        epoch = Epoch(
            time=time.time(),
            epoch=progress.epoch,
            step=progress.step,
            train_loss=progress.loss_sum / images,
            train_accuracy=progress.correct / images,
            val_loss=evaluation.loss,
            val_accuracy=evaluation.accuracy,
            lr=self.learner.optimizer.param_groups[0]["lr"],
            images_per_second=images / progress.epoch_seconds,
            seconds=progress.epoch_seconds,
            best=best,
        )
        progress.batch, progress.loss_sum, progress.correct, progress.epoch_seconds = 0, 0.0, 0, 0.0
        return epoch

    def _is_best(self, accuracy: float, loss: float) -> bool:
        best_accuracy, best_loss = self.progress.best_val_accuracy, self.progress.best_val_loss
        if best_accuracy is None or best_loss is None:
            return True
        return (accuracy, -loss) > (best_accuracy, -best_loss)

    def _out_of_patience(self) -> bool:
        patience, best = self.config.training.patience, self.progress.best_epoch
        return patience is not None and best is not None and self.progress.epoch - best >= patience

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self.progress.seconds += now - self.clock
        self.progress.epoch_seconds += now - self.clock
        self.clock = now

    def _seal(self) -> CheckpointSealed | None:
        if self.folder is None:
            return None
        self._count_seconds()
        tensors, values = self.learner.state()
        tensors.update({f"best.{name}": tensor for name, tensor in self.best_weights.items()})
        values["progress"] = asdict(self.progress)
        path = seal(self.folder / "checkpoints", self.progress.step, Checkpoint(tensors, values))
        return CheckpointSealed(time.time(), self.progress.step, self.progress.epoch, path.name)

    def _restore(self, start: Checkpoint) -> None:
        self.progress = Progress(**start.values["progress"])
        self.learner.load_state(start.tensors, start.values)
        self.best_weights = {
            name.removeprefix("best."): tensor for name, tensor in start.tensors.items() if name.startswith("best.")
        }

    def _started(self) -> RunStarted:
        dataset, learner = self.dataset, self.learner
        return RunStarted(
            time=time.time(),
            step=self.progress.step,
            epoch=self.progress.epoch,
            epochs=self.config.training.epochs,
            steps_per_epoch=len(self.batches),
            dataset=dataset.name,
            dataset_digest=dataset.digest,
            dataset_source=dataset.source,
            classes=dataset.classes,
            image_shape=dataset.image_shape,
            train_size=len(dataset.train),
            val_size=len(dataset.val),
            test_size=len(dataset.test),
            model=self.config.model.name,
            parameters=learner.parameters,
            optimizer=self.config.optimizer.name,
            device=str(learner.device),
            precision=learner.precision,
            seed=self.config.training.seed,
        )

    def _finished(self) -> RunEnded:
        """Keep the best epoch's weights, and measure the test split with them, once."""
        self.learner.load_weights(self.best_weights)
        if self.folder:
            save_tensors(self.best_weights, self.folder / WEIGHTS_FILE)
        seconds = self.progress.seconds
        ended = self._ended("finished", "")
        if self.tested:
            test = self.learner.evaluate(self.dataset.test)
            ended = replace(ended, test_loss=test.loss, test_accuracy=test.accuracy, confusion=test.confusion)
        return replace(
            ended,
            fit_seconds=seconds,
            images_per_second=self.progress.epoch * len(self.dataset.train) / seconds,
            weights_sha256=weights_digest(self.best_weights),
            weights_file=WEIGHTS_FILE if self.folder else None,
        )

    def _memory_advice(self) -> str:
        return (
            f"out of memory on {self.learner.device} at batch size {self.config.data.batch_size}: "
            "try a smaller data.batch_size with training.accumulate, or precision bf16"
        )

    def _ended(self, status: Status, reason: str) -> RunEnded:
        progress = self.progress
        return RunEnded(
            time=time.time(),
            status=status,
            reason=reason,
            step=progress.step,
            epoch=progress.epoch,
            best_epoch=progress.best_epoch,
            best_val_accuracy=progress.best_val_accuracy,
        )


def _divergence_advice(diverged: _Diverged) -> str:
    what = "the gradient" if math.isfinite(diverged.loss) else "the loss"
    return (
        f"diverged at step {diverged.step}: {what} was not finite (training loss {diverged.loss:g}); "
        "try a smaller optimizer.lr, a warm-up (schedule.warmup_epochs), or training.clip_norm=1"
    )
