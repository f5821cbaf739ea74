"""Muon with AdamW beside it: against torch's own two put together by hand, and Newton-Schulz written out."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import Parameter

from cnnlab.config import read_config
from cnnlab.errors import BadInput
from cnnlab.models import build
from cnnlab.training import Learner
from cnnlab.training.optimizer import FiniteGuard, MuonWithAdamW, make_optimizer
from tests.runs import small_config, small_dataset


def muon(parameters: list[Parameter], **settings: object) -> MuonWithAdamW:
    config, _ = read_config(None, {"optimizer.name": "muon"} | {f"optimizer.{k}": v for k, v in settings.items()})
    optimizer = make_optimizer(config.optimizer, parameters)
    assert isinstance(optimizer, MuonWithAdamW)
    return optimizer


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))


def test_an_mlp_takes_the_path_of_torchs_own_two() -> None:
    mine, theirs = mlp(), mlp()
    ours = muon(list(mine.parameters()), weight_decay=0.1, momentum=0.9, betas=[0.8, 0.99], eps=1e-6)
    hidden = [theirs[0].weight, theirs[2].weight]
    rest = [theirs[0].bias, theirs[2].bias, *theirs[4].parameters()]
    references = [
        torch.optim.Muon(hidden, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, weight_decay=0.1, betas=(0.8, 0.99), eps=1e-6),
    ]
    guard = FiniteGuard(ours, torch.device("cpu"))
    images, labels = torch.randn(30, 5), torch.arange(30) % 3
    for step in range(20):
        for model in (mine, theirs):
            model.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
        for optimizer in (ours, *references):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 / (1 + step)
        guard.step(torch.tensor(1.0), torch.tensor(1.0))
        for reference in references:
            reference.step()
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def orthogonal(gradient: Tensor) -> Tensor:
    """Five steps of Newton-Schulz by Jordan's coefficients, in float64; gradient: (rows, columns), rows <= columns."""
    x = gradient.double() / gradient.double().norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("weight_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("gradient_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("nesterov", [True, False])
def test_a_convolutions_update_is_newton_schulz_of_its_flattened_gradient(
    weight_format: torch.memory_format, gradient_format: torch.memory_format, nesterov: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(8, 6, 3, 3, generator=generator)
    weight, head = Parameter(start.to(memory_format=weight_format, copy=True)), Parameter(torch.zeros(3, 8))
    optimizer = muon([weight, head], lr=0.5, weight_decay=0.1, nesterov=nesterov)
    average, expected = torch.zeros(8, 54), start.flatten(1).double()
    for _ in range(2):
        gradient = torch.randn(8, 6, 3, 3, generator=generator)
        weight.grad = gradient.to(memory_format=gradient_format)
        optimizer.step()
        average = 0.95 * average + 0.05 * gradient.flatten(1)
        direction = 0.05 * gradient.flatten(1) + 0.95 * average if nesterov else average
        expected = expected * (1 - 0.5 * 0.1) - 0.5 * 0.2 * 54**0.5 * orthogonal(direction)
    moved = (weight.detach() - start).flatten(1).double()
    wanted = expected - start.flatten(1)
    assert (moved - wanted).norm() < 0.01 * wanted.norm()  # torch's is in bfloat16: 8 bits


HIDDEN = {
    "mlp": ["1.weight"],
    "lenet5": ["0.weight", "3.weight", "7.weight", "9.weight"],
    "cnn": ["0.weight", "3.weight", "7.weight"],
}


@pytest.mark.parametrize("name", HIDDEN)
def test_muon_has_the_hidden_layers_and_not_the_classifier(name: str) -> None:
    config, _ = read_config(None, {"model.name": name})
    network = build(config.model, (1, 28, 28), 10, 0)
    names = {parameter: name for name, parameter in network.named_parameters()}
    assert [names[weight] for weight in muon(list(names)).hidden] == HIDDEN[name]


def test_of_resnet20_muon_has_each_convolution() -> None:
    learner = Learner(small_config(model__name="resnet20", model__width=4, optimizer__name="muon"), small_dataset())
    convolutions = [module.weight for module in learner.model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 19
    assert isinstance(learner.optimizer, MuonWithAdamW)
    assert learner.optimizer.hidden == convolutions


def test_a_weight_of_one_row_or_one_column_is_a_vector() -> None:
    shapes = [(1, 1, 8), (8, 1, 1), (4, 8), (3, 4)]  # a class token, a scale, a layer, the classifier
    parameters = [Parameter(torch.zeros(shape)) for shape in shapes]
    assert [tuple(weight.shape) for weight in muon(parameters).hidden] == [(4, 8)]


@pytest.mark.parametrize(("bad_loss", "bad_norm"), [(float("nan"), 1.0), (1.0, float("inf"))])
def test_a_bad_update_is_never_applied_nor_any_after_it(bad_loss: float, bad_norm: float) -> None:
    parameters = list(mlp().parameters())
    guard = FiniteGuard(muon(parameters), torch.device("cpu"))

    def step(value: float, norm: float) -> float:
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, value * norm)
        return guard.step(torch.tensor(value), torch.tensor(norm)).item()

    start = [p.detach().clone() for p in parameters]
    assert step(1.0, 1.0) == 0
    before = [p.detach().clone() for p in parameters]
    assert not any(torch.equal(a, b) for a, b in zip(start, before, strict=True))
    assert step(bad_loss, bad_norm) == 1
    assert step(1.0, 1.0) == 1
    assert all(torch.equal(a, b) for a, b in zip(parameters, before, strict=True))


def test_a_weight_that_is_no_matrix_without_a_copy_is_refused() -> None:
    weight = Parameter(torch.zeros(3, 2, 5, 4)[:, :, :4])
    with pytest.raises(BadInput, match=r"a weight of shape \(3, 2, 4, 4\) and strides \(40, 20, 4, 1\)"):
        muon([weight, Parameter(torch.zeros(2, 3))])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model.name": "perceptron"}, "optimizer.name: muon trains the matrices of hidden layers, and this network"),
        ({"optimizer.ns_steps": 0}, "optimizer.ns_steps: 0 is not allowed"),
        ({"optimizer.ns_steps": 100}, "optimizer.ns_steps: 100 is not allowed"),
        ({"optimizer.momentum": 1}, "optimizer.momentum: 1 is not allowed"),
        ({"optimizer.alpha": 1}, "muon has no alpha; it takes"),
    ],
)
def test_bad_input_is_one_line(settings: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        Learner(read_config(None, {"optimizer.name": "muon"} | settings)[0], small_dataset())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_step_does_not_import_dynamo() -> None:
    code = """
import sys, torch
from cnnlab.config.optimizers import Muon
from cnnlab.training.optimizer import FiniteGuard, make_optimizer
parameters = [torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2)]
for parameter in parameters:
    parameter.grad = torch.ones(2, 2)
FiniteGuard(make_optimizer(Muon(), parameters), torch.device("cpu")).step(torch.ones(()), torch.ones(()))
print(parameters[0][0, 0].item() < 1, "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
