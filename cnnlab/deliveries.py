"""What is delivered to MLflow while training goes on: the courier's process, and the runs that it was told of."""

import time
from pathlib import Path

from cnnlab.process import command_of
from cnnlab.tracking import Courier, RunDir

COMMAND = command_of("cnnlab.courier")
"""The courier, which tracking starts without knowing what it is."""
WAIT_SECONDS = 60.0
"""How long a command that is done waits until MLflow has everything."""


class Deliveries:
    """Started before PyTorch is imported, so that the courier's own imports take no time of the training.

    A context manager: on leaving it, a courier that was told of no run is ended, any other goes on by itself.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._courier = Courier(tracking_uri, COMMAND)
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

    def wait(self) -> str | None:
        """Wait until MLflow has all of the runs; returns why it has not, in words, or None if it has.

        After this nothing can be added, and nobody waits a second time.
        """
        if not self._waited:
            self._waited, self._why = True, self._wait()
        return self._why

    def _wait(self) -> str | None:
        deadline = time.monotonic() + WAIT_SECONDS
        for run in self._runs.values():
            if why := self._courier.wait(run, max(0.1, deadline - time.monotonic())):
                return why
        return None

    def __enter__(self) -> "Deliveries":
        self._courier.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._courier.__exit__(None, None, None)
