"""What a sweep found: the best against where it began, how it held on fresh seeds, what mattered, what to do next."""

import statistics
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.study import Study

from cnnlab.config import RunConfig, changed, flat
from cnnlab.config.space import Dimension, Params, Range
from cnnlab.errors import BadInput
from cnnlab.records import RunEnded
from cnnlab.search.samplers import dimension_named, from_optuna
from cnnlab.search.studies.claims import study_slots
from cnnlab.search.studies.plan import Plan
from cnnlab.search.studies.slots import Slot
from cnnlab.search.studies.storage import open_storage
from cnnlab.search.studies.study import attributes, open_or_make
from cnnlab.search.sweep import best_first, confirmation_of
from cnnlab.search.trials.stages import Search
from cnnlab.tracking import RunDir, last, read

EDGE = 0.05
"""A best value so near to the end of a range, as a share of its width, says that the range was too narrow."""
WIDEN = 0.5
"""By how much of its width a range is to be widened."""
MANY_INFEASIBLE = 0.25
NO_MATTER = 0.02
"""An importance below which a hyperparameter is said not to matter, where there are trials enough to tell."""
TRIALS_A_DIMENSION = 4
TELLING = 20
"""Complete trials from which on an importance is taken seriously."""


@dataclass(frozen=True)
class Confirmed:
    """One of the best, trained again on fresh seeds."""

    trial: int
    selected: float
    """The value that it was selected for: the best of many, so likely a lucky one."""
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    @property
    def std(self) -> float | None:
        """The sample standard deviation over the seeds; None of one seed."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class Advice:
    """Something to act on, and how: what to add to the command."""

    text: str
    action: str = ""


@dataclass(frozen=True)
class Findings:
    """All of it, from the study as it stands."""

    plan: Plan
    slots: list[Slot]
    best: Slot | None
    confirmed: list[Confirmed]
    importances: dict[str, float]
    """Dimension -> its share of the variance of the values; they add up to 1. Empty where too little is known."""
    warnings: list[Advice]

    @property
    def baseline(self) -> float | None:
        """What the experiment as written reached."""
        return self.slots[0].value if self.slots else None


def findings_of(plan: Plan) -> Findings:
    """Read a study."""
    slots = study_slots(open_or_make(plan.study, plan.storage), Search(plan).wanted)
    ranked = best_first(slots)
    best = ranked[0] if ranked else None
    importances = _importances(plan, slots)
    return Findings(plan, slots, best, _confirmed(plan, slots), importances, _warnings(plan, slots, best, importances))


def params_of(plan: Plan, slot: Slot) -> Params:
    """The point of the space where a trial was."""
    return from_optuna(plan.space, dict(slot.trial.params)) if slot.trial else {}


def settings_of(plan: Plan, slot: Slot) -> dict[str, Any]:
    """The searched settings as the trial had them: dotted path -> value."""
    if not slot.config:
        return {}
    settings = flat(RunConfig.model_validate(slot.config))
    return {d.path: settings[d.path] for d in plan.space.dimensions if d.path in settings}


def feasible(slots: list[Slot]) -> Study:
    """A study of its own with the trials that were trained to their end or pruned."""
    study = optuna.create_study(direction="maximize")
    study.add_trials([slot.trial for slot in slots if slot.state in ("complete", "pruned") and slot.trial])
    return study


def _confirmed(plan: Plan, slots: list[Slot]) -> list[Confirmed]:
    confirmation = confirmation_of(plan)
    if confirmation is None or attributes(open_storage(plan.storage), confirmation.study) is None:
        return []
    again = study_slots(open_or_make(confirmation.study, plan.storage), confirmation.wanted)
    found = []
    for number, _ in confirmation.trials:
        scores = tuple(
            slot.value
            for slot in again
            if slot.value is not None and confirmation.trial_and_seed(slot.number)[0] == number
        )
        if scores:
            found.append(Confirmed(number, slots[number].value or 0.0, scores))
    return found


def _importances(plan: Plan, slots: list[Slot]) -> dict[str, float]:
    complete = [slot for slot in slots if slot.value is not None]
    if len(complete) < 4 or len({slot.value for slot in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = optuna.importance.get_param_importances(feasible(complete))
        except (RuntimeError, ValueError):  # no variance, or no parameter that all trials have
            return {}
    return {dimension_named(plan.space, name).name: float(share) for name, share in found.items()}


def _warnings(plan: Plan, slots: list[Slot], best: Slot | None, importances: dict[str, float]) -> list[Advice]:
    found = [*_edges(plan, best), *_many_infeasible(plan, slots), *_no_matter(plan, slots, best, importances)]
    dimensions = len({dimension.path for dimension in plan.space.dimensions})
    if plan.sampler != "grid" and len(slots) < TRIALS_A_DIMENSION * dimensions:
        found.append(
            Advice(
                f"{len(slots)} trials are few for {dimensions} hyperparameter{'s' if dimensions > 1 else ''}",
                f"--trials {TRIALS_A_DIMENSION * dimensions}",
            )
        )
    return [*found, *_last_epoch(plan, best)]


def _edges(plan: Plan, best: Slot | None) -> list[Advice]:
    found = []
    settings = settings_of(plan, best) if best else {}
    for name in params_of(plan, best) if best else {}:
        dimension = plan.space[name]
        value = settings[dimension.path]
        if not isinstance(dimension.domain, Range) or value not in dimension.domain:
            continue
        position = dimension.domain.position(value)
        wider = _wider(plan, dimension, position)
        if wider:
            end = "lower" if position < 0.5 else "upper"
            found.append(
                Advice(
                    f"the best {dimension.path}, {value:.4g}, lies at the {end} end of {dimension.domain}",
                    f"--extend {plan.study} --search {wider}",
                )
            )
    return found


def _wider(plan: Plan, dimension: Dimension, position: float) -> str | None:
    """The range wider at the end where `position` lies, as a word of --search; None where it is not at an end or the
    setting's own bounds are reached."""
    domain = dimension.domain
    assert isinstance(domain, Range)
    if EDGE < position < 1 - EDGE:
        return None
    low, high = (domain.at(-WIDEN), domain.high) if position <= EDGE else (domain.low, domain.at(1 + WIDEN))
    try:
        for value in (low, high):
            kind = {dimension.only.path: dimension.only.values[0]} if dimension.only else {}
            changed(plan.config, {**kind, dimension.path: value})
    except BadInput:
        return None
    return f"{dimension.path}={low:.4g}:{high:.4g}{':log' if domain.log else ''}"


