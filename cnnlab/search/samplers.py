"""Samplers and pruners by name."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, PatientPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler, TPESampler

from cnnlab.config.commands import Pruner, Sampler
from cnnlab.config.space import Range, Space
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


SAMPLERS: dict[Sampler, Callable[[Space, int, int], BaseSampler]] = {
    "tpe": _tpe,
    "random": lambda space, study, trial: RandomSampler(seed=trial),
    "qmc": _qmc,
    "gp": lambda space, study, trial: GPSampler(seed=trial, warn_independent_sampling=False),
    "cmaes": _cmaes,
    "grid": lambda space, study, trial: RandomSampler(seed=trial),  # its points are fixed when the study is made
}
"""Name -> a sampler for one trial of a space, from the study's seed and the trial's own.

The points of qmc and cmaes form one sequence, so they come from the study's seed. Choices, which neither of the two
knows, and all that the other samplers draw come from the trial's own seed.
"""

PRUNERS: dict[Pruner, Callable[[int], BasePruner]] = {
    "none": lambda epochs: NopPruner(),
    "median": lambda epochs: MedianPruner(n_startup_trials=4, n_warmup_steps=1),
    "asha": lambda epochs: SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    "hyperband": lambda epochs: HyperbandPruner(min_resource=1, max_resource=max(2, epochs), reduction_factor=3),
    "patient": lambda epochs: PatientPruner(MedianPruner(n_startup_trials=4), patience=1),
}
"""Name -> a pruner for trials of that many epochs; each looks at the validation score after an epoch."""


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
