"""What a sweep would do, before it does it: its first trials and an estimate of the time."""

import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import Trial

from cnnlab.config import RunConfig, flat
from cnnlab.records import Epoch, Steps
from cnnlab.run import prepare
from cnnlab.search.studies.claims import claim
from cnnlab.search.studies.plan import Plan
from cnnlab.search.trials.stages import Search
from cnnlab.search.trials.workers import Layout, with_threads
from cnnlab.training import fit

PIECE_SECONDS = 3.0


@dataclass(frozen=True)
class Preview:
    """Trials' searched settings, dotted path -> value, and seconds."""

    trials: list[dict[str, Any]]
    trial_seconds: float
    """One training of the experiment as written, from a piece of it that was timed."""
    seconds: float
    """All of the sweep, if no trial is pruned."""


def preview(plan: Plan, layout: Layout, most: int = 5) -> Preview:
    """Draw the first trials, train the experiment for a few seconds; write nothing but the data cache."""
    stage = with_threads(Search(plan), layout.threads)
    trial_seconds = _trial_seconds(stage.plan.config)
    trainings = plan.trials * plan.seeds + (plan.confirm + 1 if plan.confirm else 0) * plan.confirm_seeds
    return Preview(_first(Search(plan), most), trial_seconds, trainings * trial_seconds / layout.workers)


def _first(search: Search, most: int) -> list[dict[str, Any]]:
    """As the sampler draws them while nothing has ended yet."""
    study = optuna.create_study(direction="maximize")
    wanted = min(most, search.wanted)
    paths = [dimension.path for dimension in search.plan.space.dimensions]
    found = []
    for number in range(wanted):
        claim(study, wanted, search.first_params)
        study.sampler = search.sampler(number)
        config = search.trainings(number, Trial(study, study.get_trials()[number]._trial_id))[0].config
        found.append({path: value for path, value in flat(config).items() if path in paths})
    return found


def _trial_seconds(config: RunConfig) -> float:
    prepared = prepare(config)
    train_size = len(prepared.dataset.train)
    steps = config.training.epochs * -(-train_size // _batch(config, train_size))
    began, done = time.perf_counter(), 0
    with closing(fit(config, prepared.dataset, prepared.learner)) as records:
        for record in records:
            if isinstance(record, Epoch) and record.epoch == config.training.epochs:
                return time.perf_counter() - began
            if isinstance(record, Steps):
                done = record.last
                if time.perf_counter() - began > PIECE_SECONDS:
                    break
    return (time.perf_counter() - began) / max(done, 1) * steps


def _batch(config: RunConfig, train_size: int) -> int:
    return train_size if config.data.batch_size == "full" else min(config.data.batch_size, train_size)
