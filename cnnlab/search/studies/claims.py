"""Processes share the slots of a study: each claims one, works on it, says how it ended; what died is claimed again."""

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from cnnlab.search.studies.database import Attempt, Database
from cnnlab.search.studies.slots import CAUSE, OWNER, RETRY, SLOT, Slot, attributes, crashes, slots
from cnnlab.search.studies.storage import JournalFile

FIRST_BEAT_SECONDS = 1.5
"""Soon: with it a database gets what has been noted of a trial before its first report."""
BEAT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""A process on another machine that has not beaten its trial for so long is taken for dead."""

BATCH = 32
"""Attempts that a process adds when it finds none to claim; of a sweep's own, its command adds them before."""

FirstParams = Callable[[int], dict[str, Any]]
"""A slot's number -> the parameters that are fixed before anything is sampled."""


def study_slots(study: Study, wanted: int) -> list[Slot]:
    """The study as it stands."""
    return slots(study.get_trials(deepcopy=False), wanted)


def fill(study: Study, wanted: int, first_params: FirstParams, ahead: int, least: int | None = None) -> bool:
    """Add missing attempts until `ahead` are ready to be claimed; none where `least` are (all of `ahead` by default).

    Returns whether any is ready. Whoever does it at the same time adds nothing that counts twice. Not all at once:
    samplers read them each time.
    """

    def attempt(slot: Slot) -> Attempt:
        return _params_so_far(slot.trial) if slot.trial else first_params(slot.number), attributes(slot)

    def attempt_of(number: int, tried: bool) -> Attempt:
        return attempt(study_slots(study, wanted)[number] if tried else Slot(number, ()))

    storage, least = study._storage, ahead if least is None else least
    if isinstance(storage, Database):
        return storage.add_waiting(study._study_id, wanted, ahead, least, attempt_of)
    with _alone(storage):
        found = study_slots(study, wanted)
        ready = sum(_is_ready(slot) for slot in found)
        lacking = [slot for slot in found if slot.needs_attempt][: ahead - ready if ready < least else 0]
        for slot in lacking:
            params, attrs = attempt(slot)
            study.enqueue_trial(params, user_attrs=attrs)
        return bool(ready or lacking)


def claim(study: Study, wanted: int, first_params: FirstParams) -> Slot | None:
    """Take the first waiting slot; it is running now, and no other process has it. None where there is none.

    Of the slot's attempts a database gives only the one that was claimed.
    """
    while (slot := _take_first(study, wanted)) is None:
        if not fill(study, wanted, first_params, ahead=BATCH, least=1):
            return None
    return slot


@contextmanager
def beating(storage: BaseStorage, trial: Trial) -> Iterator[None]:
    """Within it, others see that the trial's process lives."""
    stop = threading.Event()

    def beat() -> None:
        for count in itertools.count(1):
            if stop.wait(FIRST_BEAT_SECONDS if count == 1 else BEAT_SECONDS):
                return
            with suppress(UpdateFinishedTrialError):
                storage.set_trial_user_attr(trial._trial_id, OWNER, {**_self(), "beat": count})

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def tell(study: Study, trial: Trial, state: TrialState, value: float | None = None, **attrs: Any) -> None:
    """The trial has ended so. Where it was taken for dead meanwhile, it is another's now and nothing is said."""
    with suppress(UpdateFinishedTrialError, ValueError):
        for key, item in attrs.items():
            trial.set_user_attr(f"cnnlab:{key}", item)
        study.tell(trial, value, state)


def infeasible(study: Study, trial: Trial, reason: str) -> None:
    """Told to the sampler as the worst there is, so that it stays away; never counted among the results."""
    tell(study, trial, TrialState.COMPLETE, 0.0, infeasible=reason)


def give_back(study: Study, trial: Trial, slot: Slot, cause: str, retries: int, reason: str = "") -> None:
    """The trial is to be tried again, from where it was, by whoever claims it; a crash only `retries` times."""
    again = cause != "crashed" or crashes(study_slots(study, slot.number + 1)[slot.number]) < retries
    tell(study, trial, TrialState.FAIL, None, cause=cause, retry=again, reason=reason)


class Watch:
    """Notices running trials whose process is gone.

    On this machine by the process itself; on others by a beat that has not changed for SILENCE_SECONDS on this
    machine's own clock, so that clocks need not agree.
    """

    def __init__(self) -> None:
        self._beats: dict[int, tuple[Any, float]] = {}

    def reap(self, study: Study, found: list[Slot]) -> int:
        """Fail the trials of dead processes, to be tried again; how many there were."""
        dead = [
            slot.trial
            for slot in found
            if slot.trial and slot.trial.state == TrialState.RUNNING and self._is_dead(slot.trial)
        ]
        for trial in dead:
            with suppress(UpdateFinishedTrialError):
                for key, value in ((CAUSE, "lost"), (RETRY, True)):
                    study._storage.set_trial_user_attr(trial._trial_id, key, value)
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        return len(dead)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get(OWNER)
        if owner and owner["host"] == socket.gethostname():
            return bool(_started(owner["pid"]) != owner["started"])
        beat, since = self._beats.setdefault(trial.number, (owner, time.monotonic()))
        if beat != owner:
            self._beats[trial.number] = (owner, time.monotonic())
            return False
        return time.monotonic() - since > SILENCE_SECONDS


def _is_ready(slot: Slot) -> bool:
    return slot.trial is not None and slot.trial.state == TrialState.WAITING


def _take_first(study: Study, wanted: int) -> Slot | None:
    storage = study._storage
    if isinstance(storage, Database):
        trial = storage.claim(study._study_id, wanted, _self())
        return Slot(trial.user_attrs[SLOT], (trial,)) if trial else None
    with _alone(storage):  # else many would try for the same one
        return next((slot for slot in study_slots(study, wanted) if _is_ready(slot) and _take(study, slot)), None)


def _alone(storage: BaseStorage) -> AbstractContextManager[None]:
    return storage.alone() if isinstance(storage, JournalFile) else nullcontext()


def _take(study: Study, slot: Slot) -> bool:
    """Waiting to running, which only one process can bring about."""
    assert slot.trial is not None
    try:
        # first whose it is: a process that dies in between leaves it waiting, not running without an owner
        study._storage.set_trial_user_attr(slot.trial._trial_id, OWNER, _self())
        return study._storage.set_trial_state_values(slot.trial._trial_id, TrialState.RUNNING)
    except UpdateFinishedTrialError:
        return False


def _params_so_far(trial: FrozenTrial) -> dict[str, Any]:
    return dict(trial.params) or dict(trial.system_attrs.get("fixed_params", {}))


def _self() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid())}


def _started(pid: int) -> str | None:
    """When a process of this machine began, as the system counts it, so that a pid used again is told apart."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        pass
    try:  # not Linux
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "alive"
    return "alive"


def open_study(name: str, storage: BaseStorage, sampler: optuna.samplers.BaseSampler | None = None) -> Study:
    """Fresh eyes on a study that exists: what others have told since is seen."""
    return optuna.load_study(study_name=name, storage=storage, sampler=sampler)
