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
from cnnlab.config.schedules import Cosine, Linear, Moment, OneCycle, Polynomial, ScheduleConfig
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
    val_losses: list[float] = field(default_factory=list)
    """After each epoch."""


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
        self.steps = about.steps_per_epoch
        """Of the current epoch."""
        self._times: list[float] = []
        self._clock = time.perf_counter()

    @property
    def steps_left(self) -> int:
        """Of the current epoch."""
        return self.steps - self.position.batch

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
        return self._lr(), noise

    @property
    def batch_size(self) -> int:
        """Images per batch of the current epoch."""
        per_epoch, epochs, at = self.about.steps_per_epoch, self.about.epochs, self.position
        largest = self.about.train_size // self.config.training.accumulate
        first = at.epoch * per_epoch
        return grown(self.config.schedule, self._first_size, largest, first, per_epoch, epochs, at.val_losses)

    @property
    def _first_size(self) -> int:
        return self.config.data.images_per_step(self.about.train_size)

    def _lr(self) -> float:
        """Of the last step. A step of an epoch with fewer, larger batches counts as several."""
        per_epoch, epochs, at = self.about.steps_per_epoch, self.about.epochs, self.position
        step = at.epoch * per_epoch + (at.batch - 1) * per_epoch / self.steps
        lr = learning_rate(self.config.schedule, self.config.optimizer.lr, step, per_epoch, epochs, at.val_losses)
        return lr * self.batch_size / self._first_size

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
        best, lr, size = self._is_best(val.metrics), self._lr(), self.batch_size
        at.epoch += 1
        at.val_losses.append(val.metrics["loss"])
        if best:
            at.best_epoch, at.best = at.epoch, dict(val.metrics)
        epoch = Epoch(
            time=time.time(),
            epoch=at.epoch,
            step=at.step,
            train={"loss": at.loss_sum / samples, **self.step_metrics(at.sums, samples)},
            val=dict(val.metrics),
            lr=lr,
            batch_size=size if self.config.schedule.growth_limit else None,
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
            f"out of memory on {self.about.device} at batch size {self.batch_size}: "
            "try a smaller data.batch_size with training.accumulate, or precision bf16",
        )

    def state(self) -> dict[str, Any]:
        """The position as plain values, for a checkpoint."""
        self.count_seconds()
        return asdict(self.position)


def check_schedule(config: RunConfig, batch_size: int, steps_per_epoch: int) -> None:
    """Raises BadInput if the warm-up leaves no step to a schedule that ends with the training, or if batches that are
    to grow are too large from the start."""
    schedule, total = config.schedule, config.training.epochs * steps_per_epoch
    ends = isinstance(schedule, Cosine | Linear | Polynomial | OneCycle)
    if ends and _warmup_steps(schedule, steps_per_epoch) >= total:
        raise BadInput(
            f"schedule.warmup_epochs: {schedule.warmup_epochs:g} is not allowed: the warm-up would take all {total} "
            f"steps, which leaves none for {schedule.name}; it must be at most {(total - 1) / steps_per_epoch:.4g}"
        )
    if schedule.growth_limit and schedule.growth_limit < batch_size:
        raise BadInput(
            f"schedule.max_batch_size: {schedule.growth_limit} is not allowed; it must be at least the batch size "
            f"at the start, {batch_size}"
        )


def learning_rate(
    config: ScheduleConfig, peak: float, step: float, steps_per_epoch: int, epochs: int, losses: Sequence[float] = ()
) -> float:
    """The learning rate of the step with number `step`, counted from 0.

    During the W steps of warm-up it rises linearly: (step + 1)/(W + 1) of the schedule's first value. What follows
    equals torch.optim.lr_scheduler's StepLR, CosineAnnealingLR, LinearLR and PolynomialLR (with T_max or total_iters
    the steps after the warm-up), ExponentialLR, CyclicLR and OneCycleLR (with cycle_momentum=False), each stepped once
    per step, and ReduceLROnPlateau, stepped once per epoch. `step` cuts at whole epochs counted from the start of
    training, warm-up included; the others begin after the warm-up.

    Two things differ from PyTorch's OneCycleLR. A cycle of a single step trains at the peak; PyTorch's trains at the
    end of the cycle, peak / start_divisor / final_divisor. If rise_fraction leaves no step to rise in, the cycle begins
    at the peak; PyTorch's may divide by zero. If the warm-up takes all of the training, the rate rises to the
    schedule's first value.

    Args:
        losses: on the validation split, of the epochs that are done.
    """
    at = _moment(config, step, steps_per_epoch, epochs, losses)
    if at.step < 0:
        return peak * config.factor(at._replace(step=0, warmup=0)) * (step + 1) / (at.warmup + 1)
    return peak * config.factor(at)


def grown(
    config: ScheduleConfig,
    size: int,
    largest: int,
    step: int,
    steps_per_epoch: int,
    epochs: int,
    losses: Sequence[float],
) -> int:
    """The batch size of an epoch that begins with `step`, if the batch size grows while the learning rate stays.

    Smith et al. 2018 (arXiv 1711.00489), section 3: what counts is the learning rate divided by the batch size.

    Args:
        size: at the start.
        largest: that the data allow.
        step, steps_per_epoch, epochs, losses: as of `learning_rate`.
    """
    at = _moment(config, step, steps_per_epoch, epochs, losses)
    if config.growth_limit is None or at.step < 0:
        return size
    share, most = config.factor(at), max(size, min(config.growth_limit, largest))
    return most if share * most <= size else round(size / share)


def _moment(config: ScheduleConfig, step: float, steps_per_epoch: int, epochs: int, losses: Sequence[float]) -> Moment:
    warmup = _warmup_steps(config, steps_per_epoch)
    return Moment(step - warmup, epochs * steps_per_epoch - warmup, steps_per_epoch, warmup, losses)


def _warmup_steps(config: ScheduleConfig, steps_per_epoch: int) -> int:
    return round(config.warmup_epochs * steps_per_epoch)
