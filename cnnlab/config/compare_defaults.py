"""The optimizers that `cnnlab compare` knows by name: what each fixes, and what of it is tuned with how many trials.

Our own choice of ranges, around PyTorch's defaults and wide on both sides, and of tiers: first what matters most.
"""

from dataclasses import dataclass
from typing import Any

Settings = dict[str, Any]

SECOND_TIER = 10
"""Trials from which on momentum, or what takes its place, is tuned beside the learning rate."""
THIRD_TIER = 25
"""Trials from which on all of an optimizer's own settings are tuned."""

_MOMENTUM = {"low": 0.5, "high": 0.99, "log": True}
_AVERAGE = {"low": 0.9, "high": 0.9999, "log": True}
_EPS = {"low": 1e-10, "high": 1e-2, "log": True}
_ADAM_LR = {"low": 1e-4, "high": 1e-1, "log": True}
_MUON_LR = {"low": 3e-4, "high": 3e-1, "log": True}  # on the digits 0.01 was best, of 0.0005 to 0.1
_SGD_LR = {"low": 1e-3, "high": 1.0, "log": True}
_BETA1 = [[1 - x, 0.999] for x in (0.5, 0.2, 0.1, 0.05, 0.02)]
_BETAS = [*_BETA1, [0.8, 0.99], [0.9, 0.99], [0.95, 0.99], [0.9, 0.9999]]


@dataclass(frozen=True)
class Shipped:
    """One optimizer as a comparison knows it."""

    optimizer: str
    """Its name in `optimizer.name`."""
    tiers: tuple[Settings, Settings, Settings]
    """What is tuned: always, from SECOND_TIER trials on, from THIRD_TIER on; a later tier replaces an earlier range."""
    fixed: tuple[tuple[str, Any], ...] = ()
    """What makes it what it is."""
    special_case: str | None = None
    """The arm that it contains: tuned well, it cannot be worse."""


def _adam(name: str, contains: str) -> Shipped:
    return Shipped(name, ({"lr": _ADAM_LR}, {"betas": _BETA1}, {"betas": _BETAS, "eps": _EPS}), special_case=contains)


SHIPPED: dict[str, Shipped] = {
    "sgd": Shipped("sgd", ({"lr": _SGD_LR}, {}, {}), (("momentum", 0.0),)),
    "momentum": Shipped(
        "sgd", ({"lr": _SGD_LR}, {"momentum": _MOMENTUM}, {}), (("momentum", 0.9),), special_case="sgd"
    ),
    "nesterov": Shipped("sgd", ({"lr": _SGD_LR}, {"momentum": _MOMENTUM}, {}), (("momentum", 0.9), ("nesterov", True))),
    "adagrad": Shipped(
        "adagrad",
        ({"lr": _SGD_LR}, {"initial_accumulator_value": {"low": 0.0, "high": 1.0}}, {"eps": _EPS}),
    ),
    "adadelta": Shipped(
        "adadelta",
        (
            {"lr": {"low": 1e-2, "high": 10.0, "log": True}},
            {"rho": {"low": 0.8, "high": 0.999, "log": True}},
            {"eps": {"low": 1e-8, "high": 1e-3, "log": True}},
        ),
    ),
    "rmsprop": Shipped(
        "rmsprop",
        ({"lr": {"low": 1e-5, "high": 1e-1, "log": True}}, {"alpha": _AVERAGE}, {"momentum": _MOMENTUM, "eps": _EPS}),
        special_case="momentum",
    ),
    "adam": _adam("adam", "momentum"),
    "adamw": _adam("adamw", "momentum"),
    "nadam": _adam("nadam", "nesterov"),
    "radam": _adam("radam", "momentum"),
    "muon": Shipped("muon", ({"lr": _MUON_LR}, {"momentum": _MOMENTUM}, {"betas": _BETAS, "eps": _EPS})),
}
"""Name of an arm -> what it is. Which contains which: Choi et al. 2019, arXiv 1910.05446."""


def tuned(shipped: Shipped, trials: int) -> Settings:
    """Its settings that so many trials tune: name -> range or choices."""
    tiers = 1 + (trials >= SECOND_TIER) + (trials >= THIRD_TIER)
    return {key: domain for tier in shipped.tiers[:tiers] for key, domain in tier.items()}
