"""Our optimizers against PyTorch's own on the same problem, and the guard that no bad update passes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from cnnlab.config import read_config
from cnnlab.config.optimizers import OPTIMIZERS
from cnnlab.config.run_config import PenaltyConfig
from cnnlab.errors import BadInput
from cnnlab.training.optimizer import FiniteGuard, add_penalty, make_optimizer


def ours(parameters: list[nn.Parameter], **settings: object) -> Optimizer:
    config, _ = read_config(None, {f"optimizer.{key}": value for key, value in settings.items()})
    return make_optimizer(config.optimizer, parameters)


def weights() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in [(6, 5), (6,)]]


def loss(parameters: list[nn.Parameter]) -> Tensor:
    matrix, bias = parameters
    return ((matrix @ torch.linspace(-1, 1, 5) + bias).sin() ** 2).sum()


CASES: dict[str, tuple[dict[str, object], Callable[[list[nn.Parameter]], Optimizer]]] = {
    "sgd": ({"name": "sgd", "lr": 0.1, "momentum": 0}, lambda p: torch.optim.SGD(p, 0.1)),
    "momentum": (
        {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    ),
    "nesterov": (
        {"name": "sgd", "lr": 0.1, "nesterov": True},
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    ),
    "adagrad": ({"name": "adagrad"}, lambda p: torch.optim.Adagrad(p)),
    "adadelta": ({"name": "adadelta"}, lambda p: torch.optim.Adadelta(p)),
    "rmsprop": ({"name": "rmsprop"}, lambda p: torch.optim.RMSprop(p, 0.001)),
    "adam": ({"name": "adam", "betas": [0.8, 0.99]}, lambda p: torch.optim.Adam(p, 0.001, betas=(0.8, 0.99))),
    "adamw": ({"name": "adamw"}, lambda p: torch.optim.AdamW(p)),
    "nadam": ({"name": "nadam", "lr": 0.002}, lambda p: torch.optim.NAdam(p)),
    "radam": ({"name": "radam"}, lambda p: torch.optim.RAdam(p)),
    "Adamax": (
        {"name": "torch.optim.Adamax", "lr": 0.01, "eps": 1e-6},
        lambda p: torch.optim.Adamax(p, 0.01, eps=1e-6),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_takes_the_same_path_as_torchs_own(name: str) -> None:
    settings, make = CASES[name]
    mine, theirs = weights(), weights()
    optimizer, reference = ours(mine, **settings), make(theirs)
    guard = FiniteGuard(optimizer, torch.device("cpu"))
    for _ in range(20):
        for parameters in (mine, theirs):
            for parameter in parameters:
                parameter.grad = None
            loss(parameters).backward()
        guard.step(torch.tensor(1.0), torch.tensor(1.0))
        reference.step()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad", "rmsprop", "nadam"])
@pytest.mark.parametrize(("bad_loss", "bad_norm"), [(float("nan"), 1.0), (1.0, float("inf")), (float("inf"), 1.0)])
def test_a_bad_update_is_never_applied_nor_any_after_it(
    name: str, bad_loss: float, bad_norm: float, decay: float
) -> None:
    parameters = weights()
    guard = FiniteGuard(ours(parameters, name=name, decoupled_decay=decay), torch.device("cpu"))

    def step(value: float, norm: float) -> float:
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, value * norm)
        return guard.step(torch.tensor(value), torch.tensor(norm)).item()

    assert step(1.0, 1.0) == 0
    before = [p.detach().clone() for p in parameters]
    assert step(bad_loss, bad_norm) == 1
    assert step(1.0, 1.0) == 1
    assert all(torch.equal(a, b) for a, b in zip(parameters, before, strict=True))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "torch.optim.LBFGS"}, "LBFGS cannot be used: it evaluates the loss several times per step"),
        ({"name": "torch.optim.adamax"}, "did you mean torch.optim.Adamax?"),
        ({"name": "torch.optim.Adamax", "beta": 1}, "Adamax has no beta; it takes lr, betas"),
        (
            {"name": "torch.optim.Adamax", "eps": -1},
            "torch.optim.Adamax rejects these settings: Invalid epsilon value: -1",
        ),
        ({"name": "torch.optim.Muon"}, "Muon cannot be used: it takes matrices only; use muon"),
    ],
)
def test_what_torch_refuses_is_one_line(settings: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        ours(weights(), **settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


OPTIMIZERS_AS_TORCH = {
    "penalty.l2 is the weight decay of SGD": (
        {"name": "sgd", "lr": 0.1},
        {"l2": 0.05},
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.05),
    ),
    "it adds to the optimizer's own": (
        {"name": "adam", "weight_decay": 0.02},
        {"l2": 0.03},
        lambda p: torch.optim.Adam(p, 0.001, weight_decay=0.05),
    ),
    "it is no decoupled decay": (
        {"name": "adamw", "weight_decay": 0.0},
        {"l2": 0.05},
        lambda p: torch.optim.Adam(p, 0.001, weight_decay=0.05),
    ),
    "decoupled decay with Adam is AdamW": (
        {"name": "adam", "lr": 0.01, "decoupled_decay": 0.5},
        {},
        lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.5),
    ),
    "and with NAdam and RAdam as in PyTorch": (
        {"name": "nadam", "lr": 0.01, "decoupled_decay": 0.5},
        {},
        lambda p: torch.optim.NAdam(p, 0.01, weight_decay=0.5, decoupled_weight_decay=True),
    ),
    "it is for any class of torch.optim": (
        {"name": "torch.optim.RAdam", "lr": 0.01, "decoupled_decay": 0.5},
        {},
        lambda p: torch.optim.RAdam(p, 0.01, weight_decay=0.5, decoupled_weight_decay=True),
    ),
}


@pytest.mark.parametrize("case", OPTIMIZERS_AS_TORCH)
def test_penalty_and_decoupled_decay_equal_torchs_own(case: str) -> None:
    settings, penalty, make = OPTIMIZERS_AS_TORCH[case]
    mine, theirs = weights(), weights()
    guard, reference = FiniteGuard(ours(mine, **settings), torch.device("cpu")), make(theirs)
    for _ in range(20):
        for parameters in (mine, theirs):
            for parameter in parameters:
                parameter.grad = None
            loss(parameters).backward()
        add_penalty(PenaltyConfig(**penalty), mine)
        guard.step(torch.tensor(1.0), torch.tensor(1.0))
        reference.step()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("l1", "l2"), [(0.3, 0.0), (0.0, 0.2), (0.3, 0.2)])
def test_the_penaltys_gradient_is_that_of_the_written_out_loss(l1: float, l2: float) -> None:
    mine, theirs = weights(), weights()
    for parameters in (mine, theirs):
        with torch.no_grad():
            parameters[1][2] = 0.0
    loss(mine).backward()
    add_penalty(PenaltyConfig(l1=l1, l2=l2), mine)
    size = sum(l1 * p.abs().sum() + l2 / 2 * (p**2).sum() for p in theirs)
    (loss(theirs) + size).backward()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_a_weight_decay_is_named_by_what_it_does() -> None:
    with pytest.raises(BadInput, match=r"adamw has no decoupled_decay; it takes .*, weight_decay"):
        ours(weights(), name="adamw", decoupled_decay=0.1)
    for name, entry in OPTIMIZERS.items():
        if "weight_decay" in entry.config.model_fields:
            about = str(entry.config.model_fields["weight_decay"].description)
            assert about.startswith("decoupled" if name in ("adamw", "muon") else "L2 penalty"), name
