"""An optimizer's config -> an optimizer of torch.optim."""

import inspect
import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from cnnlab.config.messages import nearest
from cnnlab.config.optimizers import OptimizerConfig, TorchOptimizer
from cnnlab.errors import BadInput, quoted
from cnnlab.training.muon import MuonWithAdamW

CLASSES: dict[str, type[Optimizer]] = {**vars(torch.optim), "Muon": MuonWithAdamW}
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


def make_optimizer(config: OptimizerConfig, parameters: Iterable[Parameter]) -> Optimizer:
    """The optimizer, with its fused kernel if there is one for the parameters' device.

    Raises:
        BadInput: torch.optim has no such class, the class has no such parameter or rejects its value, or the network
            has no hidden layer for muon.
    """
    parameters = list(parameters)
    settings = config.model_dump(exclude={"name"})
    cls = _torch_class(config, settings) if isinstance(config, TorchOptimizer) else CLASSES[type(config).__name__]
    if parameters[0].device.type in FUSED_ON.get(cls, ()):
        settings["fused"] = True
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    _avoid_dynamo()
    try:
        return cls(parameters, **settings)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput(
            f"optimizer: torch.optim.{cls.__name__} rejects these settings: {' '.join(str(error).split())}"
        ) from None


def _avoid_dynamo() -> None:
    """Keep an optimizer from importing torch._dynamo (5 s), which its methods do only to disable it for themselves.

    Each wrapped method first looks for the result of an earlier call in this attribute. If a version of PyTorch does
    not, nothing changes.
    """
    if "torch._dynamo" not in sys.modules:
        for method in vars(Optimizer).values():
            if wrapped := getattr(method, "__wrapped__", None):
                setattr(wrapped, "__dynamo_disable", wrapped)


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
