"""A space in Optuna's terms: distributions, parameters, points; samplers and pruners by name."""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, PatientPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import Trial

from cnnlab.config.commands import Pruner, Sampler
from cnnlab.config.space import Choices, Dimension, Params, Range, Space
from cnnlab.errors import BadInput


def suggest(trial: Trial, space: Space) -> Params:
    """A point of the space, from the trial's sampler or its fixed parameters."""
    return space.choose(lambda dimension: suggest_one(trial, dimension))


def suggest_one(trial: Trial, dimension: Dimension) -> Any:
    """The value of one dimension, from the trial's sampler or its fixed parameters."""
    name, drawn = optuna_name(dimension), distribution(dimension)
    if isinstance(drawn, CategoricalDistribution):
        kept: Any = trial.suggest_categorical(name, drawn.choices)
    elif isinstance(drawn, IntDistribution):
        kept = trial.suggest_int(name, drawn.low, drawn.high, log=drawn.log)
    else:
        kept = trial.suggest_float(name, drawn.low, drawn.high, log=drawn.log)
    return _from_optuna(dimension.domain, kept)


def distribution(dimension: Dimension) -> CategoricalDistribution | IntDistribution | FloatDistribution:
    """A dimension's domain as Optuna's distribution."""
    domain = dimension.domain
    if isinstance(domain, Choices):
        return CategoricalDistribution([_scalar(value) for value in domain.values])
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    if domain.complement:
        return FloatDistribution(1 - domain.high, 1 - domain.low, log=True)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def optuna_name(dimension: Dimension) -> str:
    """A dimension's name in Optuna's study. If the scale is the log of 1 - value, the parameter there is `1 - NAME`."""
    complement = isinstance(dimension.domain, Range) and dimension.domain.complement
    return f"1 - {dimension.name}" if complement else dimension.name


def dimension_named(space: Space, name: str) -> Dimension:
    """The dimension that has this name in Optuna's study."""
    return next(dimension for dimension in space.dimensions if optuna_name(dimension) == name)


def to_optuna(space: Space, params: Params) -> dict[str, Any]:
    """A point as Optuna keeps it."""
    return {optuna_name(space[name]): _to_optuna(space[name].domain, value) for name, value in params.items()}


def from_optuna(space: Space, params: dict[str, Any]) -> Params:
    """The inverse of `to_optuna`."""
    dimensions = {name: dimension_named(space, name) for name in params}
    return {dimensions[name].name: _from_optuna(dimensions[name].domain, value) for name, value in params.items()}


def nearest_inside(space: Space, settings: dict[str, Any]) -> Params:
    """The point of the space that is nearest to a configuration (dotted path -> value).

    A setting outside its range becomes the nearer end of the range. A number that is not listed becomes the nearest one
    that is. Any other value that is not listed is left out.
    """
    point: Params = {}
    for dimension in space.dimensions:
        applies = dimension.only is None or settings.get(dimension.only.path) in dimension.only.values
        value = settings.get(dimension.path)
        if applies and value is not None and (near := dimension.domain.nearest(value)) is not None:
            point[dimension.name] = near
    return point


def _to_optuna(domain: Range | Choices, value: Any) -> Any:
    if isinstance(domain, Choices):
        return _scalar(value)
    return 1 - value if domain.complement else value


def _from_optuna(domain: Range | Choices, kept: Any) -> Any:
    if isinstance(domain, Choices):
        return next(value for value in domain.values if _scalar(value) == kept)
    # 1 - (1 - x) may differ from x in the last bit
    return min(max(1 - kept, domain.low), domain.high) if domain.complement else kept


def _scalar(value: Any) -> Any:
    """A choice of Optuna's is a scalar, so a list is kept as its JSON text."""
    return json.dumps(value) if isinstance(value, list) else value


def _tpe(space: Space, study: int, trial: int) -> BaseSampler:
    conditional = any(dimension.only for dimension in space.dimensions)
    return TPESampler(seed=trial, group=conditional, multivariate=True if conditional else None)


def _cmaes(space: Space, study: int, trial: int) -> BaseSampler:
    return CmaEsSampler(seed=study, independent_sampler=RandomSampler(seed=trial), warn_independent_sampling=False)


def quasi_random(space: Space, number: int, seed: int) -> Params:
    """Point `number` (from 1) of a scrambled Sobol sequence (Owen 1998) over the ranges that always apply.

    It depends on nothing else: not on how many trials run at once, nor on which ones were interrupted.
    """
    from scipy.stats import qmc  # which takes half a second

    ranges = [d for d in space.dimensions if isinstance(d.domain, Range) and d.only is None]
    if not ranges:
        return {}
    positions = qmc.Sobol(len(ranges), rng=seed).random_base2((number - 1).bit_length())[number - 1]
    return {d.name: d.domain.nearest(d.domain.at(position)) for d, position in zip(ranges, positions, strict=True)}  # type: ignore[union-attr]


SAMPLERS: dict[Sampler, Callable[[Space, int, int], BaseSampler]] = {
    "tpe": _tpe,
    "random": lambda space, study, trial: RandomSampler(seed=trial),
    "qmc": lambda space, study, trial: RandomSampler(seed=trial),  # draws choices; the ranges' values are fixed
    "gp": lambda space, study, trial: GPSampler(seed=trial, warn_independent_sampling=False),
    "cmaes": _cmaes,
    "grid": lambda space, study, trial: RandomSampler(seed=trial),  # never draws: each trial's point is fixed
}
"""Name -> a sampler for one trial of a space, from the study's seed and the trial's seed.

The points of cmaes form one sequence, so they come from the study's seed. It does not draw choices. Choices, and all
that the other samplers draw, come from the trial's seed.
"""

PRUNERS: dict[Pruner, Callable[[int], BasePruner]] = {
    "none": lambda epochs: NopPruner(),
    "median": lambda epochs: MedianPruner(n_startup_trials=4, n_warmup_steps=1),
    "asha": lambda epochs: SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    "hyperband": lambda epochs: HyperbandPruner(min_resource=1, max_resource=max(2, epochs), reduction_factor=3),
    "patient": lambda epochs: PatientPruner(MedianPruner(n_startup_trials=4), patience=1),
}
"""Name -> a pruner for trials of that many epochs; it decides by the validation score after each epoch."""


def check_sampler(name: Sampler, space: Space) -> None:
    """Raises BadInput if the sampler's package is missing or it cannot search this space."""
    if name == "cmaes" and find_spec("cmaes") is None:
        raise BadInput("--sampler cmaes: needs the package cmaes: pip install 'cnnlab[cmaes]'")
    ranges = [dimension.path for dimension in space.dimensions if isinstance(dimension.domain, Range)]
    if name == "grid" and ranges:
        raise BadInput(f"--sampler grid: {ranges[0]} is a range; list its values, as in --search {ranges[0]}=A,B,C")


def make_sampler(name: Sampler, space: Space, *, study_seed: int, trial_seed: int) -> BaseSampler:
    """A sampler for one trial."""
    with _experimental():
        return SAMPLERS[name](space, study_seed % 2**32, trial_seed % 2**32)


def make_pruner(name: Pruner, epochs: int) -> BasePruner:
    """A pruner for trials of that many epochs."""
    with _experimental():
        return PRUNERS[name](epochs)


@contextmanager
def _experimental() -> Iterator[None]:
    """Within it, Optuna does not warn that some of its samplers and pruners are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
