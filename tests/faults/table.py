"""What was tried and what held, over all tests of faults, for the table that `python -m tests.faults` prints."""

import json
import os

FILE = "CNNLAB_FAULTS_TABLE"
"""The environment variable that names the file to which each test appends."""
COUNT = "CNNLAB_FAULTS"
"""The environment variable with the number of repeats of the tests marked `slow`."""


def tally(fault: str, *, tried: int, held: int, note: str = "") -> None:
    """Count faults of one kind; to be called before the test asserts.

    Args:
        fault: what was done, in a few words; equal words are added up.
        tried: how often.
        held: how often nothing was lost, or the fault was noticed and named.
        note: what else was counted.
    """
    if path := os.environ.get(FILE):
        with open(path, "a") as table:
            table.write(json.dumps({"fault": fault, "tried": tried, "held": held, "note": note}) + "\n")


def repeats(number: int) -> int:
    """How often a slow test stages its fault: $CNNLAB_FAULTS, or `number`."""
    return int(os.environ.get(COUNT) or number)
