"""The courier seen from the training process: started early, told which runs to follow, waited for at the end."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from cnnlab.tracking.progress import load_progress
from cnnlab.tracking.run_dir import RunDir

ERROR_SECONDS = 5.0
"""How long an ended run's delivery may keep failing before nobody waits for it."""


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

    def wait(self, run: RunDir, seconds: float) -> str | None:
        """Wait until the store has all of an ended run; why it has not, in words, or None when all is well.

        After this nothing more can be followed.
        """
        if self._process is None:
            return None
        self._end_orders()
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            progress = load_progress(run, self.uri)
            if progress.complete:
                return None
            if self._process.poll() is not None:
                return progress.error or f"the courier stopped; see {run.courier_log}"
            if progress.error and time.monotonic() - start > ERROR_SECONDS:
                return progress.error
            time.sleep(0.05)
        return f"it takes longer than {seconds:.0f} s; the courier goes on by itself"

    def __enter__(self) -> "Courier":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_orders()
        if self._process and not self._follows:
            self._process.terminate()
            self._process.wait()

    def _end_orders(self) -> None:
        if self._process and self._process.stdin:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.stdin = None
