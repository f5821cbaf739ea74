"""The learning rate as a pure function of the position, so that a checkpoint needs no scheduler state."""

from cnnlab.config import RunConfig
from cnnlab.config.schedules import Cosine, OneCycle, ScheduleConfig
from cnnlab.errors import BadInput


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
