"""The courier from both its ends: the process that delivers, and the command that tells it what.

Tracking knows neither networks nor figures; here it is handed both.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from cnnlab.process import command_of, ignore_signals, signals_held_back
from cnnlab.reading import draw
from cnnlab.tracking import Delivery, Order, RunDir, follow_all, import_mlflow, load_progress

WAIT_SECONDS = 10.0
"""How long a command that is done waits until MLflow has everything."""
LEAST_ROOM = 2**16
"""Bytes on the disk of a run."""


class Deliveries:
    """The runs that a command works on, delivered by a process of its own, the courier; by none if the store is "none".

    The courier is started before PyTorch is imported, so that the seconds of its own imports pass meanwhile, and in a
    session of its own, so that Ctrl-C ends the training and not the delivery.

    A context manager: on leaving it, a courier that was told of no run is ended, any other goes on by itself.
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
        """Tell the courier of a run, once per attempt at it; its process has to hold the run's lock already."""
        if self.has(run, attempt):
            return
        self._runs[run.path, attempt] = run
        if self._process and self._process.stdin:
            order = json.dumps({"run_dir": str(run.path), "uri": self._uri})
            with suppress(BrokenPipeError):  # it died; `cnnlab sync` delivers
                self._process.stdin.write(order.encode() + b"\n")
                self._process.stdin.flush()

    def wait(self, stopped: Callable[[], bool] = lambda: False) -> str | None:
        """Wait until MLflow has all of the runs, which have ended; nothing can be added then.

        Args:
            stopped: whether to wait no longer.

        Returns:
            Why something is missing, and what, in words; None if MLflow has everything. A second call returns the same.
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


def main() -> None:
    """Import MLflow, read from stdin which runs to follow, a line each, and follow them; end when there are no more."""
    ignore_signals()  # Slurm sends them to all processes of a job, and what was sealed last is still to be delivered
    orders: SimpleQueue[Order | None] = SimpleQueue()
    threading.Thread(target=_read_orders, args=(orders,), daemon=True).start()
    import_mlflow()
    follow_all(orders, load_model, draw)


def _read_orders(orders: "SimpleQueue[Order | None]") -> None:
    """stdin -> orders; the first run's folder takes whatever is printed."""
    told = 0
    for told, line in enumerate(sys.stdin, start=1):
        values = json.loads(line)
        run = RunDir(Path(values["run_dir"]))
        if told == 1:
            _write_to(run.courier_log)
        orders.put((run, values["uri"]))
    if told == 0:  # the command ended before its run began: nobody needs MLflow any more
        os._exit(0)
    orders.put(None)


def delivery_of(run: RunDir, uri: str) -> Delivery:
    """The delivery of one run to one store."""
    return Delivery(run, uri, load_model, draw)


def load_model(path: Path) -> Any:
    """A finished run's network."""
    from cnnlab.run import load_trained

    return load_trained(path)


def _write_to(log: Path) -> None:
    """Whatever is printed from now on goes to this file."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
