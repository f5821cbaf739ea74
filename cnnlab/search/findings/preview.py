"""What a sweep would do, before it does it: its first trials and an estimate of the time."""

import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import optuna

from cnnlab.config import RunConfig, flat
from cnnlab.records import Epoch, RunStarted, Steps
from cnnlab.run import prepare
from cnnlab.search.plan import Plan
from cnnlab.search.studies.claims import claim
from cnnlab.search.studies.optuna_internals import public_trial
from cnnlab.search.trials.stages import Search
from cnnlab.search.trials.workers import Layout, with_threads
from cnnlab.training import fit

PIECE_SECONDS = 3.0


@dataclass(frozen=True)
class Preview:
    """What a sweep would do."""

    trials: list[dict[str, Any]]
    """The searched settings of the first trials: dotted path -> value."""
    trial_seconds: float
    """Of one training of the experiment as written, estimated from the piece of it that was timed."""
    seconds: float
    """Of the whole sweep, if no trial is pruned."""


def preview(plan: Plan, layout: Layout, most: int = 5) -> Preview:
    """Draw the first trials and train the experiment for a few seconds; writes nothing but the data cache."""
    stage = with_threads(Search(plan), layout.threads)
    trial_seconds = _trial_seconds(stage.plan.config)
    trainings = plan.trials * plan.seeds + (plan.confirm + 1 if plan.confirm else 0) * plan.confirm_seeds
    return Preview(_first(Search(plan), most), trial_seconds, trainings * trial_seconds / layout.workers)


def _first(search: Search, most: int) -> list[dict[str, Any]]:
    """The first trials as the sampler draws them as long as none has ended."""
    study = optuna.create_study(direction=search.plan.score.direction)
    wanted = min(most, search.wanted)
    paths = [dimension.path for dimension in search.plan.space.dimensions]
    found = []
    for number in range(wanted):
        claim(study, wanted, search.first_params)
        study.sampler = search.sampler(number)
        config = search.trainings(number, public_trial(study, study.get_trials()[number]))[0].config
        found.append({path: value for path, value in flat(config).items() if path in paths})
    return found


def _trial_seconds(config: RunConfig) -> float:
    prepared = prepare(config)
    began, done, steps = time.perf_counter(), 0, 0
    with closing(fit(prepared)) as records:
        for record in records:
            if isinstance(record, RunStarted):
                steps = record.epochs * record.steps_per_epoch
            if isinstance(record, Epoch) and record.epoch == config.training.epochs:
                return time.perf_counter() - began
            if isinstance(record, Steps):
                done = record.last
                if time.perf_counter() - began > PIECE_SECONDS:
                    break
    return (time.perf_counter() - began) / max(done, 1) * steps
