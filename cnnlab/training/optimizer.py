"""The optimizer: an optimizer of torch.optim from its config, muon, and the guard that skips a bad update."""

import inspect
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from cnnlab.config.messages import nearest
from cnnlab.config.optimizers import OptimizerConfig, TorchOptimizer
from cnnlab.config.run_config import PenaltyConfig
from cnnlab.errors import BadInput, quoted


@torch.no_grad()
def add_penalty(config: PenaltyConfig, weights: Iterable[Tensor]) -> None:
    """Add the gradient of l1 * sum |w| + l2 / 2 * sum w^2 to the weights' gradients; that of |w| at 0 is 0."""
    if not (config.l1 or config.l2):
        return
    pairs = [(weight, weight.grad) for weight in weights if weight.grad is not None]
    values, gradients = map(list, zip(*pairs, strict=True))
    if config.l2:
        torch._foreach_add_(gradients, values, alpha=config.l2)
    if config.l1:
        torch._foreach_add_(gradients, torch._foreach_sign(values), alpha=config.l1)


class FiniteGuard:
    """Decays the weights, apart from the gradient (Loshchilov and Hutter 2019, algorithm 2), and steps an optimizer.
    From the first loss or gradient on that is not finite, no update is applied.

    The decision is a number on the device. Fused optimizers take it as `found_inf`, as in gradient scaling. For other
    optimizers the weights are copied before each step and restored after a bad one.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        self.fused = bool(optimizer.defaults.get("fused"))
        self.update = bare_step(optimizer)
        self.poison = torch.zeros((), device=device)  # 0 while all is finite, then NaN

    @torch.no_grad()
    def step(self, loss: Tensor, gradient_norm: Tensor) -> Tensor:
        """Update the weights, unless `loss` or `gradient_norm` (both scalars) of this or an earlier step is not finite.

        Returns:
            () float32 on the device: 0 if the update was applied, else 1.
        """
        self.poison = self.poison + (loss + gradient_norm) * 0
        bad = self.poison.ne(self.poison).float()
        self._decay(bad)
        if self.fused:
            self.optimizer.found_inf = bad  # type: ignore[attr-defined]
            self.update()
        else:
            self._step_or_restore(bad > 0)
        return bad

    def _decay(self, bad: Tensor) -> None:
        for group in self.optimizer.param_groups:
            if decay := group.get("decoupled_decay"):
                torch._foreach_mul_(group["params"], torch.where(bad > 0, 1.0, 1 - group["lr"] * decay))

    def _step_or_restore(self, bad: Tensor) -> None:
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        before = [weight.clone() for weight in weights]
        self.update()
        for weight, old in zip(weights, before, strict=True):
            weight.copy_(torch.where(bad, old, weight))


class MuonWithAdamW(Optimizer):
    """torch.optim.Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) beside torch.optim.AdamW.

    Muon trains the weights of the hidden layers; a convolution's weight is the matrix (outputs, all else). AdamW trains
    the rest: biases, norms, weights of one row or one column, and the last weight, which is the classifier's. Both
    have the same learning rate and weight decay, as Muon's update is scaled to the size of AdamW's (Liu et al. 2025,
    arXiv 2502.16982, section 2.2).

    Its groups have all parameters in their order, and the learning rate. The state of a parameter is that of Muon or
    AdamW.

    Args:
        groups: parameters of the whole network, the classifier's last, in one group or several.
        fused: whether AdamW uses its fused kernel.

    Raises:
        BadInput: no parameter is a hidden layer's matrix, or a matrix is not dense in memory.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        weight_decay: float,
        momentum: float,
        nesterov: bool,
        ns_steps: int,
        betas: tuple[float, float],
        eps: float,
        fused: bool = False,
    ) -> None:
        # `fused` is in the group, so that load_state_dict puts AdamW's step count on the device that its kernel needs;
        # it is not in the defaults, as Muon takes no `found_inf`
        super().__init__([{**group, "fused": fused} for group in groups], {"lr": lr})
        self.hidden = _hidden([parameter for group in groups for parameter in group["params"]])
        if not self.hidden:
            raise BadInput(
                "optimizer.name: muon trains the matrices of hidden layers, and this network has none; use adamw, to "
                "which muon leaves the classifier"
            )
        self.matrices = [_as_matrix(weight, like=weight) for weight in self.hidden]
        matrix_of = dict(zip(self.hidden, self.matrices, strict=True))
        matrices = [{"params": [matrix_of[w] for w in group["params"] if w in matrix_of]} for group in groups]
        others = [{"params": [w for w in group["params"] if w not in matrix_of]} for group in groups]
        self.muon = torch.optim.Muon(
            matrices,
            lr,
            weight_decay,
            momentum,
            nesterov,
            ns_steps=ns_steps,
            adjust_lr_fn="match_rms_adamw",
        )
        self.adamw = torch.optim.AdamW(others, lr, betas, eps, weight_decay, fused=fused)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update the parameters from their gradients."""
        for weight, matrix in zip(self.hidden, self.matrices, strict=True):
            matrix.grad = None if weight.grad is None else _as_matrix(weight.grad, like=weight)
            self.muon.state[matrix] = self.state[weight]
        self.adamw.state = self.state
        for half in (self.muon, self.adamw):
            for group, whole in zip(half.param_groups, self.param_groups, strict=True):
                group["lr"] = whole["lr"]
            bare_step(half)()
        for matrix in self.matrices:
            matrix.grad = None  # else the gradient's memory would be held through the next backward pass


def _hidden(parameters: list[Parameter]) -> list[Parameter]:
    """All matrices except the last, the classifier's. One row or one column is a vector (ViT's class token)."""
    layers = [parameter for parameter in parameters if parameter.ndim >= 2]
    return [weight for weight in layers[:-1] if 1 < weight.shape[0] < weight.numel()]


def _as_matrix(tensor: Tensor, like: Parameter) -> Tensor:
    """(O, I, kH, kW) -> (O, I * kH * kW), columns in the memory order of `like`.

    That order is the same at each step and after a resume. With it, a weight in channels_last shares its memory.
    """
    columns = sorted(range(1, like.ndim), key=like.stride, reverse=True)
    rows = tensor.detach().permute(0, *columns)
    if tensor is not like:
        return rows.reshape(len(rows), -1).contiguous()
    try:
        return rows.view(len(rows), -1)
    except RuntimeError:
        shape, strides = tuple(like.shape), like.stride()
        raise BadInput(
            f"optimizer.name: muon cannot take a weight of shape {shape} and strides {strides} as a matrix without "
            "copying it; use adamw"
        ) from None


CLASSES: dict[str, type[Optimizer]] = {**vars(torch.optim), "Muon": MuonWithAdamW, "Perceptron": torch.optim.SGD}
"""The name of a config's class -> the optimizer."""

