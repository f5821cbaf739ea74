"""A sweep from its first trial to its end: `for view in sweep(plan, ...): ...`; it can be stopped at any point."""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from optuna.exceptions import StorageInternalError
from optuna.study import Study

from cnnlab.errors import RunFailed
from cnnlab.search.studies.claims import Watch, fill, study_slots
from cnnlab.search.studies.plan import Plan
from cnnlab.search.studies.slots import Slot
from cnnlab.search.studies.study import open_or_make
from cnnlab.search.trials.stages import Confirmation, Search, Stage
from cnnlab.search.trials.trial import Interrupted
from cnnlab.search.trials.workers import Layout, Pool, with_threads, work

POLL_SECONDS = 0.25


@dataclass(frozen=True)
class View:
    """A sweep as it stands."""

    stage: Stage
    slots: list[Slot]
    seconds: float
    """Since the stage began here."""


def sweep(plan: Plan, layout: Layout, timeout: float | None, interrupted: Interrupted) -> Generator[View, None, None]:
    """Work on a plan's study until all its trials have ended, whoever works on them; then confirm the best.

    Args:
        plan: made here or found.
        layout: where trials run.
        timeout: seconds after which trials are interrupted; what they reached is kept for the next time.
        interrupted: the same, at once.

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


def confirmation_of(plan: Plan) -> Confirmation | None:
    """Of the best trials so far and the experiment as written; None where nothing is to be confirmed."""
    found = study_slots(open_or_make(plan.study, plan.storage), Search(plan).wanted)
    ranked = best_first(found)[: plan.confirm]
    if not ranked or not plan.confirm:
        return None
    if found[0].state == "complete" and found[0] not in ranked:
        ranked.append(found[0])
    return Confirmation.of(plan, [(slot.number, slot.trial) for slot in ranked if slot.trial])


def best_first(found: list[Slot]) -> list[Slot]:
    """The complete trials, best value first; of equals the earlier one."""
    complete = [slot for slot in found if slot.value is not None]
    return sorted(complete, key=lambda slot: (-(slot.value or 0.0), slot.number))


def _run(stage: Stage, layout: Layout, stop: Interrupted) -> Iterator[View]:
    stage = with_threads(stage, layout.threads)
    base = open_or_make(stage.study, stage.plan.storage)
    watch, began = Watch(), time.monotonic()

    def look() -> View:
        fill(base, stage.wanted, stage.first_params, ahead=2 * layout.workers, least=layout.workers)
        found = study_slots(base, stage.wanted)
        if watch.reap(base, found):
            found = study_slots(base, stage.wanted)
        return View(stage, found, time.monotonic() - began)

    run = _here if layout.workers == 1 else _in_workers
    yield from run(stage, base, layout, stop, look)


def _here(stage: Stage, base: Study, layout: Layout, stop: Interrupted, look: Callable[[], View]) -> Iterator[View]:
    view = look()
    yield view
    while not all(slot.finished for slot in view.slots) and not stop():
        looked = time.monotonic()
        for _ in work(stage, base, stop):
            if time.monotonic() - looked > POLL_SECONDS:
                yield look()
                looked = time.monotonic()
        view = look()
        yield view
        if any(slot.state == "running" for slot in view.slots):  # elsewhere
            time.sleep(POLL_SECONDS)


def _in_workers(
    stage: Stage, base: Study, layout: Layout, stop: Interrupted, look: Callable[[], View]
) -> Iterator[View]:
    with Pool(stage, layout) as pool:
        view = look()
        while not all(slot.finished for slot in view.slots) and not stop():
            states = [slot.state for slot in view.slots]
            pool.staff(states.count("waiting"), sum(slot.finished for slot in view.slots))
            yield view
            time.sleep(POLL_SECONDS)
            view = look()
    yield look()