def _many_infeasible(plan: Plan, slots: list[Slot]) -> list[Advice]:
    bad = [slot for slot in slots if slot.state == "infeasible"]
    if len(bad) <= MANY_INFEASIBLE * len(slots):
        return []
    text = f"{len(bad)} of {len(slots)} trials diverged"
    good = [settings_of(plan, slot).get("optimizer.lr") for slot in slots if slot.state in ("complete", "pruned")]
    rates = [rate for rate in good if rate is not None]
    range_of_lr = next((d.domain for d in plan.space.dimensions if d.path == "optimizer.lr"), None)
    if not rates or not isinstance(range_of_lr, Range) or max(rates) <= range_of_lr.low:
        return [Advice(text)]
    scale = ":log" if range_of_lr.log else ""
    return [Advice(text, f"--search optimizer.lr={range_of_lr.low:.4g}:{max(rates):.4g}{scale}")]


def _no_matter(plan: Plan, slots: list[Slot], best: Slot | None, importances: dict[str, float]) -> list[Advice]:
    if sum(slot.value is not None for slot in slots) < TELLING or best is None:
        return []
    settings = settings_of(plan, best)
    return [
        Advice(
            f"{plan.space[name].path} made no difference ({share:.0%} of the variance): fix it",
            f"-s {plan.space[name].path}={settings[plan.space[name].path]}",
        )
        for name, share in importances.items()
        if share < NO_MATTER and plan.space[name].path in settings
    ]


def _last_epoch(plan: Plan, best: Slot | None) -> list[Advice]:
    if best is None or best.run_dir is None:
        return []
    ended = last(read(RunDir(Path(best.run_dir)).journal_file)[0], RunEnded)
    epochs = plan.config.training.epochs
    if ended is None or ended.best_epoch != epochs:
        return []
    return [Advice("the best trial was still getting better in its last epoch", f"--epochs {2 * epochs}")]