FUSED_ON = {
    torch.optim.SGD: ("cpu", "cuda"),
    torch.optim.Adam: ("cpu", "cuda"),
    torch.optim.AdamW: ("cpu", "cuda"),
    torch.optim.Adagrad: ("cpu",),
    MuonWithAdamW: ("cpu", "cuda"),
}
"""The classes with a fused kernel (muon: its AdamW) -> the devices that have it."""

UNUSABLE = {
    "LBFGS": "it evaluates the loss several times per step; use sgd or adam",
    "SparseAdam": "it takes sparse gradients only; use sgd or adam",
    "Optimizer": "it is the base class of the others; use sgd or adam",
    "Muon": "it takes matrices only; use muon, which has AdamW for the rest",
}


def make_optimizer(config: OptimizerConfig, parameters: Iterable[Parameter], body: int = 0) -> Optimizer:
    """The optimizer, with its fused kernel if there is one for the parameters' device.

    A group's `lr_factor` times the learning rate is that of its parameters, and its `decoupled_decay` is for the guard.

    Args:
        body: the number of parameters, the first ones, that have the smaller learning rate, in a group of their own.

    Raises:
        BadInput: torch.optim has no such class, the class has no such parameter or rejects its value, or the network
            has no hidden layer for muon.
    """
    parameters = list(parameters)
    parts = ((config.body_lr_factor, parameters[:body]), (1.0, parameters[body:]))
    decay = config.model_dump(include={"decoupled_decay"})
    groups = [{"params": part, "lr_factor": factor, **decay} for factor, part in parts if part]
    settings = config.model_dump(exclude={"name", "body_lr_factor", "decoupled_decay"})
    cls = _torch_class(config, settings) if isinstance(config, TorchOptimizer) else CLASSES[type(config).__name__]
    if parameters[0].device.type in FUSED_ON.get(cls, ()):
        settings["fused"] = True
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    avoid_dynamo()
    try:
        return cls(groups, **settings)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"optimizer: torch.optim.{cls.__name__} rejects these settings: {' '.join(str(error).split())}"
        ) from None


def _torch_class(config: TorchOptimizer, settings: dict[str, Any]) -> type[Optimizer]:
    known = {
        name: cls
        for name, cls in vars(torch.optim).items()
        if isinstance(cls, type) and issubclass(cls, Optimizer) and name not in UNUSABLE
    }
    class_name = config.name.removeprefix("torch.optim.")
    if class_name in UNUSABLE:
        raise BadInput(f"optimizer.name: {config.name} cannot be used: {UNUSABLE[class_name]}")
    if class_name not in known:
        hint = nearest(class_name, [f"torch.optim.{name}" for name in known])
        raise BadInput(
            f"optimizer.name: torch.optim has no class {quoted(class_name)}; it has {', '.join(known)}{hint}"
        )
    allowed = [name for name in inspect.signature(known[class_name]).parameters if name != "params"]
    for name in settings:
        if name not in allowed:
            hint = nearest(name, allowed)
            raise BadInput(f"optimizer.{name}: {config.name} has no {name}; it takes {', '.join(allowed)}{hint}")
    return known[class_name]


def avoid_dynamo() -> None:
    """Keep an optimizer from importing torch._dynamo (5 s), which its methods do only to disable it for themselves.

    Each wrapped method first looks for the result of an earlier call in this attribute. If a version of PyTorch does
    not, nothing changes.
    """
    if "torch._dynamo" not in sys.modules:
        for method in vars(Optimizer).values():
            if wrapped := getattr(method, "__wrapped__", None):
                setattr(wrapped, "__dynamo_disable", wrapped)


def bare_step(optimizer: Optimizer) -> Callable[[], Any]:
    """The optimizer's `step` without PyTorch's wrapper, which imports torch._dynamo (5 s) only to disable it.

    Call it under `torch.no_grad`, as the wrapper does.
    """
    return partial(inspect.unwrap(type(optimizer).step), optimizer)
