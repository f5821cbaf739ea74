"""The optimizers, one class each: it has the name of PyTorch's class and the settings of that optimizer, no others.

Adding one: a class and an entry here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from cnnlab.config.section import Entry, Ranges, Section

LOG_OF_COMPLEMENT: dict[str, Any] = {"log_scale": "1 - value"}
"""Marks a setting near 1: a search on a log scale takes the log of 1 - value."""

Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Beta, Beta], Field(strict=False)]
Momentum = Annotated[
    float, Field(ge=0, lt=1, description="share of the last update that is kept", json_schema_extra=LOG_OF_COMPLEMENT)
]
Nesterov = Annotated[bool, Field(description="look ahead by one momentum step")]
Amsgrad = Annotated[bool, Field(description="never let the second moment shrink")]
Eps = Annotated[float, Field(gt=0, description="added to a denominator, against division by zero")]


LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False, description="learning rate, the schedule's peak")]
Decay = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PenaltyDecay = Annotated[
    Decay, Field(description="L2 penalty in the gradient, added to penalty.l2; adamw, muon: decoupled")
]
DecoupledDecay = Annotated[
    Decay, Field(description="decoupled: each step takes the share lr times this off each weight")
]


class OptimizerConfig(Section):
    """Any of them."""

    name: str
    lr: LearningRate = 0.001
    body_lr_factor: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="the learning rate of all but the last layer is lr times this"
    )


class _Coupled(OptimizerConfig):
    """Those whose weight decay is a penalty in PyTorch."""

    weight_decay: PenaltyDecay = 0.0
    decoupled_decay: DecoupledDecay = 0.0


class SGD(_Coupled):
    name: Literal["sgd"] = "sgd"
    lr: LearningRate = 0.05
    momentum: Momentum = 0.9
    nesterov: Nesterov = False
    dampening: float = Field(0.0, ge=0, le=1, description="share of the gradient left out of the momentum")


class Adagrad(_Coupled):
    name: Literal["adagrad"] = "adagrad"
    lr: LearningRate = 0.01
    lr_decay: float = Field(0.0, ge=0, description="lr / (1 + step * lr_decay)")
    initial_accumulator_value: float = Field(0.0, ge=0, description="where the sum of squares starts")
    eps: Eps = 1e-10


class Adadelta(_Coupled):
    name: Literal["adadelta"] = "adadelta"
    lr: LearningRate = 1.0
    rho: float = Field(
        0.9, ge=0, le=1, description="decay of the running averages", json_schema_extra=LOG_OF_COMPLEMENT
    )
    eps: Eps = 1e-6


class RMSprop(_Coupled):
    name: Literal["rmsprop"] = "rmsprop"
    alpha: float = Field(
        0.99, ge=0, le=1, description="decay of the mean of squares", json_schema_extra=LOG_OF_COMPLEMENT
    )
    momentum: Momentum = 0.0
    centered: bool = Field(False, description="divide by the variance instead of the mean of squares")
    eps: Eps = 1e-8


class Adam(_Coupled):
    name: Literal["adam"] = "adam"
    betas: Betas = (0.9, 0.999)
    amsgrad: Amsgrad = False
    eps: Eps = 1e-8


class AdamW(OptimizerConfig):
    name: Literal["adamw"] = "adamw"
    weight_decay: DecoupledDecay = 0.01
    betas: Betas = (0.9, 0.999)
    amsgrad: Amsgrad = False
    eps: Eps = 1e-8


class NAdam(_Coupled):
    name: Literal["nadam"] = "nadam"
    betas: Betas = (0.9, 0.999)
    momentum_decay: float = Field(0.004, ge=0, description="how fast the momentum warms up")
    eps: Eps = 1e-8


class RAdam(_Coupled):
    name: Literal["radam"] = "radam"
    betas: Betas = (0.9, 0.999)
    eps: Eps = 1e-8


class Muon(OptimizerConfig):
    name: Literal["muon"] = "muon"
    lr: LearningRate = 0.01
    weight_decay: DecoupledDecay = 0.01
    momentum: Momentum = 0.95
    nesterov: Nesterov = True
    ns_steps: int = Field(5, ge=1, le=99, description="Newton-Schulz iterations that make a matrix orthogonal")
    betas: Betas = Field((0.9, 0.999), description="of AdamW, which has biases, norms and the classifier")
    eps: Eps = 1e-8


class Perceptron(OptimizerConfig):
    """Rosenblatt's learning rule: on a mistake w <- w + lr (t - y) x, the mean over the batch.

    It is the gradient descent of the loss perceptron.
    """

    name: Literal["perceptron"] = "perceptron"
    lr: LearningRate = 1.0


class TorchOptimizer(OptimizerConfig):
    """Any class of torch.optim; its parameters are checked against its signature."""

    model_config = ConfigDict(extra="allow")
    name: str = Field(pattern=r"^torch\.optim\.\w+$")
    decoupled_decay: DecoupledDecay = 0.0


@dataclass(frozen=True)
class ArmEntry:
    """An optimizer for `cnnlab compare`: its fixed settings, and those that are tuned beside the learning rate.

    The ranges and their order are our choice, wide on both sides of PyTorch's defaults.
    """

    second: Ranges = field(default_factory=dict)
    """Tuned if there are trials for two settings: momentum, or its counterpart."""
    third: Ranges = field(default_factory=dict)
    """Tuned if there are trials for all settings; replaces a range of `second`."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """The settings that define it."""
    special_case: str | None = None
    """The arm that it includes: tuned well, it is at least as good (Choi et al. 2019, arXiv 1910.05446)."""


@dataclass(frozen=True, kw_only=True)
class OptimizerEntry(Entry):
    """The config's knowledge of an optimizer."""

    lr: Ranges
    """The range of sweeps and comparisons: from too small to too large for small networks."""
    arms: Mapping[str, ArmEntry]
    """Name -> arm. Most optimizers are one arm; sgd is three."""


