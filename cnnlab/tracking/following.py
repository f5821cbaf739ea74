"""The courier: tails the journals of runs and delivers them, until they have ended and all is there."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TypeAlias

from cnnlab.tracking.delivery import Delivery, Draw, LoadModel
from cnnlab.tracking.progress import load_progress, save_progress
from cnnlab.tracking.run_dir import RunDir, mark_dead
from cnnlab.tracking.store import reason

POLL_SECONDS = 0.5
DELIVERY_SECONDS = 3.0
"""How often a run that goes on is delivered; each time costs MLflow something, however little there is to say."""
PATIENCE_SECONDS = 60.0
"""How long an ended run is tried again while the store does not answer."""
LONGEST_PAUSE = 30.0
FIRST_SECONDS = 5.0
"""How long the first delivery waits, which may have to make the store: a training of a second is over by then."""
SHARE = 0.03
"""Of one core: what delivery may take while a training goes on."""

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

        True when all of a run that has ended is there; False when the store did not answer for `patience` seconds
        after the run's end, or its folder is gone; else None. While the run lives, an unreachable store is tried again
        for ever, at growing intervals.
        """
        alive = False
        try:
            alive = self.run.is_held()  # before the journal is read, so that nothing said before the end is missed
            if time.monotonic() < self._due and (alive or self._failed):
                return None
            if not alive:
                if not self.run.is_created():  # its folder was removed
                    return False
                mark_dead(self.run)
            if self._delivery.advance():
                return True
            self._failed, self._pause = False, DELIVERY_SECONDS
        except Exception as error:  # whatever MLflow, its database, the network, the disk or the journal come up with
            note_error(self.run, self.uri, error)
            self._ended_at = None if alive else self._ended_at or time.monotonic()
            self._pause = min(2 * self._pause, LONGEST_PAUSE) if self._failed else 1.0
            self._failed = True
            if self._ended_at and time.monotonic() - self._ended_at > patience:
                return False
        self._due = time.monotonic() + self._pause
        return None


def follow_all(orders: "SimpleQueue[Order | None]", load_model: LoadModel, draw: Draw) -> None:
    """Deliver each run that is ordered, all at once, until None says that no more will be and the last one is done.

    Until None comes a training goes on, and delivery keeps out of its way by resting: a process of low priority would
    get no turn on a busy machine, and could not raise its priority again when somebody waits for it.
    """
    following: list[Followed] = []
    more, rest_ends = True, 0.0
    while more or following:
        rest = max(0.0, rest_ends - time.monotonic())
        for order in _taken(orders, rest if following else None):
            if order is None:
                more, rest_ends = False, 0.0
                continue
            if not rest_ends and more:
                rest_ends = time.monotonic() + FIRST_SECONDS
            if order not in [(followed.run, followed.uri) for followed in following]:
                following.append(Followed(*order, load_model, draw))
        if time.monotonic() < rest_ends:
            continue
        used = time.process_time()
        following = [followed for followed in following if followed.look(PATIENCE_SECONDS) is None]
        used = time.process_time() - used
        rest_ends = time.monotonic() + (_rest(used) if more else POLL_SECONDS)


def _rest(used: float) -> float:
    """Seconds without work after so many seconds of work, while a training goes on.

    Each delivery takes all there is, and no rest is longer than LONGEST_PAUSE: MLflow is never far behind.
    """
    return min(max(POLL_SECONDS, used / SHARE), LONGEST_PAUSE)


def _taken(orders: "SimpleQueue[Order | None]", seconds: float | None) -> Iterator[Order | None]:
    """The orders that are there, or the first that comes within so many seconds; None waits as long as it takes."""
    with suppress(Empty):
        yield orders.get(timeout=seconds)
        while True:
            yield orders.get_nowait()


def note_error(run: RunDir, uri: str, error: Exception) -> None:
    """Keep one line of it beside the journal, for whoever waits for the delivery; if the disk takes it."""
    with suppress(OSError):
        save_progress(run, uri, replace(load_progress(run, uri), error=reason(error, uri)))
