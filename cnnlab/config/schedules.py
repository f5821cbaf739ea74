"""The learning-rate schedules, one class each: its settings and its formula. Adding one: a class and an entry here."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from cnnlab.config.section import Entry, Section


class Moment(NamedTuple):
    """A position in a training. If batches grow, a step is a fraction of the steps of an epoch of the first batches."""

    step: float
    """Counted from the end of the warm-up."""
    total: int
    """The number of steps after the warm-up."""
    steps_per_epoch: int
    warmup: int = 0
    """The number of its steps."""
    losses: Sequence[float] = ()
    """On the validation split, of the epochs that are done."""

    @property
    def share(self) -> float:
        """Of the steps after the warm-up."""
        return self.step / max(self.total, 1)

    @property
    def epoch(self) -> float:
        """Passes over the training images since the start of training."""
        return (self.warmup + self.step) / self.steps_per_epoch


class ScheduleConfig(Section):
    """Any of them."""

    name: str
    warmup_epochs: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="lr rises linearly over this number of epochs"
    )

    @property
    def growth_limit(self) -> int | None:
        """The largest batch size; None if it does not grow."""
        return None

    @abstractmethod
    def factor(self, at: Moment) -> float:
        """The learning rate as a share of its peak."""


class Falling(ScheduleConfig):
    """Those whose learning rate never rises after the warm-up."""

    max_batch_size: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(
        None, description="the batch size grows, up to this, by what lr would fall; lr falls by the rest"
    )

    @property
    def growth_limit(self) -> int | None:
        return self.max_batch_size


class Constant(ScheduleConfig):
    name: Literal["constant"] = "constant"

    def factor(self, at: Moment) -> float:
        return 1.0


class Step(Falling):
    name: Literal["step"] = "step"
    step_epochs: int = Field(5, ge=1, description="epochs between two cuts")
    gamma: float = Field(0.1, gt=0, le=1, description="lr is multiplied by it at each cut")

    def factor(self, at: Moment) -> float:
        return self.gamma ** (int(at.epoch) // self.step_epochs)


class Linear(Falling):
    name: Literal["linear"] = "linear"
    final_fraction: float = Field(0.0, ge=0, le=1, description="lr at the end, as a share of the peak")

    def factor(self, at: Moment) -> float:
        return 1 + (self.final_fraction - 1) * at.share


class Polynomial(Falling):
    name: Literal["polynomial"] = "polynomial"
    power: float = Field(0.9, gt=0, le=100, description="lr falls as (1 - share of the steps) to this power")

    def factor(self, at: Moment) -> float:
        return math.pow(1 - at.share, self.power)


class Exponential(Falling):
    name: Literal["exponential"] = "exponential"
    gamma: float = Field(0.8, gt=0, le=1, description="lr is multiplied by it over each epoch, a little at each step")

    def factor(self, at: Moment) -> float:
        return math.pow(self.gamma, at.step / at.steps_per_epoch)


class Plateau(Falling):
    name: Literal["plateau"] = "plateau"
    gamma: float = Field(0.1, gt=0, le=1, description="lr is multiplied by it at each cut")
    patience: int = Field(2, ge=0, description="cut after more than this number of epochs without a better val loss")
    threshold: float = Field(1e-4, ge=0, lt=1, description="the share by which a better val loss is smaller")

    def factor(self, at: Moment) -> float:
        best, waited, cuts = math.inf, 0, 0
        for loss in at.losses[math.ceil(self.warmup_epochs) :]:
            if loss < best * (1 - self.threshold):
                best, waited = loss, 0
            else:
                waited += 1
            if waited > self.patience:
                cuts, waited = cuts + 1, 0
        return self.gamma**cuts


class Cosine(Falling):
    name: Literal["cosine"] = "cosine"
    final_fraction: float = Field(0.0, ge=0, le=1, description="lr at the end, as a share of the peak")

    def factor(self, at: Moment) -> float:
        return _between(1.0, self.final_fraction, at.share)


class Cyclic(ScheduleConfig):
    """Triangles (Smith 2017, section 3)."""

    name: Literal["cyclic"] = "cyclic"
    cycle_epochs: float = Field(5.0, gt=0, allow_inf_nan=False, description="epochs from one lowest lr to the next")
    low_fraction: float = Field(0.1, ge=0, le=1, description="lr at the ends of a cycle, as a share of the peak")
    gamma: float = Field(1.0, gt=0, le=1, description="the height of a cycle is that of the one before times this")

    def factor(self, at: Moment) -> float:
        cycle, share = divmod(at.step / at.steps_per_epoch / self.cycle_epochs, 1)
        height = (1 - abs(2 * share - 1)) * math.pow(self.gamma, cycle)
        return self.low_fraction + (1 - self.low_fraction) * height


class OneCycle(ScheduleConfig):
    name: Literal["onecycle"] = "onecycle"
    rise_fraction: float = Field(0.3, gt=0, lt=1, description="share of the steps in which lr rises")
    start_divisor: float = Field(25.0, ge=1, description="peak / lr at the start")
    final_divisor: float = Field(1e4, ge=1, description="lr at the start / lr at the end")

    def factor(self, at: Moment) -> float:
        start = 1 / self.start_divisor
        top = self.rise_fraction * at.total - 1
        if at.total <= 1:
            return 1.0
        if at.step <= top and top > 0:
            return _between(start, 1.0, at.step / top)
        share = (at.step - top) / max(at.total - 1 - top, 1e-9)
        return _between(1.0, start / self.final_divisor, min(1.0, share))


def _between(start: float, end: float, share: float) -> float:
    """From `start` (share 0) to `end` (share 1) along half a cosine (Loshchilov and Hutter 2017, equation 5)."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


SCHEDULES = {
    "constant": Entry(config=Constant),
    "step": Entry(config=Step),
    "linear": Entry(config=Linear),
    "polynomial": Entry(config=Polynomial),
    "exponential": Entry(config=Exponential),
    "plateau": Entry(config=Plateau),
    "cosine": Entry(config=Cosine),
    "cyclic": Entry(config=Cyclic),
    "onecycle": Entry(config=OneCycle),
}
