"""Checks of a sweep's space on this machine's data, and a preview: the first trials and the estimated time."""

import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import optuna

from cnnlab.config import RunConfig, flat
from cnnlab.config.space_reading import corners, fit_to_data
from cnnlab.errors import BadInput, CnnlabError
from cnnlab.records import Epoch, RunStarted, Steps
from cnnlab.run import prepare
from cnnlab.search.plan import Plan
from cnnlab.search.stages import Search
from cnnlab.search.workers import Workers
from cnnlab.training import fit

SHOWN_TRIALS = 5
PIECE_SECONDS = 3.0


@dataclass(frozen=True)
class Preview:
    """What a sweep would do."""

    trials: list[dict[str, Any]]
    """The searched settings of the first trials: dotted path -> value."""
    trial_seconds: float
    """Of one training of the experiment as written, estimated from a piece of it."""
    seconds: float
    """Of the whole sweep, if no trial is pruned."""


def fitted(plan: Plan) -> Plan:
    """The plan with the default batch size, and the default choices of it, that fit this machine's data.

    Raises:
        BadInput, RunFailed: as `prepare`.
    """
    prepared = prepare(plan.config)
    return replace(plan, config=prepared.config, space=fit_to_data(plan.space, len(prepared.dataset.train)))


def checked_on_data(plan: Plan) -> Plan:
    """Try each end of a range and each choice that depends on this machine's data; returns the plan with its doubts.

    Raises:
        BadInput: a value cannot be trained: a batch larger than the training split, a layer without any output.
    """
    dataset = prepare(plan.config).dataset
    for dimension, value, config in corners(plan.config, plan.space):
        try:
            if dimension.path.startswith("data."):
                prepare(config)
            elif dimension.path.startswith(("model.", "schedule.", "training.")):
                prepare(config, dataset)
        except CnnlabError as error:
            raise BadInput(f"search.{dimension.path}: {value} cannot be trained: {error}") from None
    return replace(plan, doubts=list(dataset.doubts))


def preview(plan: Plan, workers: Workers) -> Preview:
    """Draw the first trials and train the experiment for a few seconds; writes nothing but the data cache."""
    one = trial_seconds(plan.with_threads(workers.threads).config)
    trainings = plan.trials * plan.seeds + (plan.confirm + 1 if plan.confirm else 0) * plan.confirm_seeds
    return Preview(_first_trials(Search(plan)), one, trainings * one / workers.number)


def _first_trials(search: Search) -> list[dict[str, Any]]:
    """The trials that the sampler draws while none has ended."""
    study = optuna.create_study(direction=search.plan.score.direction)
    paths = [dimension.path for dimension in search.plan.space.dimensions]
    trials = []
    for number in range(min(SHOWN_TRIALS, search.wanted)):
        study.enqueue_trial(search.first_params(number))
        study.sampler = search.sampler(number)
        config = search.configs(number, study.ask())[0]
        trials.append({path: value for path, value in flat(config).items() if path in paths})
    return trials


def trial_seconds(config: RunConfig) -> float:
    """The seconds of a training, estimated from its first PIECE_SECONDS; writes nothing but the data cache."""
    prepared = prepare(config)
    began, done, epoch, end, per_epoch = time.perf_counter(), 0.0, 0, 0, 1  # `done` counts epochs
    with closing(fit(prepared)) as records:
        for record in records:
            if isinstance(record, RunStarted):
                per_epoch = record.steps_per_epoch
            if isinstance(record, Epoch):  # batches may grow, so that the next epoch has fewer steps
                epoch, end, per_epoch = record.epoch, record.step, record.step - end
                if epoch == config.training.epochs:
                    return time.perf_counter() - began
            if isinstance(record, Steps):
                done = epoch + (record.last - end) / per_epoch
                if time.perf_counter() - began > PIECE_SECONDS:
                    break
    return (time.perf_counter() - began) / (done or 1) * config.training.epochs
