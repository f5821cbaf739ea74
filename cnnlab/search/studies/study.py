"""A plan's study in its storage: made, found again, and held to what it was made for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from cnnlab.config import RunConfig, as_config, flat
from cnnlab.config.space import Params, Space
from cnnlab.errors import BadInput
from cnnlab.search.samplers import distribution, from_optuna, nearest_inside, optuna_name, to_optuna
from cnnlab.search.studies.claims import study_slots
from cnnlab.search.studies.plan import Plan, differences, what_it_is
from cnnlab.search.studies.slots import ATTEMPT, SLOT, Slot
from cnnlab.search.studies.storage import open_storage, storage_url
from cnnlab.tracking import studies_root

IDENTITY = "cnnlab:identity"
PARENT = "cnnlab:parent_run_id"
ASKED = "cnnlab:asked"
"""What a plan asks for beside its identity; the last one to ask for it is remembered."""


def enter(plan: Plan) -> tuple[Plan, Study]:
    """Make the plan's study, or find it; the plan as that study has it.

    Raises:
        BadInput: the study was made for another experiment or another space; says what differs.
    """
    study = open_or_make(plan.study, plan.storage)
    known = study.user_attrs
    if IDENTITY not in known:
        study.set_user_attr(IDENTITY, plan.identity())
    else:
        _check_same(plan, known[IDENTITY])
    asked = {key: getattr(plan, key) for key in ("trials", "confirm", "confirm_seeds", "experiment", "tracking_uri")}
    if known.get(ASKED) != asked:
        study.set_user_attr(ASKED, asked)
    return replace(plan, parent=known.get(PARENT, "")), study


def open_or_make(name: str, storage: str) -> Study:
    """The study of this name in a storage, higher values better."""
    return optuna.create_study(
        study_name=name, storage=open_storage(storage), direction="maximize", load_if_exists=True
    )


def check(plan: Plan) -> None:
    """As `enter`, of a study that may not be there; makes none."""
    if "://" not in plan.storage and not Path(plan.storage).exists():
        return
    known = attributes(open_storage(plan.storage), plan.study)
    if known and IDENTITY in known:
        _check_same(plan, known[IDENTITY])


def extend(plan: Plan, old: str, storage: str | None) -> None:
    """Put the complete and pruned trials of another study that lie inside the plan's space into the plan's study.

    Args:
        old: the other study's name.
        storage: --storage, where both are; None for a file each.

    Raises:
        BadInput: there is no such study, or it is of another experiment.
    """
    before = plan_of(old, storage_url(storage, old))
    if before is None:
        raise BadInput(f"--extend {old}: there is no such study; cnnlab studies lists what there is")
    if found := differences({**before.identity(), "space": {}}, {**plan.identity(), "space": {}}):
        raise BadInput(f"--extend {old}: it was made for something else: {found[0]}")
    plan, study = enter(plan)
    if study.get_trials(deepcopy=False):
        return
    taken = 0  # slot 0 is the experiment as written, or left to be trained
    for slot in study_slots(open_or_make(old, before.storage), before.trials):
        if slot.trial is None or slot.state not in ("complete", "pruned", "infeasible"):
            continue
        params = from_optuna(before.space, dict(slot.trial.params))
        if plan.space.contains(params) or slot.number == 0:
            taken += slot.number > 0
            study.add_trial(_taken_over(plan, slot, params, taken if slot.number else 0))


def _taken_over(plan: Plan, slot: Slot, params: Params, number: int) -> FrozenTrial:
    """The trial as it would have been made in the plan's study."""
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


def plan_of(study: str, storage: str) -> Plan | None:
    """The plan that a study was made for, as it was last asked for; None where there is no such study."""
    known = attributes(open_storage(storage), study) if "://" in storage or Path(storage).exists() else None
    if known is None or IDENTITY not in known:
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
    plans = (plan_of(name, url) for name, url in named)
    return [plan for plan in plans if plan]


def attributes(storage: BaseStorage, study: str) -> dict[str, Any] | None:
    """A study's user attributes; None where there is no such study."""
    try:
        return storage.get_study_user_attrs(storage.get_study_id_from_name(study))
    except KeyError:
        return None


def _check_same(plan: Plan, known: dict[str, Any]) -> None:
    known = {**known, "config": what_it_is(as_config(known["config"]))}  # as this version writes it
    if found := differences(known, plan.identity()):
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise BadInput(
            f"--study {plan.study}: it was made for something else: {found[0]}{more}; name another study, or widen its "
            f"space in a new one by --extend {plan.study}"
        )
