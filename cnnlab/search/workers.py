"""A study from its first trial to its last, in this process or in worker processes: `for state in run_trials(...)`."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from types import ModuleType

import torch
from optuna.study import Study

from cnnlab.errors import BadInput, RunFailed
from cnnlab.process import ENDING, ignore_signals, received
from cnnlab.records import Record
from cnnlab.search.claims import Watch, claim, fill, study_slots
from cnnlab.search.database import patient
from cnnlab.search.plan import Plan
from cnnlab.search.slots import Slot
from cnnlab.search.stages import Search, Stage, confirmation_of
from cnnlab.search.study import open_or_make
from cnnlab.search.trial import Interrupted, run_trial

POLL_SECONDS = 0.25

MOST_DEATHS = 5
"""The number of worker processes that may die while no trial makes progress."""


@dataclass(frozen=True)
class Workers:
    """The number of workers and the threads of each; GPUs are dealt out in turn."""

    number: int
    threads: int | None = None
    """None for PyTorch's default."""
    gpus: int = 0

    @classmethod
    def of(cls, asked: int | None, device: str, threads: int | None = None) -> "Workers":
        """One worker per GPU if there is any, else one per core with one thread.

        Args:
            asked: --workers; None for auto.
            device, threads: the experiment's place.device and place.threads.

        Raises:
            BadInput: several workers, in a process that may start none.
        """
        if multiprocessing.current_process().daemon:
            if asked and asked > 1:
                raise BadInput(
                    f"workers: {asked} is not allowed in a daemonic process, like those of multiprocessing.Pool, "
                    "which may not start processes; use 1, or concurrent.futures.ProcessPoolExecutor instead of the "
                    "Pool"
                )
            asked = 1
        gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
        cores = len(_cores())
        if device not in ("auto", "cpu", "cuda"):  # one named device
            return cls(asked or 1, threads)
        if gpus:
            return cls(asked or gpus, threads, gpus)
        number = asked or max(1, cores // (threads or 1))
        return cls(number, threads if number == 1 else threads or max(1, cores // number))

    def __str__(self) -> str:
        if self.number == 1:
            return "in this process"
        return f"{self.number} workers, " + (
            f"{self.gpus} GPUs" if self.gpus else f"{self.threads} thread{'s' if self.threads != 1 else ''} each"
        )


@dataclass(frozen=True)
class SweepState:
    """A stage of a sweep as it is now."""

    stage: Stage
    slots: list[Slot]
    seconds: float
    """Since the stage began in this process."""

    @property
    def waiting(self) -> int:
        """The number of trials that no process works on yet."""
        return sum(slot.state == "waiting" for slot in self.slots)

    @property
    def running(self) -> int:
        return sum(slot.state == "running" for slot in self.slots)

    @property
    def finished(self) -> int:
        """The number of trials that have ended, in any way."""
        return sum(slot.finished for slot in self.slots)

    @property
    def progress(self) -> int:
        """The number of ended trials, plus the epochs of each slot's longest attempt."""
        epochs = (max((len(t.intermediate_values) for t in slot.attempts), default=0) for slot in self.slots)
        return self.finished + sum(epochs)

    @property
    def done(self) -> bool:
        """Whether all trials of the stage have ended."""
        return self.finished == len(self.slots)


def run_trials(
    plan: Plan, workers: Workers, timeout: float | None, interrupted: Interrupted
) -> Generator[SweepState, None, None]:
    """Work on a plan's study until all its trials have ended, here or in other processes; then confirm the best.

    Args:
        plan: of a study that exists.
        timeout: seconds after which trials are interrupted; a later call continues them from their checkpoints.
        interrupted: whether to do the same at once.

    Raises:
        RunFailed: worker processes die one after the other, or the storage is gone.
    """
    plan = plan.with_threads(workers.threads)
    deadline = time.monotonic() + timeout if timeout else None

    def stop() -> bool:
        return interrupted() or (deadline is not None and time.monotonic() > deadline)

    yield from _run(Search(plan), workers, stop)
    if not stop() and (confirmation := confirmation_of(plan)):
        yield from _run(confirmation, workers, stop)


def _run(stage: Stage, workers: Workers, stop: Interrupted) -> Iterator[SweepState]:
    base = open_or_make(stage.study, stage.plan.storage, stage.plan.score)
    watch, began = Watch(), time.monotonic()

    def look() -> SweepState:
        fill(base, stage.wanted, stage.first_params, ahead=2 * workers.number)
        slots = study_slots(base, stage.wanted)
        if watch.reap(base, slots):
            slots = study_slots(base, stage.wanted)
        return SweepState(stage, slots, time.monotonic() - began)

    if workers.number == 1:
        yield from _run_here(stage, base, stop, look)
        return
    with WorkerProcesses(stage, workers) as processes:
        while not (state := look()).done and not stop():
            processes.start(state)
            yield state
            time.sleep(POLL_SECONDS)
    yield look()


def _run_here(stage: Stage, base: Study, stop: Interrupted, look: Callable[[], SweepState]) -> Iterator[SweepState]:
    yield (state := look())
    while not state.done and not stop():
        looked = time.monotonic()
        for _ in _work(stage, base, stop):
            if time.monotonic() - looked > POLL_SECONDS:
                yield look()
                looked = time.monotonic()
        yield (state := look())
        if state.running:  # in other processes
            time.sleep(POLL_SECONDS)


def _work(stage: Stage, base: Study, interrupted: Interrupted) -> Generator[Record, None, None]:
    """Claim slots and run their trials until none waits."""
    while not interrupted() and (slot := claim(base, stage.wanted, stage.first_params)):
        yield from run_trial(stage, base, slot, interrupted)


class WorkerProcesses:
    """The worker processes of one stage. A context manager: leaving it interrupts those that still run, and waits."""

    def __init__(self, stage: Stage, workers: Workers) -> None:
        self.stage = stage
        self.workers = workers
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._processes: list[ForkServerProcess | None] = [None] * workers.number
        self._progress = self._deaths = 0

    def start(self, state: SweepState) -> None:
        """Start a worker for each waiting trial, up to the number of workers.

        Raises:
            RunFailed: workers die one after the other, and no trial makes progress.
        """
        if state.progress > self._progress:
            self._progress, self._deaths = state.progress, 0
        for index, process in enumerate(self._processes):
            if process is not None and not process.is_alive():
                self._deaths += process.exitcode != 0
                if self._deaths >= MOST_DEATHS:
                    raise RunFailed(
                        f"{self._deaths} worker processes died one after the other, the last with exit code "
                        f"{process.exitcode}; see {self.stage.plan.folder / 'workers.log'}"
                    )
                self._processes[index] = None
        free = [index for index, process in enumerate(self._processes) if process is None]
        for index in free[: state.waiting]:
            process = self._context.Process(target=_worker, args=(self.stage, self.workers, index))
            with _without_main():
                process.start()
            self._processes[index] = process

    def __enter__(self) -> "WorkerProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        processes = [process for process in self._processes if process is not None]
        for process in processes:
            process.terminate()  # SIGTERM: it seals a checkpoint and gives its trial back
        for process in processes:
            process.join()


@contextmanager
def _without_main() -> Iterator[None]:
    """Within it, a new process of multiprocessing does not run the main script again.

    A worker needs nothing of it, and a script that sweeps without `if __name__ == "__main__":` would sweep again.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _worker(stage: Stage, workers: Workers, index: int) -> None:
    """A worker process, from its start to its end."""
    interrupted = _interrupted_by_sigterm()
    log = os.open(stage.plan.folder / "workers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.stdout.flush()
    _use_share(workers, index)
    base = patient(open_or_make)(stage.study, stage.plan.storage, stage.plan.score)
    for _ in _work(stage, base, interrupted):
        pass


def _interrupted_by_sigterm() -> Callable[[], bool]:
    """A function that returns True after a SIGTERM, or if the process that started this one is gone."""
    ignore_signals()  # they reach all processes; the command passes them on as SIGTERM
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # they are blocked in the fork server, and a fork inherits that
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


def _use_share(workers: Workers, index: int) -> None:
    """Use a GPU, or cores, that no other worker uses."""
    if workers.gpus:
        named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        visible = named.split(",") if named else [str(gpu) for gpu in range(torch.cuda.device_count())]
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[index % workers.gpus]
    elif workers.threads and hasattr(os, "sched_setaffinity"):
        cores = _cores()
        first = index * workers.threads % len(cores)
        os.sched_setaffinity(0, (cores + cores)[first : first + workers.threads])
    if workers.threads:
        torch.set_num_threads(workers.threads)


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
