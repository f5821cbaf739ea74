"""The courier, a process that delivers runs to MLflow while they go; and the command's handle of it, `Deliveries`."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from cnnlab.process import command_of, ignore_signals, signals_held_back
from cnnlab.reading import draw, finding_tags
from cnnlab.tracking import (
    Deliverer,
    RunDir,
    import_mlflow,
    load_progress,
    mark_dead,
    note_error,
    present_store,
    reason,
    reopen,
)

T = TypeVar("T")

WAIT_SECONDS = 10.0
"""How long a command waits at its end for MLflow to have everything."""
LEAST_ROOM = 2**16
"""Bytes that must be free on the disk of a run, for `delivery.json`."""
POLL_SECONDS = 0.5
DELIVERY_SECONDS = 3.0
"""The pause between two deliveries of a live run: each costs MLflow some time, even with few values."""
PATIENCE_SECONDS = 60.0
"""How long the courier tries to deliver an ended run to a store that does not answer."""
LONGEST_PAUSE = 30.0
FIRST_SECONDS = 5.0
"""The wait before the first delivery, which may create the store. A training of one second ends before it."""
SHARE = 0.03
"""The share of one core that delivery may take while a training goes on."""


class Deliveries:
    """The runs that a command works on. Another process, the courier, delivers them, unless the store is "none".

    The courier imports MLflow while the command imports PyTorch. It has its own session, so that Ctrl-C ends the
    training and not the delivery. When the context ends, a courier without runs is killed; any other goes on by itself.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._runs: dict[tuple[Path, int], RunDir] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._undelivered: str | None = None
        self._waited = False

    def has(self, run: RunDir, attempt: int = 0) -> bool:
        """Whether the courier was told of this attempt at a run."""
        return (run.path, attempt) in self._runs

    def add(self, run: RunDir, attempt: int = 0) -> None:
        """Tell the courier of a run, once per attempt at it, after the process that trains it has taken its lock."""
        if self.has(run, attempt):
            return
        self._runs[run.path, attempt] = run
        if self._process and self._process.stdin:
            order = json.dumps({"run_dir": str(run.path), "uri": self._uri})
            with suppress(BrokenPipeError):  # it died; `cnnlab sync` delivers
                self._process.stdin.write(order.encode() + b"\n")
                self._process.stdin.flush()

    def wait(self, stopped: Callable[[], bool] = lambda: False) -> str | None:
        """Wait until MLflow has all of the runs, which have ended. No run can be added after it.

        Args:
            stopped: whether to wait no longer.

        Returns:
            What is missing and why, in words; None if MLflow has everything. A second call returns the same.
        """
        if not self._waited and self._process:
            self._end_orders()
            self._undelivered = self._wait(self._process, list(self._runs.values()), stopped)
        self._waited = True
        return self._undelivered

    def __enter__(self) -> "Deliveries":
        if self._uri != "none":
            with signals_held_back():
                self._process = subprocess.Popen(
                    command_of(__name__),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
        return self

    def __exit__(self, *error: object) -> None:
        self._end_orders()
        if self._process and not self._runs:
            self._process.kill()  # it ignores other signals
            self._process.wait()

    def _wait(self, courier: "subprocess.Popen[bytes]", runs: list[RunDir], stopped: Callable[[], bool]) -> str | None:
        deadline = time.monotonic() + WAIT_SECONDS
        why = f"it takes longer than {WAIT_SECONDS:.0f} s; the courier goes on by itself"
        while lacking := [run for run in runs if not load_progress(run, self._uri).complete]:
            error = load_progress(lacking[0], self._uri).error or _no_room(lacking[0])
            if courier.poll() is not None:
                why = error or f"the courier was ended from outside; the reason may be in {lacking[0].courier_log}"
                break
            if time.monotonic() > deadline or stopped():
                why = error or ("interrupted; the courier goes on by itself" if stopped() else why)
                break
            time.sleep(0.05)
        return f"{why}; missing: {_missing(lacking, self._uri)}" if lacking else None

    def _end_orders(self) -> None:
        if self._process and self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.stdin = None


def _no_room(run: RunDir) -> str | None:
    """The error of a full disk, which the courier cannot write down."""
    with suppress(OSError):
        if shutil.disk_usage(run.path).free < LEAST_ROOM:
            here = Path.cwd()  # a long line loses its middle
            path = run.path.relative_to(here) if run.path.is_relative_to(here) else run.path
            return f"{path}: no space left on its disk; make room there"
    return None


def _missing(runs: Sequence[RunDir], uri: str) -> str:
    if len(runs) > 1:
        return f"{len(runs)} runs, the first of them {runs[0].run_id}"
    if load_progress(runs[0], uri).mlflow_run_id is None:
        return "all of it"
    return "the end of its curves, its artifacts and its status"


# in the courier's process


def main() -> None:
    """Import MLflow, read from stdin which runs to follow, one per line, and follow them until they have ended."""
    ignore_signals()  # Slurm sends them to all processes of a job; the last records are still to be delivered
    runs: SimpleQueue[tuple[RunDir, str] | None] = SimpleQueue()
    threading.Thread(target=_read_runs, args=(runs,), daemon=True).start()
    import_mlflow()
    follow_all(runs)


def _read_runs(runs: "SimpleQueue[tuple[RunDir, str] | None]") -> None:
    """Put the runs that stdin names into the queue. Output goes into the folder of the first one."""
    run = None
    for line in sys.stdin:
        values = json.loads(line)
        first, run = run is None, RunDir(Path(values["run_dir"]))
        if first:
            log = os.open(run.courier_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
        runs.put((run, values["uri"]))
    if run is None:  # the command ended before its run began: MLflow is not needed
        os._exit(0)
    runs.put(None)


def follow_all(runs: "SimpleQueue[tuple[RunDir, str] | None]") -> None:
    """Deliver each run of the queue to its store, until all runs have ended and the queue has given None, its end.

    Until None a training goes on, and the courier rests between deliveries. It does not lower its priority instead: on
    a busy machine it would get no processor time, and it could not raise the priority when a command waits for it.
    """
    following: dict[tuple[RunDir, str], Follower] = {}
    more, rest_ends = True, 0.0
    while more or following:
        rest = max(0.0, rest_ends - time.monotonic())
        for item in _taken(runs, rest if following else None):
            if item is None:
                more, rest_ends = False, 0.0
                continue
            if not rest_ends and more:
                rest_ends = time.monotonic() + FIRST_SECONDS
            following.setdefault(item, Follower(deliverer_of(*item)))
        if time.monotonic() < rest_ends:
            continue
        used = time.process_time()
        following = {item: one for item, one in following.items() if one.poll(PATIENCE_SECONDS) is None}
        used = time.process_time() - used
        # each delivery takes all there is, and no rest is longer than LONGEST_PAUSE: MLflow is never far behind
        rest = min(max(POLL_SECONDS, used / SHARE), LONGEST_PAUSE) if more else POLL_SECONDS
        rest_ends = time.monotonic() + rest


def _taken(queue: "SimpleQueue[T]", seconds: float | None) -> Iterator[T]:
    """The items that are there, or else the first one within so many seconds; None is without a limit."""
    with suppress(Empty):
        yield queue.get(timeout=seconds)
        while True:
            yield queue.get_nowait()


class Follower:
    """Delivers a run while it goes."""

    def __init__(self, deliverer: Deliverer) -> None:
        self._deliverer = deliverer
        self._pause, self._due, self._failed = DELIVERY_SECONDS, 0.0, False
        self._ended_at: float | None = None

    def poll(self, patience: float) -> bool | None:
        """Deliver what is new, unless it is too early to try again.

        Returns:
            True if the store has all of a run that has ended. False if the store did not answer for `patience` seconds
            after the run's end, or the run's folder was removed. Else None: while the run lives, a store that does not
            answer is tried again for ever, with growing pauses.
        """
        run, alive = self._deliverer.run, False
        try:
            alive = run.is_held()  # before the journal is read, so that nothing written before the end is missed
            if time.monotonic() < self._due and (alive or self._failed):
                return None
            if not alive:
                if not run.is_created():  # its folder was removed
                    return False
                mark_dead(run)
            if self._deliverer.deliver():
                return True
            self._failed, self._pause = False, DELIVERY_SECONDS
        except Exception as error:  # whatever MLflow, its database, the network, the disk or the journal raises
            note_error(run, self._deliverer.uri, error)
            self._ended_at = None if alive else self._ended_at or time.monotonic()
            self._pause = min(2 * self._pause, LONGEST_PAUSE) if self._failed else 1.0
            self._failed = True
            if self._ended_at and time.monotonic() - self._ended_at > patience:
                return False
        self._due = time.monotonic() + self._pause
        return None


def deliverer_of(run: RunDir, uri: str) -> Deliverer:
    """The deliverer of a run to a store, with the functions that load networks, draw figures and find faults."""

    def load_model(path: Path) -> Any:
        from cnnlab.reading.trained import load_trained  # which imports PyTorch

        return load_trained(path).model

    return Deliverer(run, uri, load_model, draw, finding_tags)


def deliver_again(run: RunDir) -> str | None:
    """Deliver the end of a run again, to which files were added; returns why it failed, or None."""
    uri = present_store(run)
    if uri == "none":
        return None
    try:
        reopen(run)
        deliverer_of(run, uri).deliver_when_free()
    except Exception as error:  # any error of MLflow, its database or the network
        note_error(run, uri, error)
        return reason(error, uri)
    return None
