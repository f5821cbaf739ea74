"""The courier from both its ends: the process that delivers, and the command that tells it what.

Tracking knows neither networks nor figures; here it is handed both.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from cnnlab.process import command_of, ignore_signals
from cnnlab.reading import draw
from cnnlab.tracking import Courier, Delivery, Order, RunDir, follow_all, import_mlflow

WAIT_SECONDS = 10.0
"""How long a command that is done waits until MLflow has everything."""


class Deliveries:
    """What a command has delivered while it works: the courier's process, and the runs that it was told of.

    Started before PyTorch is imported, so that the courier's own imports take no time of the training.

    A context manager: on leaving it, a courier that was told of no run is ended, any other goes on by itself.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._courier = Courier(tracking_uri, command_of(__name__))
        self._runs: dict[tuple[Path, int], RunDir] = {}
        self._waited = False
        self._why: str | None = None

    def has(self, run: RunDir, attempt: int = 0) -> bool:
        """Whether the courier was told of this attempt at a run."""
        return (run.path, attempt) in self._runs

    def add(self, run: RunDir, attempt: int = 0) -> None:
        """Tell the courier of a run, once per attempt at it; its process has to hold the run's lock already."""
        if not self.has(run, attempt):
            self._runs[run.path, attempt] = run
            self._courier.follow(run)

    def wait(self, stopped: Callable[[], bool] = lambda: False) -> str | None:
        """Wait until MLflow has all of the runs; returns why it has not, in words, or None if it has.

        After this nothing can be added, and nobody waits a second time.

        Args:
            stopped: whether to wait no longer.
        """
        if not self._waited:
            self._waited, self._why = True, self._courier.wait(list(self._runs.values()), WAIT_SECONDS, stopped)
        return self._why

    def __enter__(self) -> "Deliveries":
        self._courier.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._courier.__exit__(None, None, None)


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
