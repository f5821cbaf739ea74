"""A study from its first trial to its last: `for state in run_trials(plan, ...)`; it can be stopped at any point."""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from optuna.exceptions import StorageInternalError
from optuna.study import Study

from cnnlab.errors import RunFailed
from cnnlab.search.plan import Plan
from cnnlab.search.studies.claims import fill, study_slots
from cnnlab.search.studies.owners import Watch
from cnnlab.search.studies.slots import Slot, best_first
from cnnlab.search.studies.study import open_or_make
from cnnlab.search.trials.stages import Search, Stage, confirmation_of
from cnnlab.search.trials.trial import Interrupted
from cnnlab.search.trials.workers import Layout, Pool, with_threads, work

POLL_SECONDS = 0.25


@dataclass(frozen=True)
class SweepState:
    """A sweep as it stands."""

    stage: Stage
    slots: list[Slot]
    seconds: float
    """Since the stage began here."""

    @property
    def waiting(self) -> int:
        """The number of trials that nobody works on yet."""
        return self._count("waiting")

    @property
    def running(self) -> int:
        return self._count("running")

    @property
    def finished(self) -> int:
        """The number of trials that have ended, in whatever way."""
        return len(self.slots) - self.waiting - self.running

    @property
    def progress(self) -> int:
        """The number of trials that have ended, and of all epochs that any attempt has reached."""
        epochs = (max((len(t.intermediate_values) for t in slot.attempts), default=0) for slot in self.slots)
        return self.finished + sum(epochs)

    @property
    def done(self) -> bool:
        """Whether all trials of the stage have ended."""
        return self.finished == len(self.slots)

    @property
    def best(self) -> Slot | None:
        """The best complete trial so far."""
        return next(iter(best_first(self.slots, self.stage.plan.score)), None)

    def _count(self, state: str) -> int:
        return sum(slot.state == state for slot in self.slots)


def run_trials(
    plan: Plan, layout: Layout, timeout: float | None, interrupted: Interrupted
) -> Generator[SweepState, None, None]:
    """Work on a plan's study until all its trials have ended, whichever process works on them; then confirm the best.

    Args:
        plan: of a study that exists.
        layout: where trials run.
        timeout: seconds after which trials are interrupted; what they have reached is kept for the next time.
        interrupted: whether to do the same at once.

    Raises:
        BadInput: the study was made for something else.
        RunFailed: worker processes cannot live here, or the storage is gone.
    """
    deadline = time.monotonic() + timeout if timeout else None

    def stop() -> bool:
        return interrupted() or (deadline is not None and time.monotonic() > deadline)

    try:
        yield from _run(Search(plan), layout, stop)
        if not stop() and (confirmation := confirmation_of(plan)):
            yield from _run(confirmation, layout, stop)
    except StorageInternalError as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise RunFailed(f"the study's storage does not answer: {reason}; the same command goes on") from None


def _run(stage: Stage, layout: Layout, stop: Interrupted) -> Iterator[SweepState]:
    stage = with_threads(stage, layout.threads)
    base = open_or_make(stage.study, stage.plan.storage, stage.plan.score)
    watch, began = Watch(), time.monotonic()

    def look() -> SweepState:
        fill(base, stage.wanted, stage.first_params, ahead=2 * layout.workers, least=layout.workers)
        found = study_slots(base, stage.wanted)
        if watch.reap(base, found):
            found = study_slots(base, stage.wanted)
        return SweepState(stage, found, time.monotonic() - began)

    run = _here if layout.workers == 1 else _in_workers
    yield from run(stage, base, layout, stop, look)


def _here(
    stage: Stage, base: Study, layout: Layout, stop: Interrupted, look: Callable[[], SweepState]
) -> Iterator[SweepState]:
    state = look()
    yield state
    while not state.done and not stop():
        looked = time.monotonic()
        for _ in work(stage, base, stop):
            if time.monotonic() - looked > POLL_SECONDS:
                yield look()
                looked = time.monotonic()
        state = look()
        yield state
        if state.running:  # in other processes
            time.sleep(POLL_SECONDS)


def _in_workers(
    stage: Stage, base: Study, layout: Layout, stop: Interrupted, look: Callable[[], SweepState]
) -> Iterator[SweepState]:
    with Pool(stage, layout) as pool:
        state = look()
        while not state.done and not stop():
            pool.staff(waiting=state.waiting, progress=state.progress)
            yield state
            time.sleep(POLL_SECONDS)
            state = look()
    yield look()
