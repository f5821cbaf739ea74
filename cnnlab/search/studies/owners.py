"""Which process has a trial, and whether it still lives."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from cnnlab.process import lives, this_process
from cnnlab.search.studies.database import StorageGone
from cnnlab.search.studies.optuna_internals import id_of, storage_of
from cnnlab.search.studies.slots import CAUSE, OWNER, RETRY, RUN_DIR, Slot
from cnnlab.tracking import RunDir

FIRST_BEAT_SECONDS = 1.5
"""Soon, so that a database gets what has been noted of a trial before its first report."""
BEAT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""If the beat of a process on another machine has not changed for so long, the process is declared dead."""


@contextmanager
def beating(storage: BaseStorage, trial: Trial) -> Iterator[None]:
    """Within it, others see that the trial's process lives."""
    stop = threading.Event()

    def beat() -> None:
        for count in itertools.count(1):
            if stop.wait(FIRST_BEAT_SECONDS if count == 1 else BEAT_SECONDS):
                return
            with suppress(UpdateFinishedTrialError, StorageInternalError, StorageGone):  # the next beat may get there
                storage.set_trial_user_attr(id_of(trial), OWNER, {**this_process(), "beat": count})

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Watch:
    """Notices running trials whose process is gone.

    A process of this machine is looked up by its number. Of one on another machine, the beat has to change within
    SILENCE_SECONDS by this machine's own clock, so that clocks need not agree, unless its lock on the trial's run is
    seen from here: it is paused. If this process did not look for a while (it was paused, or the storage was gone for
    both), it begins to wait anew.
    """

    def __init__(self) -> None:
        self._beats: dict[int, tuple[Any, float]] = {}
        self._looked = time.monotonic()

    def reap(self, study: Study, found: list[Slot]) -> int:
        """Fail the trials of dead processes so that they are tried again; returns the number of them."""
        if time.monotonic() - self._looked > SILENCE_SECONDS / 2:
            self._beats.clear()
        self._looked = time.monotonic()
        running = [slot.trial for slot in found if slot.trial and slot.trial.state == TrialState.RUNNING]
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
