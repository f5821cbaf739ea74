"""Where trials run: in this process, or in worker processes, one a GPU or one a core."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerProcess

import torch
from optuna.study import Study

from cnnlab.errors import RunFailed
from cnnlab.records import Record
from cnnlab.search.studies.claims import claim, open_study
from cnnlab.search.studies.storage import open_storage
from cnnlab.search.trials import forkserver
from cnnlab.search.trials.stages import Stage
from cnnlab.search.trials.trial import Interrupted, run_trial

MOST_DEATHS = 5
"""Workers that may die while no trial ends."""


@dataclass(frozen=True)
class Layout:
    """So many workers, each with so many threads; GPUs are dealt out in turn."""

    workers: int
    threads: int | None = None
    """None: as many as PyTorch takes by itself."""
    gpus: int = 0

    def __str__(self) -> str:
        if self.workers == 1:
            return "in this process"
        return f"{self.workers} workers, " + (
            f"{self.gpus} GPUs" if self.gpus else f"{self.threads} thread{'s' if self.threads != 1 else ''} each"
        )


def layout(asked: int | None, device: str, threads: int | None = None) -> Layout:
    """One worker a GPU where there are any, else one a core with one thread; `asked` says how many instead.

    Args:
        asked: --workers; None for auto.
        device: place.device of the experiment.
        threads: place.threads of the experiment; None where it leaves that open.
    """
    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    cores = len(_cores())
    if device not in ("auto", "cpu", "cuda"):  # one named device
        return Layout(asked or 1, threads)
    if gpus:
        return Layout(asked or gpus, threads, gpus)
    workers = asked or max(1, cores // (threads or 1))
    return Layout(workers, threads if workers == 1 else threads or max(1, cores // workers))


def with_threads(stage: Stage, threads: int | None) -> Stage:
    """The stage for a machine where a trial has so many threads; the study is the same."""
    config = stage.plan.config
    place = config.place.model_copy(update={"threads": threads or config.place.threads})
    plan = replace(stage.plan, config=config.model_copy(update={"place": place}))
    return replace(stage, plan=plan)  # type: ignore[type-var]


def work(stage: Stage, base: Study, interrupted: Interrupted) -> Generator[Record, None, None]:
    """Claim slots and run their trials until none is waiting."""
    while not interrupted() and (slot := claim(base, stage.wanted, stage.first_params)):
        yield from run_trial(stage, base, slot, interrupted)


class Pool:
    """Worker processes for one stage. A context manager: leaving it interrupts those that still run, and waits."""

    def __init__(self, stage: Stage, plan: Layout) -> None:
        self.stage = stage
        self.layout = plan
        self._context = forkserver.context()
        self._places: list[ForkServerProcess | None] = [None] * plan.workers
        self._finished = self._deaths = 0

    def staff(self, waiting: int, finished: int) -> None:
        """See to it that there is a worker for each trial that is waiting, as far as there are places.

        Args:
            waiting: trials that nobody works on.
            finished: trials that have ended so far; as long as some do, workers may die.

        Raises:
            RunFailed: they die one after the other, and nothing gets done.
        """
        if finished > self._finished:
            self._finished, self._deaths = finished, 0
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
        process = self._context.Process(target=_main, args=(self.stage, self.layout, index), daemon=True)
        process.start()
        return process

    def _note_end(self, process: ForkServerProcess) -> None:
        self._deaths += process.exitcode != 0
        if self._deaths >= MOST_DEATHS:
            raise RunFailed(
                f"{self._deaths} worker processes died one after the other, the last with exit code "
                f"{process.exitcode}; see {self.stage.plan.folder / 'workers.log'}"
            )


def _main(stage: Stage, plan: Layout, index: int) -> None:
    """A worker process, from its start to its end."""
    interrupted = _interrupted_by_sigterm()
    _log_to_file(stage)
    _take_place(plan, index)
    storage = open_storage(stage.plan.storage)
    for _ in work(stage, open_study(stage.study, storage), interrupted):
        pass


def _interrupted_by_sigterm() -> Callable[[], bool]:
    """True after a SIGTERM, or when the process that started this one is gone."""
    noted: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the coordinator passes it on
    parent = multiprocessing.parent_process()
    looked = time.monotonic()

    def interrupted() -> bool:
        nonlocal looked
        if parent and time.monotonic() - looked > 1:
            looked = time.monotonic()
            if not parent.is_alive():
                noted.append(0)
        return bool(noted)

    return interrupted


def _log_to_file(stage: Stage) -> None:
    file = os.open(stage.plan.folder / "workers.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.stdout.flush()


def _take_place(plan: Layout, index: int) -> None:
    """A GPU, or cores, of one's own."""
    if plan.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = _visible()[index % plan.gpus]
    elif plan.threads and hasattr(os, "sched_setaffinity"):
        cores = _cores()
        first = index * plan.threads % len(cores)
        os.sched_setaffinity(0, (cores + cores)[first : first + plan.threads])
    if plan.threads:
        torch.set_num_threads(plan.threads)


def _visible() -> list[str]:
    """The GPUs that this process may use, as CUDA names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
