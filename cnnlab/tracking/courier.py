"""The courier: tails the journals of runs and delivers them, until they have ended and all is there."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TypeAlias

from cnnlab.errors import InUse
from cnnlab.records import Ended, Record
from cnnlab.tracking.delivery import Delivery, Draw, LoadModel
from cnnlab.tracking.journal import Journal, read
from cnnlab.tracking.progress import load_progress, save_progress
from cnnlab.tracking.run_dir import RunDir
from cnnlab.tracking.store import one_line

POLL_SECONDS = 0.5
DELIVERY_SECONDS = 3.0
"""How often a run that goes on is delivered; each time costs MLflow something, however little there is to say."""
PATIENCE_SECONDS = 60.0
"""How long an ended run is tried again while the store does not answer."""
LONGEST_PAUSE = 30.0

Order: TypeAlias = tuple[RunDir, str]
"""A run and the store that it is to be delivered to."""


class Followed:
    """A run that is delivered while it goes."""

    def __init__(self, run: RunDir, uri: str, load_model: LoadModel, draw: Draw) -> None:
        self.run = run
        self.uri = uri
        self._delivery = Delivery(run, uri, load_model, draw)
        self._pause, self._due, self._failed = DELIVERY_SECONDS, 0.0, False
        self._ended_at: float | None = None

    def look(self, patience: float) -> bool | None:
        """Deliver what is new, unless it is too early to try again.

        True when all of a run that has ended is there, False when the store did not answer for `patience` seconds
        after its end, else None. While the run lives, an unreachable store is tried again for ever, at growing
        intervals.
        """
        alive = self.run.is_held()  # before the journal is read, so that nothing said before the end is missed
        if time.monotonic() < self._due and (alive or self._failed):
            return None
        if not alive:
            mark_dead(self.run)
            self._ended_at = self._ended_at or time.monotonic()
        try:
            if self._delivery.advance():
                return True
            self._failed, self._pause = False, DELIVERY_SECONDS
        except Exception as error:  # whatever MLflow, its database or the network come up with
            note_error(self.run, self.uri, error)
            self._pause = min(2 * self._pause, LONGEST_PAUSE) if self._failed else 1.0
            self._failed = True
            if self._ended_at and time.monotonic() - self._ended_at > patience:
                return False
        self._due = time.monotonic() + self._pause
        return None


def follow_all(orders: "SimpleQueue[Order | None]", load_model: LoadModel, draw: Draw) -> None:
    """Deliver each run that is ordered, all at once, until None says that no more will be and the last one is done."""
    following: list[Followed] = []
    more = True
    while more or following:
        for order in _taken(orders, wait=not following):
            if order is None:
                more = False
            elif order not in [(followed.run, followed.uri) for followed in following]:
                following.append(Followed(*order, load_model, draw))
        following = [followed for followed in following if followed.look(PATIENCE_SECONDS) is None]
        if following:
            time.sleep(POLL_SECONDS)


def _taken(orders: "SimpleQueue[Order | None]", wait: bool) -> Iterator[Order | None]:
    if wait:
        yield orders.get()
    while not orders.empty():
        yield orders.get()


def note_error(run: RunDir, uri: str, error: Exception) -> None:
    """Keep one line of it beside the journal, for whoever waits for the delivery."""
    save_progress(run, uri, replace(load_progress(run, uri), error=one_line(error)))


def mark_dead(run: RunDir) -> bool:
    """Write the last word of a run whose process died without one; whether that was so.

    Only while holding the run's lock, so that a run that lives or is being resumed is left alone.
    """
    try:
        with run.hold():
            records, _ = read(run.journal_file)
            if not records or isinstance(records[-1], Ended):
                return False
            with Journal(run.journal_file) as journal:
                journal.write(_death_of(run, records, os.stat(run.journal_file).st_mtime))
            return True
    except InUse:
        return False


def _death_of(run: RunDir, records: list[Record], at: float) -> Ended:
    """What the last record that knows says of it; the first line of every journal does."""
    deaths = (record.death(records, at, run.word) for record in reversed(records))
    return next(death for death in deaths if death)


def lower_priority() -> None:
    """Take the processor only when training leaves it idle."""
    os.nice(19)
    with suppress(OSError):
        # a session of its own is a scheduling group of its own on Linux, whose share has to be lowered as a whole
        Path("/proc/self/autogroup").write_text("19")
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