def _log(low: float, high: float) -> Ranges:
    return {"low": low, "high": high, "log": True}


_MOMENTUM = _log(0.5, 0.99)
_AVERAGE = _log(0.9, 0.9999)
_EPS = _log(1e-10, 1e-2)
_BETA1 = [[1 - x, 0.999] for x in (0.5, 0.2, 0.1, 0.05, 0.02)]
_BETAS = [*_BETA1, [0.8, 0.99], [0.9, 0.99], [0.95, 0.99], [0.9, 0.9999]]
_PENALTY = {"weight_decay": _log(1e-6, 1e-2)}
_DECOUPLED = {"weight_decay": _log(1e-4, 1.0)}


def _adam(special_case: str) -> ArmEntry:
    return ArmEntry({"betas": _BETA1}, {"betas": _BETAS, "eps": _EPS}, special_case=special_case)


OPTIMIZERS: dict[str, OptimizerEntry] = {
    "sgd": OptimizerEntry(
        config=SGD,
        lr=_log(1e-3, 1.0),
        search={"momentum": _MOMENTUM, **_PENALTY},
        arms={
            "sgd": ArmEntry(fixed={"momentum": 0.0}),
            "momentum": ArmEntry({"momentum": _MOMENTUM}, fixed={"momentum": 0.9}, special_case="sgd"),
            "nesterov": ArmEntry({"momentum": _MOMENTUM}, fixed={"momentum": 0.9, "nesterov": True}),
        },
    ),
    "adagrad": OptimizerEntry(
        config=Adagrad,
        lr=_log(1e-3, 1.0),
        search=_PENALTY,
        arms={"adagrad": ArmEntry({"initial_accumulator_value": {"low": 0.0, "high": 1.0}}, {"eps": _EPS})},
    ),
    "adadelta": OptimizerEntry(
        config=Adadelta,
        lr=_log(1e-2, 10.0),
        search=_PENALTY,
        arms={"adadelta": ArmEntry({"rho": _log(0.8, 0.999)}, {"eps": _log(1e-8, 1e-3)})},
    ),
    "rmsprop": OptimizerEntry(
        config=RMSprop,
        lr=_log(1e-5, 1e-1),
        search=_PENALTY,
        arms={"rmsprop": ArmEntry({"alpha": _AVERAGE}, {"momentum": _MOMENTUM, "eps": _EPS}, special_case="momentum")},
    ),
    "adam": OptimizerEntry(
        config=Adam, lr=_log(1e-4, 1e-1), search=_PENALTY, arms={"adam": _adam(special_case="momentum")}
    ),
    "adamw": OptimizerEntry(
        config=AdamW, lr=_log(1e-4, 1e-1), search=_DECOUPLED, arms={"adamw": _adam(special_case="momentum")}
    ),
    "nadam": OptimizerEntry(
        config=NAdam, lr=_log(1e-4, 1e-1), search=_PENALTY, arms={"nadam": _adam(special_case="nesterov")}
    ),
    "radam": OptimizerEntry(
        config=RAdam, lr=_log(1e-4, 1e-1), search=_PENALTY, arms={"radam": _adam(special_case="momentum")}
    ),
    "muon": OptimizerEntry(
        config=Muon,
        lr=_log(3e-4, 3e-1),  # on the digits 0.01 was best, of 0.0005 to 0.1
        search={"momentum": _MOMENTUM, **_DECOUPLED},
        arms={"muon": ArmEntry({"momentum": _MOMENTUM}, {"betas": _BETAS, "eps": _EPS})},
    ),
    "perceptron": OptimizerEntry(config=Perceptron, lr=_log(1e-3, 10.0), arms={"perceptron": ArmEntry()}),
    "torch.optim.NAME": OptimizerEntry(
        config=TorchOptimizer, lr=_log(1e-4, 1.0), arms={}, members=("Adafactor", "Adamax", "ASGD", "Rprop")
    ),
}
"""The log scale of learning rate, weight decay and eps; momentum and averages have the log scale of 1 - value."""
