"""The two stages of a sweep, each a study of slots: the search, and the confirmation of its best on fresh seeds."""

import hashlib
import itertools
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import Trial

from cnnlab.config import RunConfig, flat
from cnnlab.config.space import MOST_POINTS, Choices
from cnnlab.search.claims import study_slots
from cnnlab.search.plan import Plan
from cnnlab.search.sampling import (
    from_optuna,
    make_pruner,
    make_sampler,
    nearest_inside,
    quasi_random,
    suggest,
    suggest_one,
    to_optuna,
)
from cnnlab.search.slots import Slot, best_first, slots
from cnnlab.search.study import find_study


@dataclass(frozen=True)
class Search:
    """Slot 0 is the experiment as written; the sampler draws the others."""

    plan: Plan
    name: ClassVar[str] = "search"
    tested: ClassVar[bool] = False
    """Whether its trainings are measured on the test split. In a search not, so that nobody can choose by it."""

    @property
    def study(self) -> str:
        return self.plan.study

    @property
    def wanted(self) -> int:
        """The number of trials. A grid has one per point, and one for the experiment if it is not a point of it."""
        plan = self.plan
        if plan.sampler != "grid" or plan.trials < (plan.space.size or 0):
            return plan.trials
        return 1 + len(self._grid())

    def label(self, number: int) -> str:
        return f"trial {number}"

    def folder(self, number: int) -> Path:
        return self.plan.folder / "trials" / f"{number:03d}"

    def sampler(self, number: int) -> BaseSampler:
        plan = self.plan
        seeds = {"study_seed": plan.sampler_seed(0), "trial_seed": plan.sampler_seed(number)}
        return make_sampler(plan.sampler, plan.space, **seeds)

    def pruner(self, number: int) -> BasePruner:
        """Trial 0 is never pruned, because all others are compared with it."""
        return make_pruner(self.plan.pruner, self.plan.config.training.epochs) if number else NopPruner()

    def first_params(self, number: int) -> dict[str, Any]:
        """The parameters that are fixed before anything is sampled, as Optuna keeps them."""
        plan = self.plan
        if number == 0:
            return to_optuna(plan.space, nearest_inside(plan.space, flat(plan.config)))
        if plan.sampler == "qmc":
            return to_optuna(plan.space, quasi_random(plan.space, number, plan.sampler_seed(0)))
        return self._grid()[number - 1] if plan.sampler == "grid" else {}

    def configs(self, number: int, trial: Trial) -> list[RunConfig]:
        """The trainings of a trial, one per seed."""
        if number == 0:  # only its fixed parameters; nothing is sampled
            space, params = self.plan.space, {}
            for name in nearest_inside(space, flat(self.plan.config)):
                suggest_one(trial, space[name])
        else:
            params = suggest(trial, self.plan.space)
        return [self.plan.config_of(number, params, seed) for seed in range(self.plan.seeds)]

    def _grid(self) -> list[dict[str, Any]]:
        """Each point except the experiment's, in an order determined by the seed."""
        space = self.plan.space
        if not all(isinstance(dimension.domain, Choices) for dimension in space.dimensions):
            return []
        settings = flat(self.plan.config)
        here = nearest_inside(space, settings)
        if any(settings.get(space[name].path) != value for name, value in here.items()):
            here = {}  # the experiment is no point of the grid, so all points are still to be tried
        points = [to_optuna(space, point) for point in itertools.islice(space.points(), MOST_POINTS) if point != here]
        random.Random(self.plan.sampler_seed(0)).shuffle(points)
        return points


@dataclass(frozen=True)
class Confirmation:
    """The best trials, and the experiment as written, each trained on the same fresh seeds."""

    plan: Plan
    trials: tuple[tuple[int, dict[str, Any]], ...]
    """The numbers of trials in the search, and the parameters of each as Optuna keeps them."""
    name: ClassVar[str] = "confirm"
    tested: ClassVar[bool] = True

    @property
    def study(self) -> str:
        """A name that only the same trials have: other best trials are confirmed in another study."""
        asked = json.dumps([self.trials, self.plan.confirm_seeds])
        return f"{self.plan.study}.confirm-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"

    @property
    def wanted(self) -> int:
        return len(self.trials) * self.plan.confirm_seeds

    def trial_and_seed(self, number: int) -> tuple[int, int]:
        """The trial of the search that a slot trains again, and the index of its fresh seed."""
        which, seed = divmod(number, self.plan.confirm_seeds)
        return self.trials[which][0], seed

    def label(self, number: int) -> str:
        again, seed = self.trial_and_seed(number)
        return f"trial {again} again, fresh seed {seed + 1}"

    def folder(self, number: int) -> Path:
        again, seed = self.trial_and_seed(number)
        return self.plan.folder / "confirm" / f"{again:03d}-seed-{seed}"

    def sampler(self, number: int) -> BaseSampler:
        return RandomSampler(seed=0)  # draws nothing

    def pruner(self, number: int) -> BasePruner:
        return NopPruner()

    def first_params(self, number: int) -> dict[str, Any]:
        return {}

    def configs(self, number: int, trial: Trial) -> list[RunConfig]:
        again, seed = self.trial_and_seed(number)
        config = self.plan.config_of(again, from_optuna(self.plan.space, dict(self.trials)[again]))
        training = config.training.model_copy(update={"seed": self.plan.fresh_seed(seed)})
        return [config.model_copy(update={"training": training})]


Stage = Search | Confirmation


def slots_of(stage: Stage) -> list[Slot]:
    """A stage's slots as they are now; all of them wait if its study has not been made."""
    study = find_study(stage.study, stage.plan.storage)
    return study_slots(study, stage.wanted) if study else slots([], stage.wanted)


def confirmation_of(plan: Plan) -> Confirmation | None:
    """The confirmation of the best trials so far and of the experiment as written; None if there is none to confirm."""
    searched = slots_of(Search(plan))
    ranked = best_first(searched, plan.score)[: plan.confirm]
    if not plan.space.dimensions:  # nothing is selected
        ranked = [slot for slot in searched[:1] if slot.finished]
    if not ranked:
        return None
    if searched[0].state == "complete" and searched[0] not in ranked:
        ranked.append(searched[0])
    return Confirmation(plan, tuple((slot.number, dict(slot.trial.params)) for slot in ranked if slot.trial))
