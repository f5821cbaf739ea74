"""The optimizers, one class each: a setting that an optimizer has not got is a field that its class has not got."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from cnnlab.config.section import Section, by_name

LOG_OF_COMPLEMENT: dict[str, Any] = {"log_scale": "1 - value"}
"""Marks a setting near 1 whose distance from 1 is what counts: a search on a log scale takes that of 1 - value."""

Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Beta, Beta], Field(strict=False)]
Momentum = Annotated[
    float, Field(ge=0, lt=1, description="share of the last update that is kept", json_schema_extra=LOG_OF_COMPLEMENT)
]
Eps = Annotated[float, Field(gt=0, description="added to a denominator, against division by zero")]


class _Optimizer(Section):
    name: str
    lr: float = Field(0.001, gt=0, allow_inf_nan=False, description="learning rate, the schedule's peak")
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False, description="L2 penalty (adamw: decoupled decay)")


class SGD(_Optimizer):
    name: Literal["sgd"] = "sgd"
    lr: float = Field(0.05, gt=0, allow_inf_nan=False, description="learning rate, the schedule's peak")
    momentum: Momentum = 0.9
    nesterov: bool = Field(False, description="look ahead by one momentum step")
    dampening: float = Field(0.0, ge=0, le=1, description="share of the gradient left out of the momentum")


class Adagrad(_Optimizer):
    name: Literal["adagrad"] = "adagrad"
    lr: float = Field(0.01, gt=0, allow_inf_nan=False, description="learning rate, the schedule's peak")
    lr_decay: float = Field(0.0, ge=0, description="lr / (1 + step * lr_decay)")
    initial_accumulator_value: float = Field(0.0, ge=0, description="where the sum of squares starts")
    eps: Eps = 1e-10


class Adadelta(_Optimizer):
    name: Literal["adadelta"] = "adadelta"
    lr: float = Field(1.0, gt=0, allow_inf_nan=False, description="learning rate, the schedule's peak")
    rho: float = Field(
        0.9, ge=0, le=1, description="decay of the running averages", json_schema_extra=LOG_OF_COMPLEMENT
    )
    eps: Eps = 1e-6


class RMSprop(_Optimizer):
    name: Literal["rmsprop"] = "rmsprop"
    alpha: float = Field(
        0.99, ge=0, le=1, description="decay of the mean of squares", json_schema_extra=LOG_OF_COMPLEMENT
    )
    momentum: Momentum = 0.0
    centered: bool = Field(False, description="divide by the variance instead of the mean of squares")
    eps: Eps = 1e-8


class Adam(_Optimizer):
    name: Literal["adam"] = "adam"
    betas: Betas = (0.9, 0.999)
    amsgrad: bool = Field(False, description="never let the second moment shrink")
    eps: Eps = 1e-8


class AdamW(_Optimizer):
    name: Literal["adamw"] = "adamw"
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False, description="decoupled weight decay")
    betas: Betas = (0.9, 0.999)
    amsgrad: bool = Field(False, description="never let the second moment shrink")
    eps: Eps = 1e-8


class NAdam(_Optimizer):
    name: Literal["nadam"] = "nadam"
    betas: Betas = (0.9, 0.999)
    momentum_decay: float = Field(0.004, ge=0, description="how fast the momentum warms up")
    eps: Eps = 1e-8


class RAdam(_Optimizer):
    name: Literal["radam"] = "radam"
    betas: Betas = (0.9, 0.999)
    eps: Eps = 1e-8


class Muon(_Optimizer):
    name: Literal["muon"] = "muon"
    lr: float = Field(0.01, gt=0, allow_inf_nan=False, description="learning rate, the schedule's peak")
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False, description="decoupled weight decay")
    momentum: Momentum = 0.95
    nesterov: bool = Field(True, description="look ahead by one momentum step")
    ns_steps: int = Field(5, ge=1, le=99, description="Newton-Schulz iterations that make a matrix orthogonal")
    betas: Betas = Field((0.9, 0.999), description="of AdamW, which has biases, norms and the classifier")
    eps: Eps = 1e-8


class TorchOptimizer(Section):
    """Any other class of torch.optim, by its own name; its other parameters are checked against its signature."""

    model_config = ConfigDict(extra="allow")
    name: str = Field(pattern=r"^[A-Z]\w*$")
    lr: float = Field(0.001, gt=0, allow_inf_nan=False, description="learning rate, the schedule's peak")

    @property
    def own(self) -> dict[str, Any]:
        """What the config gives beside name and lr."""
        return dict(self.model_extra or {})


NAMED = (SGD, Adagrad, Adadelta, RMSprop, Adam, AdamW, NAdam, RAdam, Muon)

OptimizerConfig = Annotated[
    Annotated[SGD, Tag("sgd")]
    | Annotated[Adagrad, Tag("adagrad")]
    | Annotated[Adadelta, Tag("adadelta")]
    | Annotated[RMSprop, Tag("rmsprop")]
    | Annotated[Adam, Tag("adam")]
    | Annotated[AdamW, Tag("adamw")]
    | Annotated[NAdam, Tag("nadam")]
    | Annotated[RAdam, Tag("radam")]
    | Annotated[Muon, Tag("muon")]
    | Annotated[TorchOptimizer, Tag("a class of torch.optim")],
    Discriminator(by_name("sgd", lambda name: "a class of torch.optim" if name[:1].isupper() else name)),
]
