"""The two stages of a sweep, each a study of slots: the search, and the confirmation of its best on fresh seeds."""

import hashlib
import itertools
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import Trial

from cnnlab.config import RunConfig, flat
from cnnlab.config.space import MOST_POINTS, Choices
from cnnlab.search.encoding import from_optuna, nearest_inside, suggest, suggest_one, to_optuna
from cnnlab.search.plan import Plan
from cnnlab.search.samplers import make_pruner, make_sampler
from cnnlab.search.studies.claims import study_slots
from cnnlab.search.studies.slots import Slot, best_first
from cnnlab.search.studies.storage import open_storage
from cnnlab.search.studies.study import open_study, study_exists


@dataclass(frozen=True)
class TrialRun:
    """One network to be trained for a trial."""

    config: RunConfig
    directory: Path


class Stage(Protocol):
    """A study whose slots any process can work on."""

    @property
    def name(self) -> str: ...
    @property
    def study(self) -> str: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def wanted(self) -> int: ...
    @property
    def tested(self) -> bool: ...
    def label(self, number: int) -> str: ...
    def sampler(self, number: int) -> BaseSampler: ...
    def pruner(self, number: int) -> BasePruner: ...
    def first_params(self, number: int) -> dict[str, Any]: ...
    def trainings(self, number: int, trial: Trial) -> list[TrialRun]: ...


@dataclass(frozen=True)
class Search:
    """Slot 0 is the experiment as written, the others are what the sampler asks for."""

    plan: Plan

    @property
    def name(self) -> str:
        return "search"

    @property
    def study(self) -> str:
        return self.plan.study

    @property
    def wanted(self) -> int:
        """As many trials as asked for. A grid ends with its last point; the experiment, if it is none, is beside it."""
        plan = self.plan
        if plan.sampler != "grid" or plan.trials < (plan.space.size or 0):
            return plan.trials
        return 1 + len(self._grid())

    @property
    def tested(self) -> bool:
        """No: a search does not look at the test split, so that nobody can choose by it."""
        return False

    def label(self, number: int) -> str:
        return f"trial {number}"

    def sampler(self, number: int) -> BaseSampler:
        plan = self.plan
        return make_sampler(
            plan.sampler, plan.space, study_seed=plan.sampler_seed(0), trial_seed=plan.sampler_seed(number)
        )

    def pruner(self, number: int) -> BasePruner:
        """Trial 0 is what all others are compared with, so it is trained to its end."""
        return make_pruner(self.plan.pruner, self.plan.config.training.epochs) if number else NopPruner()

    def first_params(self, number: int) -> dict[str, Any]:
        if number == 0:
            return to_optuna(self.plan.space, nearest_inside(self.plan.space, flat(self.plan.config)))
        return self._grid()[number - 1] if self.plan.sampler == "grid" else {}

    def trainings(self, number: int, trial: Trial) -> list[TrialRun]:
        if number == 0:  # what is known of it is fixed; nothing else is sampled
            space = self.plan.space
            for name in nearest_inside(space, flat(self.plan.config)):
                suggest_one(trial, space[name])
            params: dict[str, Any] = {}
        else:
            params = suggest(trial, self.plan.space)
        folder = self.plan.folder / "trials" / f"{number:03d}"
        return [
            TrialRun(
                self.plan.config_of(number, params, seed),
                folder if self.plan.seeds == 1 else folder / f"seed-{seed}",
            )
            for seed in range(self.plan.seeds)
        ]

    def _grid(self) -> list[dict[str, Any]]:
        """Every point except the experiment's own, in an order that the seed gives."""
        space = self.plan.space
        if not all(isinstance(dimension.domain, Choices) for dimension in space.dimensions):
            return []
        settings = flat(self.plan.config)
        here = nearest_inside(space, settings)
        if any(settings.get(space[name].path) != value for name, value in here.items()):
            here = {}  # the experiment is no point of the grid, so all of the grid is still to be tried
        points = [to_optuna(space, point) for point in itertools.islice(space.points(), MOST_POINTS) if point != here]
        random.Random(self.plan.sampler_seed(0)).shuffle(points)
        return points


@dataclass(frozen=True)
class Confirmation:
    """The best trials, and the experiment as written, each trained on the same fresh seeds."""

    plan: Plan
    trials: tuple[tuple[int, dict[str, Any]], ...]
    """Numbers in the search and the parameters that they were trained with, as Optuna keeps them."""

    @property
    def name(self) -> str:
        return "confirm"

    @property
    def study(self) -> str:
        """A name that only the same trials have, so that the confirmation of others is kept apart."""
        asked = json.dumps([self.trials, self.plan.confirm_seeds])
        return f"{self.plan.study}.confirm-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"

    @property
    def wanted(self) -> int:
        return len(self.trials) * self.plan.confirm_seeds

    @property
    def tested(self) -> bool:
        return True

    def trial_and_seed(self, number: int) -> tuple[int, int]:
        """Which trial of the search a slot trains again, and the index of its fresh seed."""
        which, seed = divmod(number, self.plan.confirm_seeds)
        return self.trials[which][0], seed

    def label(self, number: int) -> str:
        again, seed = self.trial_and_seed(number)
        return f"trial {again} again, fresh seed {seed + 1}"

    def sampler(self, number: int) -> BaseSampler:
        return RandomSampler(seed=0)  # never asked

    def pruner(self, number: int) -> BasePruner:
        return NopPruner()

    def first_params(self, number: int) -> dict[str, Any]:
        return {}

    def trainings(self, number: int, trial: Trial) -> list[TrialRun]:
        again, seed = self.trial_and_seed(number)
        params = dict(self.trials)[again]
        config = self.plan.config_of(again, from_optuna(self.plan.space, params))
        training = config.training.model_copy(update={"seed": self.plan.fresh_seed(seed)})
        folder = self.plan.folder / "confirm" / f"{again:03d}-seed-{seed}"
        return [TrialRun(config.model_copy(update={"training": training}), folder)]


def slots_of(stage: Stage) -> list[Slot]:
    """A stage's study as it stands; all slots wait if it has not been made."""
    if not study_exists(stage.study, stage.plan.storage):
        return [Slot(number, ()) for number in range(stage.wanted)]
    return study_slots(open_study(stage.study, open_storage(stage.plan.storage)), stage.wanted)


def confirmation_of(plan: Plan) -> Confirmation | None:
    """Of the best trials so far and the experiment as written; None if nothing is to be confirmed."""
    found = slots_of(Search(plan))
    ranked = best_first(found, plan.score)[: plan.confirm]
    if not ranked:
        return None
    if found[0].state == "complete" and found[0] not in ranked:
        ranked.append(found[0])
    return Confirmation(plan, tuple((slot.number, dict(slot.trial.params)) for slot in ranked if slot.trial))
