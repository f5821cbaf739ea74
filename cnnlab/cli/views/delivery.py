"""The wait for MLflow at a command's end, below its result."""

import sys
import time

from cnnlab.cli.streams import complain
from cnnlab.cli.views.run import open_status
from cnnlab.work import Work


def deliver(work: Work[object], later: str, *, quiet: bool) -> None:
    """Wait until MLflow has everything; one line on stderr says so on a terminal, and anywhere if it has not.

    Args:
        work: what is delivered.
        later: the command that does it later.
        quiet: whether success is passed over in silence.
    """
    start = time.monotonic()
    with open_status(quiet, "handing over to MLflow"):
        undelivered = work.deliver()
    if undelivered:
        complain(f"MLflow has not got all of it yet ({undelivered}); later: {later}")
    elif not quiet and sys.stderr.isatty() and work.tracking_uri != "none":
        complain(f"MLflow has all of it, {time.monotonic() - start:.1f} s later")
