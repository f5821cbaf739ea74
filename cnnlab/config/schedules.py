"""The learning-rate schedules, one class each: its settings and its formula. Adding one: a class and an entry here."""

import math
from abc import abstractmethod
from typing import Literal

from pydantic import Field

from cnnlab.config.section import Entry, Section


class ScheduleConfig(Section):
    """Any of them."""

    name: str
    warmup_epochs: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="lr rises linearly over this number of epochs"
    )

    @abstractmethod
    def factor(self, step: int, total: int, epoch: float) -> float:
        """The learning rate as a share of its peak.

        Args:
            step: counted from the end of the warm-up.
            total: the number of steps after the warm-up.
            epoch: passes over the training images since the start of training.
        """


class Constant(ScheduleConfig):
    name: Literal["constant"] = "constant"

    def factor(self, step: int, total: int, epoch: float) -> float:
        return 1.0


class Step(ScheduleConfig):
    name: Literal["step"] = "step"
    step_epochs: int = Field(5, ge=1, description="epochs between two cuts")
    gamma: float = Field(0.1, gt=0, le=1, description="lr is multiplied by it at each cut")

    def factor(self, step: int, total: int, epoch: float) -> float:
        return self.gamma ** (int(epoch) // self.step_epochs)


class Cosine(ScheduleConfig):
    name: Literal["cosine"] = "cosine"
    final_fraction: float = Field(0.0, ge=0, le=1, description="lr at the end, as a share of the peak")

    def factor(self, step: int, total: int, epoch: float) -> float:
        return _between(1.0, self.final_fraction, step / max(total, 1))


class OneCycle(ScheduleConfig):
    name: Literal["onecycle"] = "onecycle"
    rise_fraction: float = Field(0.3, gt=0, lt=1, description="share of the steps in which lr rises")
    start_divisor: float = Field(25.0, ge=1, description="peak / lr at the start")
    final_divisor: float = Field(1e4, ge=1, description="lr at the start / lr at the end")

    def factor(self, step: int, total: int, epoch: float) -> float:
        start = 1 / self.start_divisor
        top = self.rise_fraction * total - 1
        if total <= 1:
            return 1.0
        if step <= top and top > 0:
            return _between(start, 1.0, step / top)
        return _between(1.0, start / self.final_divisor, min(1.0, (step - top) / max(total - 1 - top, 1e-9)))


def _between(start: float, end: float, share: float) -> float:
    """From `start` (share 0) to `end` (share 1) along half a cosine (Loshchilov and Hutter 2017, equation 5)."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


SCHEDULES = {
    "constant": Entry(config=Constant),
    "step": Entry(config=Step),
    "cosine": Entry(config=Cosine),
    "onecycle": Entry(config=OneCycle),
}
