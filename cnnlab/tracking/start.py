"""The courier seen from the training process: started early, told which runs to follow, waited for at the end."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType

from cnnlab.process import signals_held_back
from cnnlab.tracking.progress import load_progress
from cnnlab.tracking.run_dir import RunDir

LEAST_ROOM = 2**16
"""Bytes on the disk of a run."""


class Courier:
    """A courier's process, or none where the store is "none". A context manager: one that follows nothing is dismissed.

    Whoever starts it gives its command. It is started before torch is imported, so that the seconds its own imports
    take pass meanwhile, and in a session of its own, so that Ctrl-C ends the training and not the delivery.
    """

    def __init__(self, uri: str, command: Sequence[str]) -> None:
        self.uri = uri
        self._process = None
        self._follows = False
        if uri != "none":
            with signals_held_back():
                self._process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )

    def follow(self, run: RunDir) -> None:
        """Deliver this run too from now on; its lock has to be held already."""
        self._follows = True
        if self._process and self._process.stdin:
            order = json.dumps({"run_dir": str(run.path), "uri": self.uri})
            with suppress(BrokenPipeError):  # it died; `cnnlab sync` delivers
                self._process.stdin.write(order.encode() + b"\n")
                self._process.stdin.flush()

    def wait(self, runs: Sequence[RunDir], seconds: float, stopped: Callable[[], bool] = lambda: False) -> str | None:
        """Wait until the store has all of these runs, which have ended.

        After this nothing more can be followed.

        Returns:
            Why it has not and what is missing, in words; None when all is well.
        """
        if self._process is None:
            return None
        self._end_orders()
        deadline = time.monotonic() + seconds
        why = f"it takes longer than {seconds:.0f} s; the courier goes on by itself"
        while lacking := [run for run in runs if not load_progress(run, self.uri).complete]:
            error = load_progress(lacking[0], self.uri).error or _no_room(lacking[0])
            if self._process.poll() is not None:
                why = error or f"the courier was ended from outside; the reason may be in {lacking[0].courier_log}"
                break
            if time.monotonic() > deadline or stopped():
                why = error or ("interrupted; the courier goes on by itself" if stopped() else why)
                break
            time.sleep(0.05)
        return f"{why}; missing: {_missing(lacking, self.uri)}" if lacking else None

    def __enter__(self) -> "Courier":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_orders()
        if self._process and not self._follows:
            self._process.kill()  # it ignores other signals
            self._process.wait()

    def _end_orders(self) -> None:
        if self._process and self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.stdin = None


def _no_room(run: RunDir) -> str | None:
    """What the courier cannot write down if there is no room for it."""
    with suppress(OSError):
        if shutil.disk_usage(run.path).free < LEAST_ROOM:
            return f"{run.path}: no space left on its disk; make room there"
    return None


def _missing(runs: Sequence[RunDir], uri: str) -> str:
    if len(runs) > 1:
        return f"{len(runs)} runs, the first of them {runs[0].run_id}"
    if load_progress(runs[0], uri).mlflow_run_id is None:
        return "all of it"
    return "the end of its curves, its artifacts and its status"
