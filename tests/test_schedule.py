"""Each schedule against PyTorch's own, step by step."""

from collections.abc import Callable

import pytest
import torch
from torch.optim import lr_scheduler as torch_schedules

from cnnlab.config.schedules import Constant, Cosine, OneCycle, ScheduleConfig, Step
from cnnlab.training.schedule import learning_rate

PEAK, PER_EPOCH, EPOCHS = 0.3, 7, 6
TOTAL = PER_EPOCH * EPOCHS


def ours(config: ScheduleConfig) -> list[float]:
    return [learning_rate(config, PEAK, step, PER_EPOCH, EPOCHS) for step in range(TOTAL)]


def torchs(make: Callable[[torch.optim.Optimizer], torch_schedules.LRScheduler]) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    schedule = make(optimizer)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(TOTAL - 1):
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def warm(
    optimizer: torch.optim.Optimizer, steps: int, rest: torch_schedules.LRScheduler
) -> torch_schedules.LRScheduler:
    rise = torch_schedules.LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)
    return torch_schedules.SequentialLR(optimizer, [rise, rest], milestones=[steps])


CASES = {
    "constant": (Constant(), lambda o: torch_schedules.ConstantLR(o, factor=1.0)),
    "step": (Step(step_epochs=2, gamma=0.5), lambda o: torch_schedules.StepLR(o, 2 * PER_EPOCH, 0.5)),
    "cosine": (Cosine(), lambda o: torch_schedules.CosineAnnealingLR(o, TOTAL)),
    "cosine to a tenth": (
        Cosine(final_fraction=0.1),
        lambda o: torch_schedules.CosineAnnealingLR(o, TOTAL, eta_min=0.1 * PEAK),
    ),
    "onecycle": (
        OneCycle(),
        lambda o: torch_schedules.OneCycleLR(o, PEAK, total_steps=TOTAL, cycle_momentum=False),
    ),
    "warm cosine": (
        Cosine(warmup_epochs=1.0),
        lambda o: warm(o, PER_EPOCH, torch_schedules.CosineAnnealingLR(o, TOTAL - PER_EPOCH)),
    ),
    "warm constant, half an epoch": (
        Constant(warmup_epochs=0.5),
        lambda o: warm(o, round(0.5 * PER_EPOCH), torch_schedules.ConstantLR(o, factor=1.0)),
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_equals_torchs_own(name: str) -> None:
    config, make = CASES[name]
    assert ours(config) == pytest.approx(torchs(make), rel=1e-6, abs=1e-12)


def test_step_counts_whole_epochs_from_the_start_with_or_without_warm_up() -> None:
    cold, warmed = ours(Step(step_epochs=2)), ours(Step(step_epochs=2, warmup_epochs=1))
    assert warmed[PER_EPOCH:] == cold[PER_EPOCH:]
    assert warmed[:PER_EPOCH] == pytest.approx([PEAK * (s + 1) / (PER_EPOCH + 1) for s in range(PER_EPOCH)])
