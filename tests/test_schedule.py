"""Each schedule against PyTorch's own, step by step."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler as torch_schedules

from cnnlab.config import as_config
from cnnlab.config.schedules import (
    Constant,
    Cosine,
    Cyclic,
    Exponential,
    Linear,
    OneCycle,
    Plateau,
    Polynomial,
    ScheduleConfig,
    Step,
)
from cnnlab.errors import BadInput
from cnnlab.training.ledger import check_schedule, grown, learning_rate

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
    "linear": (Linear(), lambda o: torch_schedules.LinearLR(o, 1.0, 0.0, TOTAL)),
    "warm linear to a tenth": (
        Linear(final_fraction=0.1, warmup_epochs=1.0),
        lambda o: warm(o, PER_EPOCH, torch_schedules.LinearLR(o, 1.0, 0.1, TOTAL - PER_EPOCH)),
    ),
    "polynomial": (Polynomial(), lambda o: torch_schedules.PolynomialLR(o, TOTAL, 0.9)),
    "warm polynomial": (
        Polynomial(power=2, warmup_epochs=2.0),
        lambda o: warm(o, 2 * PER_EPOCH, torch_schedules.PolynomialLR(o, TOTAL - 2 * PER_EPOCH, 2)),
    ),
    "exponential": (
        Exponential(gamma=0.7),
        lambda o: torch_schedules.ExponentialLR(o, 0.7 ** (1 / PER_EPOCH)),
    ),
    "warm exponential": (
        Exponential(warmup_epochs=1.0),
        lambda o: warm(o, PER_EPOCH, torch_schedules.ExponentialLR(o, 0.8 ** (1 / PER_EPOCH))),
    ),
    "cyclic": (Cyclic(cycle_epochs=2), lambda o: torch_schedules.CyclicLR(o, PEAK / 10, PEAK, PER_EPOCH)),
    "cyclic, half as high each time": (
        Cyclic(cycle_epochs=2.5, low_fraction=0.2, gamma=0.5),
        lambda o: torch_schedules.CyclicLR(o, PEAK / 5, PEAK, 1.25 * PER_EPOCH, mode="triangular2"),
    ),
    "warm cyclic": (
        Cyclic(cycle_epochs=2, warmup_epochs=1.0),
        lambda o: warm(o, PER_EPOCH, torch_schedules.CyclicLR(o, PEAK / 10, PEAK, PER_EPOCH)),
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


LOSSES = [1.0, 0.8, 0.8, 0.79999, 0.9, 0.7, 0.8, 0.71, 0.75, 0.9, 0.69, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]


@pytest.mark.parametrize("patience", [0, 1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 1.5])
def test_plateau_equals_torchs_own(patience: int, warmup: float) -> None:
    config = Plateau(patience=patience, gamma=0.5, warmup_epochs=warmup)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    schedule = torch_schedules.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience)
    for epoch in range(math.ceil(warmup), len(LOSSES)):
        found = learning_rate(config, PEAK, epoch * PER_EPOCH, PER_EPOCH, len(LOSSES), LOSSES[:epoch])
        assert found == pytest.approx(optimizer.param_groups[0]["lr"])
        schedule.step(LOSSES[epoch])


def test_the_batch_size_grows_by_what_the_rate_would_fall_and_the_rate_falls_by_the_rest() -> None:
    """Smith et al. 2018: the learning rate divided by the batch size is that of the schedule alone."""
    step = Step(step_epochs=1, gamma=0.5, max_batch_size=40)
    sizes = [grown(step, 8, 1000, PER_EPOCH * epoch, PER_EPOCH, EPOCHS, []) for epoch in range(4)]
    assert sizes == [8, 16, 32, 40]
    assert grown(step, 8, 20, 2 * PER_EPOCH, PER_EPOCH, EPOCHS, []) == 20  # there are not more images
    assert grown(step.model_copy(update={"warmup_epochs": 1.5}), 8, 1000, PER_EPOCH, PER_EPOCH, EPOCHS, []) == 8
    assert grown(Plateau(patience=0, max_batch_size=99), 8, 1000, PER_EPOCH, PER_EPOCH, EPOCHS, [1.0, 2.0]) == 80
    assert grown(Cosine(), 8, 1000, PER_EPOCH, PER_EPOCH, EPOCHS, []) == 8


FRACTIONS = st.sampled_from([1e-6, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.7, 0.999])
ANY = st.one_of(
    st.builds(Constant),
    st.builds(Step, step_epochs=st.integers(1, 5), gamma=FRACTIONS),
    st.builds(Cosine, final_fraction=FRACTIONS),
    st.builds(Linear, final_fraction=FRACTIONS),
    st.builds(Polynomial, power=st.floats(0.1, 5)),
    st.builds(Exponential, gamma=st.floats(0.1, 1)),
    st.builds(Cyclic, cycle_epochs=st.floats(0.1, 9), low_fraction=FRACTIONS, gamma=st.floats(0.1, 1)),
    st.builds(Plateau),
    st.builds(OneCycle, rise_fraction=FRACTIONS, start_divisor=st.floats(1, 100), final_divisor=st.floats(1, 1e4)),
)


@given(ANY, st.integers(1, 5), st.integers(1, 4), st.floats(0, 1))
def test_every_legal_schedule_has_a_rate_at_every_step(
    config: ScheduleConfig, per_epoch: int, epochs: int, share: float
) -> None:
    config = config.model_copy(update={"warmup_epochs": share * epochs})
    rates = [learning_rate(config, PEAK, step, per_epoch, epochs) for step in range(per_epoch * epochs)]
    assert all(0 < rate <= PEAK * (1 + 1e-9) for rate in rates), rates


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("total", range(2, 13))
@pytest.mark.parametrize("rise", [1e-3, 0.1, 0.25, 0.3, 0.5, 0.75, 0.99])
def test_onecycle_equals_torchs_however_few_the_steps(total: int, rise: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    rates = [learning_rate(OneCycle(rise_fraction=rise), PEAK, step, total, 1) for step in range(total)]
    try:
        schedule = torch_schedules.OneCycleLR(optimizer, PEAK, total_steps=total, pct_start=rise, cycle_momentum=False)
    except ZeroDivisionError:  # no step to rise in: it begins at the peak
        assert rise * total == 1
        assert rates[0] == pytest.approx(PEAK)
        return
    for rate in rates:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6, abs=1e-12)
        optimizer.step()
        if schedule.last_epoch < total - 1:
            schedule.step()


@pytest.mark.parametrize("config", [Constant(), Step(), Cosine(), OneCycle(), OneCycle(rise_fraction=0.99)])
def test_a_schedule_of_one_step_trains_at_the_peak(config: ScheduleConfig) -> None:
    assert learning_rate(config, PEAK, 0, 1, 1) == PEAK
    warmed = config.model_copy(update={"warmup_epochs": 1.0})
    assert [learning_rate(warmed, PEAK, step, 1, 2) for step in range(2)] == [PEAK / 2, PEAK]


def test_onecycle_of_two_steps_by_its_definition() -> None:
    """The peak is at step 2 * rise_fraction - 1: between the two steps, or before the first."""
    end = PEAK / 25 / 1e4
    first = end + (PEAK - end) * (1 + math.cos(math.pi * 0.4 / 1.4)) / 2  # 0.4 steps after the peak, of 1.4 to the end
    rates = {0.99: [PEAK / 25, end], 0.3: [first, end]}
    for rise, expected in rates.items():
        found = [learning_rate(OneCycle(rise_fraction=rise), PEAK, step, 2, 1) for step in range(2)]
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_a_warm_up_that_leaves_no_step_is_refused_for_the_schedules_that_need_one() -> None:
    for name, warmup, refused in (
        ("cosine", 2, True),
        ("onecycle", 1.95, True),
        ("linear", 2, True),
        ("polynomial", 2, True),
        ("cosine", 1.9, False),
        ("constant", 2, False),
        ("step", 2, False),
        ("plateau", 2, False),
    ):
        config = as_config({"schedule": {"name": name, "warmup_epochs": warmup}, "training": {"epochs": 2}})
        if refused:
            with pytest.raises(BadInput, match=r"take all 20 steps, which leaves none for .*; it must be at most 1.9$"):
                check_schedule(config, 16, 10)
        else:
            check_schedule(config, 16, 10)


def test_a_largest_batch_below_the_first_is_refused() -> None:
    config = as_config({"schedule": {"name": "step", "max_batch_size": 16}})
    check_schedule(config, 16, 10)
    with pytest.raises(BadInput, match=r"max_batch_size: 16 is not allowed; it must be at least .* at the start, 17$"):
        check_schedule(config, 17, 10)
