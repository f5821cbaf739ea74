"""The courier: tails one run's journal and delivers it, until the run has ended and all of it is there."""

import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from cnnlab.errors import InUse
from cnnlab.records import Epoch, RunEnded, RunStarted, Steps
from cnnlab.tracking.delivery import Delivery, Draw, LoadModel
from cnnlab.tracking.journal import Journal, last, read
from cnnlab.tracking.progress import load_progress, save_progress
from cnnlab.tracking.run_dir import RunDir

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""How long an ended run is tried again while the store does not answer."""
LONGEST_PAUSE = 30.0


def follow(run: RunDir, uri: str, load_model: LoadModel, draw: Draw, patience: float = PATIENCE_SECONDS) -> bool:
    """Deliver a run while it goes. True when all of it is there, False when the store did not answer for too long.

    While the run lives, an unreachable store is tried again for ever, at growing intervals.
    """
    delivery = Delivery(run, uri, load_model, draw)
    pause, ended_at = POLL_SECONDS, None
    while True:
        alive = run.is_held()  # before the journal is read, so that nothing said before the end is missed
        if not alive:
            mark_dead(run)
            ended_at = ended_at or time.monotonic()
        try:
            if delivery.advance():
                return True
            pause = POLL_SECONDS
        except Exception as error:  # whatever MLflow, its database or the network come up with
            note_error(run, uri, error)
            pause = min(max(1.0, 2 * pause), LONGEST_PAUSE)
            if ended_at and time.monotonic() - ended_at > patience:
                return False
        time.sleep(pause)


def note_error(run: RunDir, uri: str, error: Exception) -> None:
    """Keep one line of it beside the journal, for whoever waits for the delivery."""
    line = f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
    save_progress(run, uri, replace(load_progress(run, uri), error=line))


def mark_dead(run: RunDir) -> bool:
    """Write the last word of a run whose process died without one; whether that was so.

    Only while holding the run's lock, so that a run that lives or is being resumed is left alone.
    """
    try:
        with run.hold():
            records, _ = read(run.journal_file)
            if not records or isinstance(records[-1], RunEnded):
                return False
            steps, epoch = last(records, Steps), last(records, Epoch)
            started = last(records, RunStarted)
            of = f" of {started.epochs}" if started else ""
            with Journal(run.journal_file) as journal:
                journal.write(
                    RunEnded(
                        time=os.stat(run.journal_file).st_mtime,
                        status="died",
                        reason=f"its process died after epoch {epoch.epoch if epoch else 0}{of}; "
                        f"cnnlab train --resume {run.word} goes on",
                        step=steps.last if steps else 0,
                        epoch=epoch.epoch if epoch else 0,
                    )
                )
            return True
    except InUse:
        return False


def lower_priority() -> None:
    """Take the processor only when training leaves it idle."""
    os.nice(19)
    with suppress(OSError):
        # a session of its own is a scheduling group of its own on Linux, whose share has to be lowered as a whole
        Path("/proc/self/autogroup").write_text("19")
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
