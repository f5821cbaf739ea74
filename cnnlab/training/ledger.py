"""The ledger of one run: its position, learning rate, sums, best epoch and records. It knows no tensors."""

import json
import math
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from cnnlab.config import RunConfig, flat
from cnnlab.config.run_config import is_place
from cnnlab.config.schedules import Cosine, OneCycle, ScheduleConfig
from cnnlab.errors import BadInput
from cnnlab.metrics import Measured, words_of
from cnnlab.records import Epoch, RunEnded, RunStarted, Status, Steps
from cnnlab.seeds import derive

StepMetrics = Callable[[Sequence[float], int], dict[str, float]]
"""As `Task.step_metrics`: an epoch's step sums, its number of samples -> metrics."""


@dataclass(frozen=True)
class Taken:
    """Results of consecutive steps, read from the device."""

    losses: Sequence[float]
    """Of each step, the mean over its samples."""
    bad: Sequence[bool]
    """Of each step, whether it was not applied because its loss or gradient was not finite."""
    sizes: Sequence[int]
    """The number of samples of each step."""
    sums: Sequence[float]
    """The task's step sums over all samples of these steps."""


@dataclass
class Position:
    """The position of a run. The position and the learner's state determine the rest of the run."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    """The number of batches of the current epoch that are done."""
    loss_sum: float = 0.0
    """Over the current epoch's samples, like `sums`."""
    sums: list[float] = field(default_factory=list)
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    best_epoch: int | None = None
    best: dict[str, float] = field(default_factory=dict)
    """Metrics of the validation split after the best epoch."""


NORMS_EVERY = 50
"""Steps; closer, the norms of small networks cost more than 2 % of the time."""
ABOUT = (
    *("classes", "image_shape", "train_size", "val_size", "test_size", "dataset_digest", "parameters"),
    "initial_sha256",
)


def identity(config: RunConfig, about: RunStarted) -> dict[str, Any]:
    """What a resume must not change: the settings except the place, the data, the size of the network, and
    the weights that it started from.

    The values are plain, as JSON returns them.
    """
    settings = {path: value for path, value in flat(config).items() if not is_place(path)}
    values = {**settings, **{name: getattr(about, name) for name in ABOUT}}
    return dict(json.loads(json.dumps(values)))


def check_identity(now: Mapping[str, Any], before: Mapping[str, Any], source: Path) -> None:
    """Raises BadInput, with the first difference, if `source` is of another run."""
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, list) and isinstance(new, list):
            index, old, new = next((i, a, b) for i, (a, b) in enumerate(zip_longest(old, new)) if a != b)
            name = f"{name}[{index}]"
        raise BadInput(f"{name}: {source} was made with {old!r}, but now it is {new!r}; put it back, or make a new run")


class Diverged(Exception):
    """Its arguments are the step and a clause, as in "the validation loss was not finite"."""


