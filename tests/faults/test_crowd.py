"""Many processes deliver long runs into one SQLite store, which none of them finds there: each metric is there once."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cnnlab.records import RunEnded
from cnnlab.tracking import RunDir
from tests.faults.table import repeats, tally
from tests.test_tracking import START, created, make_run, started, steps

CROWD = Path(__file__).parents[1] / "crowd.py"
EACH = 100
"""Losses per record."""


def long_run(number: int, count: int, uri: str) -> RunDir:
    """A run whose losses are no other run's."""
    firsts = range(1, count + 1, EACH)
    lines = [steps(at, *(number + n / 10_000 for n in range(at, min(at + EACH, count + 1)))) for at in firsts]
    failed = RunEnded(START + count, "failed", "without a model", count, 1)
    name = f"run-{number:02}"
    return make_run([created(name, uri), started(), *lines, failed], name)


def deliver_at_once(processes: int, count: int) -> None:
    uri = f"sqlite:///{Path.cwd()}/mlflow.db"
    runs = [long_run(number, count, uri) for number in range(processes)]
    command = [sys.executable, CROWD, "deliver", uri, *(str(run.path) for run in runs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    with closing(sqlite3.connect("mlflow.db")) as database:
        rows = database.execute(
            "SELECT t.value, step, m.value FROM metrics m JOIN tags t USING (run_uuid) "
            "WHERE m.key = 'train/loss' AND t.key = 'cnnlab.run_id' ORDER BY 1, 2"
        ).fetchall()
        statuses = database.execute(
            "SELECT value, status FROM runs JOIN tags USING (run_uuid) WHERE key = 'cnnlab.run_id' ORDER BY 1"
        ).fetchall()
    wanted = [
        (f"run-{number:02}", step, number + step / 10_000)
        for number in range(processes)
        for step in range(1, count + 1)
    ]
    whole = rows == wanted and statuses == [(f"run-{number:02}", "FAILED") for number in range(processes)]
    once = len({row[:2] for row in rows} & {row[:2] for row in wanted})
    tally(
        f"{processes} x {count:,} metrics into one SQLite store at once", tried=len(wanted), held=once if whole else 0
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert whole, (len(rows), len(wanted), statuses)


def test_a_few_processes_deliver_at_once() -> None:
    deliver_at_once(4, 200)


@pytest.mark.slow
def test_sixteen_processes_deliver_a_thousand_metrics_each_at_once() -> None:
    deliver_at_once(16, repeats(1000))
