"""The learning rate as a pure function of the position, so that no scheduler has a state to keep."""

import math
from collections.abc import Callable
from typing import Any

from cnnlab.config import RunConfig
from cnnlab.config.schedules import Constant, Cosine, OneCycle, ScheduleConfig, Step
from cnnlab.errors import BadInput


def check_warmup(config: RunConfig, steps_per_epoch: int) -> None:
    """Raises BadInput if the warm-up leaves no step to a schedule that is a function of the steps after it."""
    schedule, total = config.schedule, config.training.epochs * steps_per_epoch
    if isinstance(schedule, Cosine | OneCycle) and _warmup_steps(schedule, steps_per_epoch) >= total:
        raise BadInput(
            f"schedule.warmup_epochs: {schedule.warmup_epochs:g} is not allowed: the warm-up would take all {total} "
            f"steps, which leaves none for {schedule.name}; it must be at most {(total - 1) / steps_per_epoch:.4g}"
        )


def learning_rate(config: ScheduleConfig, peak: float, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of the step with number `step`, counted from 0.

    During the W steps of warm-up it rises linearly, (step + 1)/(W + 1) of what the schedule begins with. What follows
    equals torch.optim.lr_scheduler's StepLR, CosineAnnealingLR (with T_max the steps after the warm-up) and
    OneCycleLR (with cycle_momentum=False), each stepped once per step. `step` cuts at whole epochs counted from the
    start of training, warm-up included.

    Two things differ from PyTorch's OneCycleLR. A cycle of a single step trains at the peak; PyTorch's trains at the
    end of the cycle, peak / start_divisor / final_divisor. If rise_fraction leaves no step to rise in, the cycle begins
    at the peak; PyTorch's may divide by zero. If the warm-up is all of the training, the rate rises to where the
    schedule begins.
    """
    warmup = _warmup_steps(config, steps_per_epoch)
    total = epochs * steps_per_epoch - warmup
    factor = FACTORS[type(config)]
    if step < warmup:
        return peak * factor(config, 0, total, 0.0) * (step + 1) / (warmup + 1)
    return peak * factor(config, step - warmup, total, step / steps_per_epoch)


def _warmup_steps(config: ScheduleConfig, steps_per_epoch: int) -> int:
    return round(config.warmup_epochs * steps_per_epoch)


def _constant(config: Constant, step: int, total: int, epoch: float) -> float:
    return 1.0


def _step(config: Step, step: int, total: int, epoch: float) -> float:
    return config.gamma ** (int(epoch) // config.step_epochs)


def _cosine(config: Cosine, step: int, total: int, epoch: float) -> float:
    return _between(1.0, config.final_fraction, step / max(total, 1))


def _one_cycle(config: OneCycle, step: int, total: int, epoch: float) -> float:
    start = 1 / config.start_divisor
    top = config.rise_fraction * total - 1
    if total <= 1:
        return 1.0
    if step <= top and top > 0:
        return _between(start, 1.0, step / top)
    return _between(1.0, start / config.final_divisor, min(1.0, (step - top) / max(total - 1 - top, 1e-9)))


def _between(start: float, end: float, share: float) -> float:
    """From `start` (share 0) to `end` (share 1) along half a cosine (Loshchilov and Hutter 2017, equation 5)."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


FACTORS: dict[type, Callable[[Any, int, int, float], float]] = {
    Constant: _constant,
    Step: _step,
    Cosine: _cosine,
    OneCycle: _one_cycle,
}