class Ledger:
    """Counts one run: gives each step its learning rate, adds up the results, and makes the records.

    Args:
        config: what to train.
        about: gives the sizes, the number of steps and the score.
        step_metrics: the task's.
        position: to resume from; None to begin.
    """

    def __init__(
        self, config: RunConfig, about: RunStarted, step_metrics: StepMetrics, position: Position | None = None
    ) -> None:
        self.config = config
        self.about = about
        self.step_metrics = step_metrics
        self.position = position or Position()
        self._times: list[float] = []
        self._clock = time.perf_counter()

    @property
    def steps_left(self) -> int:
        """Of the current epoch."""
        return self.about.steps_per_epoch - self.position.batch

    @property
    def done(self) -> bool:
        """Whether all epochs are done, or the patience is used up."""
        patience, best, epoch = self.config.training.patience, self.position.best_epoch, self.position.epoch
        impatient = patience is not None and best is not None and epoch - best >= patience
        return epoch >= self.about.epochs or impatient

    def start(self) -> RunStarted:
        """Start the clock; returns the first record."""
        self._clock = time.perf_counter()
        return replace(self.about, time=time.time(), step=self.position.step, epoch=self.position.epoch)

    def next_step(self) -> tuple[float, int]:
        """Count the next step; returns its learning rate, and the seed of the network's own randomness (dropout)."""
        at = self.position
        noise = derive(self.config.training.seed, "dropout", at.epoch, at.batch)
        at.step += 1
        at.batch += 1
        self._times.append(time.time())
        return self._lr(at.step - 1), noise

    def _lr(self, step: int) -> float:
        """Of the step with number `step`, counted from 0."""
        optimizer, about = self.config.optimizer, self.about
        return learning_rate(self.config.schedule, optimizer.lr, step, about.steps_per_epoch, about.epochs)

    def checkpoint_is_due(self) -> bool:
        """Whether `training.checkpoint_every` asks for a checkpoint after the last step."""
        every = self.config.training.checkpoint_every
        return every is not None and self.position.step % every == 0

    def norms_are_due(self) -> bool:
        """Whether `training.record_norms` asks for the norms after the last step.

        It does at step 1, after the last epoch, and after those before it that are at least NORMS_EVERY steps apart.
        """
        every = math.ceil(NORMS_EVERY / self.about.steps_per_epoch)
        at_end = not self.steps_left and (self.about.epochs - 1 - self.position.epoch) % every == 0
        return self.config.training.record_norms and (self.position.step == 1 or at_end)

    def note(self, taken: Taken) -> Steps:
        """Add the results of the steps since the last call; returns their record.

        Raises:
            Diverged: a loss or gradient was not finite.
        """
        first, times = self.position.step - len(taken.losses) + 1, tuple(self._times)
        self._times = []
        if any(taken.bad):
            index = list(taken.bad).index(True)
            loss = taken.losses[index]
            what = "the gradient" if math.isfinite(loss) else "the loss"
            raise Diverged(first + index, f"{what} was not finite (training loss {loss:g})")
        sums = self.position.sums or [0.0] * len(taken.sums)
        self.position.sums = [before + new for before, new in zip(sums, taken.sums, strict=True)]
        self.position.loss_sum += math.fsum(map(operator.mul, taken.losses, taken.sizes))
        self.count_seconds()
        return Steps(first, tuple(taken.losses), times)

    def end_epoch(self, val: Measured) -> Epoch:
        """End the current epoch with the results on the validation split; returns its record.

        Raises:
            Diverged: a metric is not finite.
        """
        self._check_finite(val, "validation")
        self.count_seconds()
        at, samples = self.position, self.about.train_size
        best = self._is_best(val.metrics)
        at.epoch += 1
        if best:
            at.best_epoch, at.best = at.epoch, dict(val.metrics)
        epoch = Epoch(
            time=time.time(),
            epoch=at.epoch,
            step=at.step,
            train={"loss": at.loss_sum / samples, **self.step_metrics(at.sums, samples)},
            val=dict(val.metrics),
            lr=self._lr(at.step - 1),
            images_per_second=samples / at.epoch_seconds,
            seconds=at.epoch_seconds,
            best=best,
        )
        at.batch, at.loss_sum, at.sums, at.epoch_seconds = 0, 0.0, [], 0.0
        return epoch

    def _check_finite(self, measured: Measured, split: str) -> None:
        for name, value in measured.metrics.items():
            if not math.isfinite(value):
                raise Diverged(self.position.step, f"the {split} {words_of(name)} was not finite ({value:g})")

    def _is_best(self, metrics: Mapping[str, float]) -> bool:
        """By the score; if the scores are equal, by the loss."""
        score, before = self.about.score, self.position.best
        if not before:
            return True
        gain = score.gain(metrics[score.name], before[score.name])
        return gain > 0 or (gain == 0 and metrics["loss"] < before["loss"])

    def count_seconds(self) -> None:
        """Add the seconds since the last call."""
        now = time.perf_counter()
        self.position.seconds += now - self._clock
        self.position.epoch_seconds += now - self._clock
        self._clock = now

    def ended(self, status: Status, reason: str) -> RunEnded:
        """The last record of a run that ends at its present position."""
        at = self.position
        return RunEnded(
            time=time.time(),
            status=status,
            reason=reason,
            step=at.step,
            epoch=at.epoch,
            best_epoch=at.best_epoch,
            best=dict(at.best),
            score=self.about.score.name,
        )

    def diverged(self, error: Diverged) -> RunEnded:
        """The last record of a run in which a number was not finite."""
        precision = "--precision fp32, " if self.about.precision == "bf16" else ""
        step, what = error.args
        reason = (
            f"diverged at step {step}: {what}; try {precision}a smaller optimizer.lr, "
            "a warm-up (schedule.warmup_epochs), or training.clip_norm=1"
        )
        return replace(self.ended("failed", reason), diverged=True)

    def finished(self, test: Measured | None, sha256: str, weights_file: str | None) -> RunEnded:
        """The last record of a run that is done, with the results of the best epoch's weights on the test split.

        Raises:
            Diverged: a metric of the test split is not finite.
        """
        if test:
            self._check_finite(test, "test")
        at = self.position
        return replace(
            self.ended("finished", ""),
            test=dict(test.metrics) if test else {},
            confusion=test.confusion if test else None,
            fit_seconds=at.seconds,
            images_per_second=at.epoch * self.about.train_size / at.seconds,
            weights_sha256=sha256,
            weights_file=weights_file,
        )

    def out_of_memory(self) -> RunEnded:
        return self.ended(
            "failed",
            f"out of memory on {self.about.device} at batch size {self.config.data.batch_size}: "
            "try a smaller data.batch_size with training.accumulate, or precision bf16",
        )

    def state(self) -> dict[str, Any]:
        """The position as plain values, for a checkpoint."""
        self.count_seconds()
        return asdict(self.position)


