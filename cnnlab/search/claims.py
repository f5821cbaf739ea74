"""Processes share the slots of a study: each claims one, shows that it lives, and records how the trial ended."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from cnnlab.process import lives, this_process
from cnnlab.search.database import Attempt, Database, StorageGone
from cnnlab.search.optuna_internals import id_of, storage_of, study_id_of
from cnnlab.search.slots import ATTEMPT, CAUSE, OWNER, REASON, RETRY, RUN_DIR, SLOT, Slot, slots
from cnnlab.search.storage import JournalFile
from cnnlab.tracking import RunDir

BATCH = 32
"""The number of attempts that a process adds if it finds none to claim. Usually the command has added some before."""

FIRST_BEAT_SECONDS = 1.5
"""Soon, so that a database has a trial's settings before its first report."""
BEAT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""If the beat of a process on another machine has not changed for so long, the process is declared dead."""

FirstParams = Callable[[int], dict[str, Any]]
"""A slot's number -> the parameters that are fixed before anything is sampled."""


def study_slots(study: Study, wanted: int) -> list[Slot]:
    """The first `wanted` slots of a study as it is now."""
    return slots(study.get_trials(deepcopy=False), wanted)


def fill(study: Study, wanted: int, first_params: FirstParams, *, ahead: int) -> bool:
    """If fewer than half of `ahead` attempts are ready to be claimed, add attempts until `ahead` are ready.

    They are not added all at once, because samplers read them for each trial.

    Returns:
        Whether any attempt is ready.
    """

    def missing(ready: int) -> list[Attempt]:
        lacking = [slot for slot in study_slots(study, wanted) if slot.needs_attempt]
        return [_next_attempt(slot, first_params) for slot in lacking[: ahead - ready]]

    storage, least = storage_of(study), -(-ahead // 2)
    if isinstance(storage, Database):
        return storage.add_waiting(study_id_of(study), wanted, least, missing)
    with _alone(storage):
        ready = sum(_is_ready(slot) for slot in study_slots(study, wanted))
        attempts = missing(ready) if ready < least else []
        for params, attributes in attempts:
            study.enqueue_trial(params, user_attrs=attributes)
        return bool(ready or attempts)


def claim(study: Study, wanted: int, first_params: FirstParams) -> Slot | None:
    """Take the first waiting slot: it runs now, and no other process has it. None if no slot waits.

    In a database, the slot has only the attempt that was claimed.
    """
    while (slot := _take_first(study, wanted)) is None:
        if not fill(study, wanted, first_params, ahead=BATCH):
            return None
    return slot


def tell(
    study: Study, trial: Trial, state: TrialState, value: float | None = None, attrs: Mapping[str, Any] | None = None
) -> None:
    """Record how the trial ended, unless another process has already declared it dead."""
    with suppress(UpdateFinishedTrialError):
        for key, item in (attrs or {}).items():
            trial.set_user_attr(key, item)
        study.tell(trial, value, state, skip_if_finished=True)


def give_back(study: Study, trial: Trial, slot: Slot, cause: str, retries: int, reason: str = "") -> None:
    """Let the process that claims the slot next continue the trial; if it crashed, at most `retries` times."""
    attempts = study_slots(study, slot.number + 1)[slot.number].attempts
    crashes = sum(attempt.user_attrs.get(CAUSE) == "crashed" for attempt in attempts)
    again = cause != "crashed" or crashes < retries
    tell(study, trial, TrialState.FAIL, None, {CAUSE: cause, RETRY: again, REASON: reason})


def _next_attempt(slot: Slot, first_params: FirstParams) -> Attempt:
    """A new attempt has the parameters of the one before."""
    before = slot.trial
    params = (before.params or before.system_attrs.get("fixed_params", {})) if before else first_params(slot.number)
    return dict(params), {SLOT: slot.number, ATTEMPT: len(slot.attempts)}


def _is_ready(slot: Slot) -> bool:
    return slot.trial is not None and slot.trial.state == TrialState.WAITING


def _take_first(study: Study, wanted: int) -> Slot | None:
    storage = storage_of(study)
    if isinstance(storage, Database):
        trial = storage.claim(study_id_of(study), wanted, this_process())
        return Slot(trial.user_attrs[SLOT], (trial,)) if trial else None
    with _alone(storage):  # otherwise many processes would try to take the same one
        slot = next((slot for slot in study_slots(study, wanted) if _is_ready(slot)), None)
        if slot and slot.trial:
            # write the owner first: if the process dies between the two writes, the trial still waits
            storage.set_trial_user_attr(id_of(slot.trial), OWNER, this_process())
            storage.set_trial_state_values(id_of(slot.trial), TrialState.RUNNING)
        return slot


def _alone(storage: BaseStorage) -> AbstractContextManager[None]:
    return storage.alone() if isinstance(storage, JournalFile) else nullcontext()


@contextmanager
def beating(study: Study, trial: Trial) -> Iterator[None]:
    """Within it, other processes see that the trial's process lives."""
    stop = threading.Event()

    def beat() -> None:
        for count in itertools.count(1):
            if stop.wait(FIRST_BEAT_SECONDS if count == 1 else BEAT_SECONDS):
                return
            with suppress(UpdateFinishedTrialError, StorageGone):  # the next beat may arrive
                storage_of(study).set_trial_user_attr(id_of(trial), OWNER, {**this_process(), "beat": count})

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Watch:
    """Notices running trials whose process is dead.

    A process of this machine is looked up by its number. The beat of a process on another machine has to change within
    SILENCE_SECONDS by this machine's clock, so clocks need not agree. If this machine sees that the run is locked,
    that process is only paused. If this process did not look for a while (it was paused, or the storage was gone for
    both), the wait begins anew.
    """

    def __init__(self) -> None:
        self._beats: dict[int, tuple[Any, float]] = {}
        self._looked = time.monotonic()

    def reap(self, study: Study, slots: list[Slot]) -> int:
        """Fail the trials of dead processes so that they are attempted again; returns their number."""
        if time.monotonic() - self._looked > SILENCE_SECONDS / 2:
            self._beats.clear()
        self._looked = time.monotonic()
        running = [slot.trial for slot in slots if slot.trial and slot.trial.state == TrialState.RUNNING]
        dead = [trial for trial in running if self._is_dead(trial)]
        storage = storage_of(study)
        for trial in dead:
            with suppress(UpdateFinishedTrialError):
                for key, value in ((CAUSE, "lost"), (RETRY, True)):
                    storage.set_trial_user_attr(id_of(trial), key, value)
                storage.set_trial_state_values(id_of(trial), TrialState.FAIL)
        return len(dead)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(OWNER)
        if owner and (alive := lives(owner)) is not None:
            return not alive
        beat, since = self._beats.setdefault(trial.number, (owner, time.monotonic()))
        if beat != owner:
            self._beats[trial.number] = (owner, time.monotonic())
            return False
        run_dir = trial.user_attrs.get(RUN_DIR)
        return time.monotonic() - since > SILENCE_SECONDS and not (run_dir and RunDir(Path(run_dir)).is_held())
