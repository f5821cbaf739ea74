"""Processes that want one store at the same moment, or are killed while they make it.

A program of its own, which imports MLflow once (it takes seconds) and forks; pytest has threads and must not be forked.

python crowd.py deliver URI RUN...: each run by a process of its own, all at once
python crowd.py killed URI RUN...: the same after the makers of the store were killed, again and again
python crowd.py mlflow URI...: each store made by MLflow itself, which is killed at some moment; then `open_store`
"""

import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from test_tracking import draw, load_model

from cnnlab.tracking import Deliverer, RunDir, import_mlflow, open_store


def fork(task: Callable[[], object]) -> int:
    """The id of a process that does the task and ends with 0 if it could."""
    pid = os.fork()
    if pid:
        return pid
    try:
        task()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def at_once(tasks: list[Callable[[], object]]) -> None:
    """Do each in a process of its own; they begin when the last one is there."""
    gate, key = os.pipe()

    def wait_and_do(task: Callable[[], object]) -> None:
        os.close(key)
        os.read(gate, 1)
        task()

    pids = [fork(partial(wait_and_do, task)) for task in tasks]
    os.close(key)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert set(codes) == {0}, codes


def deliver(run: str, uri: str) -> None:
    """As the courier does: again until the store has it."""
    deliverer = Deliverer(RunDir(Path(run)), uri, load_model, draw)
    for _ in range(10):
        try:
            assert deliverer.deliver()
            return
        except Exception:
            traceback.print_exc()
            time.sleep(1)
    raise AssertionError(f"{run} was not delivered")


def kill(task: Callable[[], object], after: float) -> None:
    """Begin the task and end its process by SIGKILL; `after`: seconds."""
    pid = fork(task)
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main(what: str, *words: str) -> None:
    mlflow = import_mlflow()
    import_module("mlflow.store.tracking.sqlalchemy_store")
    moments = random.Random(7)
    if what == "mlflow":
        for uri in words:
            kill(lambda uri=uri: mlflow.MlflowClient(uri), after=moments.uniform(0.05, 0.8))
            open_store(uri)
        return
    uri, *runs = words
    for _ in range(12 if what == "killed" else 0):
        kill(lambda: open_store(uri), after=moments.uniform(0.05, 1.5))
    at_once([partial(deliver, run, uri) for run in runs])


if __name__ == "__main__":
    main(*sys.argv[1:])