def check_warmup(config: RunConfig, steps_per_epoch: int) -> None:
    """Raises BadInput if the warm-up leaves no step to a cosine or one-cycle schedule."""
    schedule, total = config.schedule, config.training.epochs * steps_per_epoch
    if isinstance(schedule, Cosine | OneCycle) and _warmup_steps(schedule, steps_per_epoch) >= total:
        raise BadInput(
            f"schedule.warmup_epochs: {schedule.warmup_epochs:g} is not allowed: the warm-up would take all {total} "
            f"steps, which leaves none for {schedule.name}; it must be at most {(total - 1) / steps_per_epoch:.4g}"
        )


def learning_rate(config: ScheduleConfig, peak: float, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of the step with number `step`, counted from 0.

    During the W steps of warm-up it rises linearly: (step + 1)/(W + 1) of the schedule's first value. What follows
    equals torch.optim.lr_scheduler's StepLR, CosineAnnealingLR (with T_max the steps after the warm-up) and
    OneCycleLR (with cycle_momentum=False), each stepped once per step. `step` cuts at whole epochs counted from the
    start of training, warm-up included.

    Two things differ from PyTorch's OneCycleLR. A cycle of a single step trains at the peak; PyTorch's trains at the
    end of the cycle, peak / start_divisor / final_divisor. If rise_fraction leaves no step to rise in, the cycle begins
    at the peak; PyTorch's may divide by zero. If the warm-up takes all of the training, the rate rises to the
    schedule's first value.
    """
    warmup = _warmup_steps(config, steps_per_epoch)
    total = epochs * steps_per_epoch - warmup
    if step < warmup:
        return peak * config.factor(0, total, 0.0) * (step + 1) / (warmup + 1)
    return peak * config.factor(step - warmup, total, step / steps_per_epoch)


def _warmup_steps(config: ScheduleConfig, steps_per_epoch: int) -> int:
    return round(config.warmup_epochs * steps_per_epoch)
