"""A plan's study in its storage: made, found again, and held to what it was made for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from cnnlab.config import RunConfig, as_config, flat
from cnnlab.config.space import Params, Space
from cnnlab.errors import BadInput, without_passwords
from cnnlab.metrics import Metric
from cnnlab.search.encoding import distribution, from_optuna, nearest_inside, optuna_name, to_optuna
from cnnlab.search.plan import Plan, differences, what_it_is
from cnnlab.search.samplers import check_sampler
from cnnlab.search.studies.claims import study_slots
from cnnlab.search.studies.slots import ASKED, ATTEMPT, IDENTITY, PARENT, SLOT, Slot
from cnnlab.search.studies.storage import open_storage, storage_url
from cnnlab.tracking import studies_root

ASKED_FOR = ("trials", "confirm", "confirm_seeds", "retries", "experiment", "tracking_uri", "doubts")
"""What a study keeps of a plan beside its identity."""


def placed(plan: Plan) -> Plan:
    """The plan with the name of its study and the place where that is kept.

    Args:
        plan: its `study` and `storage` as they were asked for, or empty.

    Raises:
        BadInput: a sampler that the space does not suit or that is not installed; no such kind of storage.
    """
    check_sampler(plan.sampler, plan.space)
    study = plan.study or plan.default_study()
    return replace(plan, study=study, storage=storage_url(plan.storage or None, study))


def enter(plan: Plan) -> tuple[Plan, Study]:
    """Make the plan's study, or find it; also returns the plan as that study has it.

    Raises:
        BadInput: the study was made for another experiment or another space; says what differs.
    """
    study = open_or_make(plan.study, plan.storage, plan.score)
    known = study.user_attrs
    if IDENTITY not in known:
        study.set_user_attr(IDENTITY, plan.identity())
    else:
        _check_same(plan, known[IDENTITY])
    asked = {**{key: getattr(plan, key) for key in ASKED_FOR}, "tracking_uri": without_passwords(plan.tracking_uri)}
    if known.get(ASKED) != asked:
        study.set_user_attr(ASKED, asked)
    return replace(plan, parent=known.get(PARENT, "")), study


def open_or_make(name: str, storage: str, score: Metric) -> Study:
    """The study of this name in a storage, made if there is none; which values are better is up to the score."""
    return optuna.create_study(
        study_name=name, storage=open_storage(storage), direction=score.direction, load_if_exists=True
    )


def open_study(name: str, storage: BaseStorage, sampler: BaseSampler | None = None) -> Study:
    """A study that exists, read anew, so that what other processes have told it since is seen."""
    return optuna.load_study(study_name=name, storage=storage, sampler=sampler)


def check_same(plan: Plan) -> None:
    """Raises BadInput if the plan's study exists and was made for something else; makes no study."""
    known = _attributes(plan.study, plan.storage) or {}
    if IDENTITY in known:
        _check_same(plan, known[IDENTITY])


def extend(plan: Plan, old: str, storage: str | None) -> None:
    """Copy the trials of another study that have ended and lie inside the plan's space into the plan's study.

    Args:
        plan: of a study that has no trials yet; otherwise nothing is copied.
        old: the other study's name.
        storage: --storage, which holds both studies; None if each has a file of its own.

    Raises:
        BadInput: there is no such study, or it is of another experiment.
    """
    before = stored_plan(old, storage_url(storage, old))
    if before is None:
        raise BadInput(f"--extend {old}: there is no such study; cnnlab studies lists what there is")
    if found := differences({**before.identity(), "space": {}}, {**plan.identity(), "space": {}}):
        raise BadInput(f"--extend {old}: it was made for something else: {found[0]}")
    plan, study = enter(plan)
    if study.get_trials(deepcopy=False):
        return
    copied = 0  # slot 0 is for the experiment as written, which is still to be trained if it was not
    for slot in study_slots(open_study(old, open_storage(before.storage)), before.trials):
        if slot.trial is None or slot.state not in ("complete", "pruned", "infeasible"):
            continue
        params = from_optuna(before.space, dict(slot.trial.params))
        if plan.space.contains(params) or slot.number == 0:
            copied += slot.number > 0
            study.add_trial(_copied(plan, slot, params, copied if slot.number else 0))


def _copied(plan: Plan, slot: Slot, params: Params, number: int) -> FrozenTrial:
    """The trial as the plan's study would have made it."""
    assert slot.trial is not None
    inside = params if slot.number else nearest_inside(plan.space, flat(plan.config))
    return optuna.trial.create_trial(
        state=slot.trial.state,
        value=slot.trial.value,
        params=to_optuna(plan.space, inside),
        distributions={optuna_name(plan.space[name]): distribution(plan.space[name]) for name in inside},
        user_attrs={**slot.trial.user_attrs, SLOT: number, ATTEMPT: 0},
        intermediate_values=slot.trial.intermediate_values,
    )


def stored_plan(study: str, storage: str) -> Plan | None:
    """The plan that a study was made for, as it was last asked for; None if there is no such study."""
    known = _attributes(study, storage) or {}
    if IDENTITY not in known:
        return None
    identity = known[IDENTITY]
    return Plan(
        config=RunConfig.model_validate(identity["config"]),
        space=Space.from_json(identity["space"]),
        sampler=identity["sampler"],
        pruner=identity["pruner"],
        seeds=identity["seeds"],
        study=study,
        storage=storage,
        parent=known.get(PARENT, ""),
        **known[ASKED],
    )


def list_plans(storage: str | None) -> list[Plan]:
    """The studies of a database, or those below mlruns/studies, by name."""
    if storage is None:
        named = [(path.parent.name, str(path.absolute())) for path in sorted(studies_root().glob("*/optuna.journal"))]
    else:
        url = storage_url(storage, "")
        named = [(name, url) for name in sorted(optuna.get_all_study_names(open_storage(url)))]
    plans = (stored_plan(name, url) for name, url in named)
    return [plan for plan in plans if plan]


def study_exists(study: str, storage: str) -> bool:
    """Whether the storage has a study of this name; opens no storage that is not there."""
    return _attributes(study, storage) is not None


def _attributes(study: str, storage: str) -> dict[str, Any] | None:
    """A study's user attributes; None if there is no such study, or no file for one."""
    if "://" not in storage and not Path(storage).exists():
        return None
    opened = open_storage(storage)
    try:
        return opened.get_study_user_attrs(opened.get_study_id_from_name(study))
    except KeyError:
        return None


def _check_same(plan: Plan, known: dict[str, Any]) -> None:
    known = {**known, "config": what_it_is(as_config(known["config"]))}  # as this version writes it
    if found := differences(known, plan.identity()):
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        without_defaults = known["space"].keys() < plan.space.to_json().keys()
        do = "search nothing but what --search names by --only" if without_defaults else "name another study"
        raise BadInput(
            f"--study {plan.study}: it was made for something else: {found[0]}{more}; {do}, or widen its space in "
            f"a new one by --extend {plan.study}"
        )
