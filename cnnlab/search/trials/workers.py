"""Where trials run: in this process, or in worker processes, one per GPU or one per core."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerProcess
from types import ModuleType

import torch
from optuna.study import Study

from cnnlab.errors import BadInput, RunFailed
from cnnlab.process import ENDING, ignore_signals, received
from cnnlab.records import Record
from cnnlab.search.studies.claims import claim
from cnnlab.search.studies.database import patient
from cnnlab.search.studies.storage import open_storage
from cnnlab.search.studies.study import open_study
from cnnlab.search.trials.stages import Stage
from cnnlab.search.trials.trial import Interrupted, run_trial

MOST_DEATHS = 5
"""The number of workers that may die while no trial gets further."""


@dataclass(frozen=True)
class Layout:
    """Where trials run: the workers and the threads of each; GPUs are dealt out in turn."""

    workers: int
    threads: int | None = None
    """None for as many as PyTorch takes by itself."""
    gpus: int = 0

    def __str__(self) -> str:
        if self.workers == 1:
            return "in this process"
        return f"{self.workers} workers, " + (
            f"{self.gpus} GPUs" if self.gpus else f"{self.threads} thread{'s' if self.threads != 1 else ''} each"
        )


def layout(asked: int | None, device: str, threads: int | None = None) -> Layout:
    """One worker per GPU if there is any, else one per core with one thread.

    Args:
        asked: the number of workers instead, --workers; None for auto.
        device: place.device of the experiment.
        threads: place.threads of the experiment; None if it leaves that open.

    Raises:
        BadInput: several workers, in a process that may start none.
    """
    if multiprocessing.current_process().daemon:
        if asked and asked > 1:
            raise BadInput(
                f"workers: {asked} is not allowed in a daemonic process, like those of multiprocessing.Pool, "
                "which may not start processes; use 1, or concurrent.futures.ProcessPoolExecutor instead of the Pool"
            )
        asked = 1
    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    cores = len(_cores())
    if device not in ("auto", "cpu", "cuda"):  # one named device
        return Layout(asked or 1, threads)
    if gpus:
        return Layout(asked or gpus, threads, gpus)
    workers = asked or max(1, cores // (threads or 1))
    return Layout(workers, threads if workers == 1 else threads or max(1, cores // workers))


def with_threads(stage: Stage, threads: int | None) -> Stage:
    """The stage for a machine on which a trial has this number of threads; the study is the same."""
    config = stage.plan.config
    place = config.place.model_copy(update={"threads": threads or config.place.threads})
    plan = replace(stage.plan, config=config.model_copy(update={"place": place}))
    return replace(stage, plan=plan)  # type: ignore[type-var]


def work(stage: Stage, base: Study, interrupted: Interrupted) -> Generator[Record, None, None]:
    """Claim slots and run their trials until none waits."""
    while not interrupted() and (slot := claim(base, stage.wanted, stage.first_params)):
        yield from run_trial(stage, base, slot, interrupted)


class Pool:
    """Worker processes for one stage. A context manager: leaving it interrupts those that still run, and waits."""

    def __init__(self, stage: Stage, layout: Layout) -> None:
        self.stage = stage
        self.layout = layout
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])  # as the server has been started, or has to be
        self._places: list[ForkServerProcess | None] = [None] * layout.workers
        self._progress = self._deaths = 0

    def staff(self, *, waiting: int, progress: int) -> None:
        """Start a worker for each trial that waits, as far as there are places.

        Args:
            waiting: the number of trials that nobody works on.
            progress: a number that grows as trials get further; as long as it does, workers may die.

        Raises:
            RunFailed: workers die one after the other, and no trial gets further.
        """
        if progress > self._progress:
            self._progress, self._deaths = progress, 0
        for index, process in enumerate(self._places):
            if process is not None and not process.is_alive():
                self._note_end(process)
                self._places[index] = None
        free = [index for index, process in enumerate(self._places) if process is None]
        for index in free[:waiting]:
            self._places[index] = self._start(index)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        processes = [process for process in self._places if process is not None]
        for process in processes:
            process.terminate()  # SIGTERM: it seals a checkpoint and gives its trial back
        for process in processes:
            process.join()

    def _start(self, index: int) -> ForkServerProcess:
        process = self._context.Process(target=_main, args=(self.stage, self.layout, index))
        with _without_main():
            process.start()
        return process

    def _note_end(self, process: ForkServerProcess) -> None:
        self._deaths += process.exitcode != 0
        if self._deaths >= MOST_DEATHS:
            raise RunFailed(
                f"{self._deaths} worker processes died one after the other, the last with exit code "
                f"{process.exitcode}; see {self.stage.plan.folder / 'workers.log'}"
            )


@contextmanager
def _without_main() -> Iterator[None]:
    """Within it, multiprocessing finds no script to run again in a new process: a worker needs nothing of it, and a
    script that sweeps without `if __name__ == "__main__":` would sweep again there."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _main(stage: Stage, layout: Layout, index: int) -> None:
    """A worker process, from its start to its end."""
    interrupted = _interrupted_by_sigterm()
    _log_to_file(stage)
    _take_place(layout, index)
    storage = patient(open_storage)(stage.plan.storage)
    for _ in work(stage, open_study(stage.study, storage), interrupted):
        pass


def _interrupted_by_sigterm() -> Callable[[], bool]:
    """A function that is true after a SIGTERM, or when the process that started this one is gone."""
    ignore_signals()  # they go to all; the coordinator passes them on as SIGTERM
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # the server that it was forked from has them held back
    parent = multiprocessing.parent_process()
    looked = time.monotonic()

    def interrupted() -> bool:
        nonlocal looked
        if parent and time.monotonic() - looked > 1:
            looked = time.monotonic()
            if not parent.is_alive():
                received.append(0)
        return bool(received)

    return interrupted


def _log_to_file(stage: Stage) -> None:
    file = os.open(stage.plan.folder / "workers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.stdout.flush()


def _take_place(layout: Layout, index: int) -> None:
    """Use a GPU, or cores, that no other worker uses."""
    if layout.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = _visible()[index % layout.gpus]
    elif layout.threads and hasattr(os, "sched_setaffinity"):
        cores = _cores()
        first = index * layout.threads % len(cores)
        os.sched_setaffinity(0, (cores + cores)[first : first + layout.threads])
    if layout.threads:
        torch.set_num_threads(layout.threads)


def _visible() -> list[str]:
    """The GPUs that this process may use, as CUDA names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
