"""Processes share the slots of a study: each claims one, works on it, and records how it ended."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from cnnlab.process import this_process
from cnnlab.search.studies.database import Attempt, Database
from cnnlab.search.studies.optuna_internals import id_of, storage_of, study_id_of
from cnnlab.search.studies.slots import (
    CAUSE,
    INFEASIBLE,
    OWNER,
    REASON,
    RETRY,
    SLOT,
    Slot,
    crashes,
    next_attempt,
    slots,
)
from cnnlab.search.studies.storage import JournalFile

BATCH = 32
"""Attempts that a process adds if it finds none to claim; of a sweep's own trials, its command adds them before."""

FirstParams = Callable[[int], dict[str, Any]]
"""A slot's number -> the parameters that are fixed before anything is sampled."""


def study_slots(study: Study, wanted: int) -> list[Slot]:
    """The first `wanted` slots of a study as it stands."""
    return slots(study.get_trials(deepcopy=False), wanted)


def fill(study: Study, wanted: int, first_params: FirstParams, *, ahead: int, least: int | None = None) -> bool:
    """Add missing attempts until `ahead` are ready to be claimed; none if `least` are ready (default: `ahead`).

    Returns whether any is ready. If several processes do it at the same time, nothing counts twice. They are not
    added all at once, because samplers read them each time.
    """

    def attempt(slot: Slot) -> Attempt:
        return _params_so_far(slot.trial) if slot.trial else first_params(slot.number), next_attempt(slot)

    def attempt_of(number: int, tried: bool) -> Attempt:
        return attempt(study_slots(study, wanted)[number] if tried else Slot(number, ()))

    storage, least = storage_of(study), ahead if least is None else least
    if isinstance(storage, Database):
        return storage.add_waiting(study_id_of(study), wanted, ahead, least, attempt_of)
    with _alone(storage):
        found = study_slots(study, wanted)
        ready = sum(_is_ready(slot) for slot in found)
        lacking = [slot for slot in found if slot.needs_attempt][: ahead - ready if ready < least else 0]
        for slot in lacking:
            params, attrs = attempt(slot)
            study.enqueue_trial(params, user_attrs=attrs)
        return bool(ready or lacking)


def claim(study: Study, wanted: int, first_params: FirstParams) -> Slot | None:
    """Take the first waiting slot: it runs now, and no other process has it. None if no slot waits.

    Of the slot's attempts a database gives only the one that was claimed.
    """
    while (slot := _take_first(study, wanted)) is None:
        if not fill(study, wanted, first_params, ahead=BATCH, least=1):
            return None
    return slot


def tell(
    study: Study, trial: Trial, state: TrialState, value: float | None = None, noted: Mapping[str, Any] | None = None
) -> None:
    """Record how the trial ended, unless another process has already declared it dead.

    Args:
        noted: user attributes of the trial.
    """
    with suppress(UpdateFinishedTrialError):
        for key, item in (noted or {}).items():
            trial.set_user_attr(key, item)
        study.tell(trial, value, state, skip_if_finished=True)


def infeasible(study: Study, trial: Trial, reason: str, worst: float) -> None:
    """Tell the sampler the worst value there is, so that it stays away; it is never counted among the results."""
    tell(study, trial, TrialState.COMPLETE, worst, {INFEASIBLE: reason})


def give_back(study: Study, trial: Trial, slot: Slot, cause: str, retries: int, reason: str = "") -> None:
    """Let whoever claims the slot next go on with the trial; if it crashed, at most `retries` times."""
    again = cause != "crashed" or crashes(study_slots(study, slot.number + 1)[slot.number]) < retries
    tell(study, trial, TrialState.FAIL, None, {CAUSE: cause, RETRY: again, REASON: reason})


def _is_ready(slot: Slot) -> bool:
    return slot.trial is not None and slot.trial.state == TrialState.WAITING


def _take_first(study: Study, wanted: int) -> Slot | None:
    storage = storage_of(study)
    if isinstance(storage, Database):
        trial = storage.claim(study_id_of(study), wanted, this_process())
        return Slot(trial.user_attrs[SLOT], (trial,)) if trial else None
    with _alone(storage):  # otherwise many processes would try to take the same one
        return next((slot for slot in study_slots(study, wanted) if _is_ready(slot) and _take(study, slot)), None)


def _alone(storage: BaseStorage) -> AbstractContextManager[None]:
    return storage.alone() if isinstance(storage, JournalFile) else nullcontext()


def _take(study: Study, slot: Slot) -> bool:
    """Set a slot from waiting to running, which only one process can do; whether it was this one."""
    assert slot.trial is not None
    storage = storage_of(study)
    try:
        # the owner first: a process that dies in between leaves the trial waiting, not running without an owner
        storage.set_trial_user_attr(id_of(slot.trial), OWNER, this_process())
        return storage.set_trial_state_values(id_of(slot.trial), TrialState.RUNNING)
    except UpdateFinishedTrialError:
        return False


def _params_so_far(trial: FrozenTrial) -> dict[str, Any]:
    return dict(trial.params) or dict(trial.system_attrs.get("fixed_params", {}))
