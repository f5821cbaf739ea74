"""Samplers and pruners by name, and a space in Optuna's words."""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, PatientPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import Trial

from cnnlab.config.space import Choices, Dimension, Params, Range, Space
from cnnlab.errors import BadInput


def _tpe(space: Space, study: int, trial: int) -> BaseSampler:
    conditional = any(dimension.only for dimension in space.dimensions)
    return TPESampler(seed=trial, group=conditional, multivariate=True if conditional else None)


def _qmc(space: Space, study: int, trial: int) -> BaseSampler:
    return QMCSampler(
        scramble=True, seed=study, independent_sampler=RandomSampler(seed=trial), warn_independent_sampling=False
    )


def _cmaes(space: Space, study: int, trial: int) -> BaseSampler:
    return CmaEsSampler(seed=study, independent_sampler=RandomSampler(seed=trial), warn_independent_sampling=False)


SAMPLERS: dict[str, Callable[[Space, int, int], BaseSampler]] = {
    "tpe": _tpe,
    "random": lambda space, study, trial: RandomSampler(seed=trial),
    "qmc": _qmc,
    "gp": lambda space, study, trial: GPSampler(seed=trial, warn_independent_sampling=False),
    "cmaes": _cmaes,
    "grid": lambda space, study, trial: RandomSampler(seed=trial),  # its points are fixed when the study is made
}
"""Name -> a sampler for one trial of a space, from the study's seed and the trial's own.

The points of qmc and cmaes are of one sequence, so that all trials need the study's seed; choices, which neither knows,
and all that the others draw come from the trial's own.
"""

PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "none": lambda epochs: NopPruner(),
    "median": lambda epochs: MedianPruner(n_startup_trials=4, n_warmup_steps=1),
    "asha": lambda epochs: SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    "hyperband": lambda epochs: HyperbandPruner(min_resource=1, max_resource=max(2, epochs), reduction_factor=3),
    "patient": lambda epochs: PatientPruner(MedianPruner(n_startup_trials=4), patience=1),
}
"""Name -> a pruner for trials of so many epochs; each looks at the validation accuracy after an epoch."""


def check_sampler(name: str, space: Space) -> None:
    """Raises BadInput where the sampler's package is missing or the space is not for it."""
    if name == "cmaes" and find_spec("cmaes") is None:
        raise BadInput("--sampler cmaes: needs the package cmaes: pip install 'cnnlab[cmaes]'")
    ranges = [dimension.path for dimension in space.dimensions if isinstance(dimension.domain, Range)]
    if name == "grid" and ranges:
        raise BadInput(f"--sampler grid: {ranges[0]} is a range; list its values, as in --search {ranges[0]}=A,B,C")


def make_sampler(name: str, space: Space, study_seed: int, trial_seed: int) -> BaseSampler:
    """A sampler for one trial."""
    with _experimental():
        return SAMPLERS[name](space, study_seed % 2**32, trial_seed % 2**32)


def make_pruner(name: str, epochs: int) -> BasePruner:
    """A pruner for trials of so many epochs."""
    with _experimental():
        return PRUNERS[name](epochs)


@contextmanager
def _experimental() -> Iterator[None]:
    """Parts of Optuna that call themselves experimental are used all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def suggest(trial: Trial, space: Space) -> Params:
    """A point of the space, from the trial's sampler or as it was fixed."""
    return space.choose(lambda dimension: suggest_one(trial, dimension))


def suggest_one(trial: Trial, dimension: Dimension) -> Any:
    """One setting's value."""
    name, wanted = optuna_name(dimension), distribution(dimension)
    if isinstance(wanted, CategoricalDistribution):
        kept: Any = trial.suggest_categorical(name, wanted.choices)
    elif isinstance(wanted, IntDistribution):
        kept = trial.suggest_int(name, wanted.low, wanted.high, log=wanted.log)
    else:
        kept = trial.suggest_float(name, wanted.low, wanted.high, log=wanted.log)
    return _value(dimension.domain, kept)


def distribution(dimension: Dimension) -> CategoricalDistribution | IntDistribution | FloatDistribution:
    """A dimension's domain as Optuna has it."""
    domain = dimension.domain
    if isinstance(domain, Choices):
        return CategoricalDistribution([_encoded(value) for value in domain.values])
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    if domain.complement:
        return FloatDistribution(1 - domain.high, 1 - domain.low, log=True)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def optuna_name(dimension: Dimension) -> str:
    """What a dimension is called in Optuna's study, where the log scale of 1 - value is a parameter of its own."""
    complement = isinstance(dimension.domain, Range) and dimension.domain.complement
    return f"1 - {dimension.name}" if complement else dimension.name


def to_optuna(space: Space, params: Params) -> dict[str, Any]:
    """A point as Optuna keeps it."""
    return {optuna_name(space[name]): _kept(space[name].domain, value) for name, value in params.items()}


def from_optuna(space: Space, kept: dict[str, Any]) -> Params:
    """The inverse of `to_optuna`."""
    dimensions = {name: dimension_named(space, name) for name in kept}
    return {dimensions[name].name: _value(dimensions[name].domain, value) for name, value in kept.items()}


def dimension_named(space: Space, name: str) -> Dimension:
    """The dimension that Optuna knows by this name."""
    return next(dimension for dimension in space.dimensions if optuna_name(dimension) == name)


def nearest_inside(space: Space, settings: dict[str, Any]) -> Params:
    """The point nearest to a configuration (dotted path -> value), for the sampler's eyes.

    A setting outside its range is taken to the range's end, a number that is not listed to the nearest that is; any
    other value that is not listed is left out.
    """
    point: Params = {}
    for dimension in space.dimensions:
        applies = dimension.only is None or settings.get(dimension.only.path) in dimension.only.values
        value = settings.get(dimension.path)
        if not applies or value is None:
            continue
        if (near := dimension.domain.nearest(value)) is not None:
            point[dimension.name] = near
    return point


def _kept(domain: Range | Choices, value: Any) -> Any:
    """A setting's value -> Optuna's, whose choices are scalars: a list is kept as its JSON text."""
    if isinstance(domain, Choices):
        return _encoded(value)
    return 1 - value if domain.complement else value


def _value(domain: Range | Choices, kept: Any) -> Any:
    """The inverse of `_kept`."""
    if isinstance(domain, Choices):
        return next(value for value in domain.values if _encoded(value) == kept)
    # 1 - (1 - x) may differ from x in the last bit
    return min(max(1 - kept, domain.low), domain.high) if domain.complement else kept


def _encoded(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value
