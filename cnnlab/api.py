"""`cnnlab.train`, `resume`, `sweep`, `compare` and `load`: the commands as functions, recorded in the same way."""

import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIG_DFL, SIGINT, SIGTERM, getsignal
from typing import TYPE_CHECKING, Any

from cnnlab.comparison import Comparison
from cnnlab.config import Given
from cnnlab.interrupts import Interrupt, catch_interrupts
from cnnlab.process import ENDING, received
from cnnlab.result import Result
from cnnlab.search import Sweep
from cnnlab.work import Training, Work

if TYPE_CHECKING:
    from cnnlab.reading.predictions import LoadedNetwork


def train(config: Given = None, **options: Any) -> Result:
    """Train one network, as `cnnlab train` does.

    Args:
        config: what to train; a `RunConfig`, plain values, or a YAML file.
        options: as of `cnnlab.Training`.

    Returns:
        What `cnnlab train --json` prints. If the run diverged or ran out of memory, its `status` is "failed" and its
        `reason` says why.

    Raises:
        BadInput: the config is invalid on this machine or with this data; nothing has been written.
        KeyboardInterrupt: after a checkpoint was sealed; `cnnlab.resume("last")` continues.
    """
    return _to_the_end(Training(config, **options))


def resume(run: str, place: Mapping[str, Any] | None = None, tracking_uri: str | None = None) -> Result:
    """Resume a run that was stopped, as `cnnlab train --resume` does; if it has finished, return its result.

    Args:
        run: its id, an unambiguous beginning of it, last, or its directory.
        place: changed settings of the place: `{"place.device": "cpu"}`.
        tracking_uri: of MLflow; None for the one that the run's journal names, without its password.

    Raises:
        BadInput: there is no such run.
        InUse: a live process has it.
    """
    training = Training.resumed(run, place, tracking_uri)
    return training.result if training.result.status == "finished" else _to_the_end(training)


def sweep(config: Given = None, search: Mapping[str, Any] | Sequence[str] = (), **options: Any) -> Result:
    """Search hyperparameters, as `cnnlab sweep` does.

    Args:
        config: the experiment, which is trial 0: a `RunConfig`, plain values, or a YAML file.
        search: the ranges: `{"lr": {"low": 1e-4, "high": 1, "log": True}, "batch_size": [16, 32]}`.
        options: as of `cnnlab.Sweep`.

    Returns:
        What `cnnlab sweep --json` prints; its `best` is None if no trial was trained to its end.

    Raises:
        BadInput: the config, the space or the study is invalid; nothing has been written.
        InUse: a live process has the study, and `study` does not name it.
        KeyboardInterrupt: after checkpoints were sealed; the same call continues.
    """
    return _to_the_end(Sweep(config, search, **options))


def compare(config: Given | Sequence[Given] = None, **options: Any) -> Result:
    """Compare optimizers or the values of a setting, as `cnnlab compare` does.

    Args:
        config: the experiment; a `RunConfig`, plain values, or a YAML file. In a list, each is a workload.
        options: as of `cnnlab.Comparison`: `optimizers=["sgd", "adam"]` or `over={"model.activation": [...]}`, and the
            numbers of `trials` and `seeds`.

    Returns:
        What `cnnlab compare --json` prints.

    Raises:
        BadInput: the config, the arms or the study is invalid; nothing has been written.
        InUse: a live process has the comparison, and `study` does not name it.
        KeyboardInterrupt: after checkpoints were sealed; the same call continues.
    """
    return _to_the_end(Comparison(config, **options))


def load(run: str | Path | Result) -> "LoadedNetwork":
    """The network of a finished run with the weights of its best epoch, in evaluation mode.

    It is a module that takes stored images, (N, C, H, W) uint8, and returns (N, classes) or, for masks, (N, classes, H,
    W). Its `classes` are their names; its `predict(images)` takes such a tensor, or files and folders of images.

    Args:
        run: a run's id, an unambiguous beginning of it, last, its directory, or the result of `train`.

    Raises:
        BadInput: there is no such run, or it has not finished.
        RunFailed: the weights are damaged.
    """
    from cnnlab.reading.predictions import LoadedNetwork
    from cnnlab.reading.trained import load_trained
    from cnnlab.tracking import find_run

    word = run.run_dir if isinstance(run, Result) else str(run)
    return LoadedNetwork(load_trained(find_run(word).path))


def _to_the_end(work: Work[object]) -> Result:
    with _interruptible(work.stop) as interrupt, work:
        for _ in work:
            pass
    if work.undelivered:
        warnings.warn(
            f"not everything has been delivered to MLflow yet ({work.undelivered}); run cnnlab sync", stacklevel=3
        )
    if interrupt.number == SIGINT:
        raise KeyboardInterrupt
    if interrupt.number:
        sys.exit(128 + interrupt.number)
    return work.result


@contextmanager
def _interruptible(stop: Callable[[], None]) -> Iterator[Interrupt]:
    """Within the context, the first signal calls `stop`, unless the caller's program handles it itself.

    Only the main thread receives signals.
    """
    if threading.current_thread() is threading.main_thread():
        received.clear()
        free = [number for number in ENDING if number in (SIGINT, SIGTERM) or getsignal(number) == SIG_DFL]
        with catch_interrupts(stop, free) as interrupt:
            yield interrupt
    else:
        yield Interrupt()
