"""A space in Optuna's words: distributions, parameters, points."""

import json
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from cnnlab.config.space import Choices, Dimension, Params, Range, Space


def suggest(trial: Trial, space: Space) -> Params:
    """A point of the space, from the trial's sampler or as it was fixed."""
    return space.choose(lambda dimension: suggest_one(trial, dimension))


def suggest_one(trial: Trial, dimension: Dimension) -> Any:
    """The value of one dimension, from the trial's sampler or as it was fixed."""
    name, wanted = optuna_name(dimension), distribution(dimension)
    if isinstance(wanted, CategoricalDistribution):
        kept: Any = trial.suggest_categorical(name, wanted.choices)
    elif isinstance(wanted, IntDistribution):
        kept = trial.suggest_int(name, wanted.low, wanted.high, log=wanted.log)
    else:
        kept = trial.suggest_float(name, wanted.low, wanted.high, log=wanted.log)
    return _value(dimension.domain, kept)


def distribution(dimension: Dimension) -> CategoricalDistribution | IntDistribution | FloatDistribution:
    """A dimension's domain as Optuna's distribution."""
    domain = dimension.domain
    if isinstance(domain, Choices):
        return CategoricalDistribution([_encoded(value) for value in domain.values])
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    if domain.complement:
        return FloatDistribution(1 - domain.high, 1 - domain.low, log=True)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def optuna_name(dimension: Dimension) -> str:
    """What a dimension is called in Optuna's study, in which the log scale of 1 - value is a parameter of its own."""
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
    """The point of the space that is nearest to a configuration (dotted path -> value).

    A setting outside its range becomes the nearer end of the range, a number that is not listed the nearest one that
    is; any other value that is not listed is left out.
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
