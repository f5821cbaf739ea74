"""One recorded run: check everything, train, and write each record to the journal before it is yielded."""

import getpass
import logging
import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Generator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from cnnlab import __version__
from cnnlab.config import RunConfig, as_config, flat, read_config, to_yaml
from cnnlab.config.models import IMAGENET
from cnnlab.config.run_config import is_place
from cnnlab.data import Dataset, load
from cnnlab.errors import BadInput, RunFailed, one_line, quoted, without_passwords
from cnnlab.files import naming
from cnnlab.records import Epoch, Record, RunCreated, RunEnded, RunStarted, Status, Steps
from cnnlab.tracking import Journal, RunDir, find_run, last, make_mlruns, new_run_id, read, runs_root
from cnnlab.training import (
    Learner,
    check_identity,
    fit,
    identity,
    load_latest,
    load_weights,
    out_of_memory,
    resolve_device,
    resolve_precision,
    run_started,
)

log = logging.getLogger("cnnlab")


def prepare(config: RunConfig, dataset: Dataset | None = None) -> Learner:
    """Load the data, build the model and the optimizer; writes only the data cache.

    Args:
        config: what to train.
        dataset: the data that `config.data` names; None to load it.

    Returns:
        The learner. In its `config`, the batch size auto is replaced by a number, and a run as `model.weights` by the
        file of its best weights.

    Raises:
        BadInput: the config is invalid on this machine or with this data.
        RunFailed: the data or the model does not fit into memory.
    """
    try:
        dataset = dataset or load(config.data, config.training.seed)
        return Learner(_with_weights_file(_with_batch_size(config, len(dataset.train))), dataset)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise RunFailed(
            "out of memory before the first step: the images or the network do not fit; try a smaller data.resize, "
            "fewer model.channels, a smaller model.kernel_size or model.hidden"
        ) from None


def _with_batch_size(config: RunConfig, images: int) -> RunConfig:
    """The config with a number instead of auto."""
    if config.data.batch_size != "auto":
        return config
    data = config.data.model_copy(update={"batch_size": config.data.images_per_step(images)})
    return config.model_copy(update={"data": data})


def _with_weights_file(config: RunConfig) -> RunConfig:
    """The config with the file of a run's best weights instead of the run.

    Raises:
        BadInput: there is neither such a run nor such a file, or the run has not finished.
        RunFailed: the file is damaged.
    """
    weights = config.model.weights
    if weights in (None, IMAGENET) or os.path.isfile(str(weights)):
        return config
    try:
        run = find_run(str(weights))
    except BadInput as error:
        raise BadInput(f"model.weights: {error}; it must be a run, a .safetensors or .pth file, or imagenet") from None
    ended = last(read(run.journal_file)[0], RunEnded)
    if ended is None or ended.weights_file is None:
        raise BadInput(f"model.weights: {weights} has no trained weights; cnnlab train --resume {run.word} finishes it")
    path = run.path / ended.weights_file
    load_weights(path, ended.weights_sha256)
    if path.is_relative_to(Path.cwd()):  # the folder may be moved before a resume
        path = path.relative_to(Path.cwd())
    return config.model_copy(update={"model": config.model.model_copy(update={"weights": str(path)})})


class Stopped(Exception):
    """Throw it into `record_run`'s iterator to end the run with this status and reason."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def create_run(
    config: RunConfig,
    experiment: str,
    tracking_uri: str,
    directory: Path | None = None,
    *,
    parent: str | None = None,
    tags: dict[str, str] | None = None,
) -> RunDir:
    """Create a run's directory with the config and the first line of the journal.

    Args:
        experiment: the MLflow experiment.
        tracking_uri: of MLflow, resolved; "none" to deliver nothing until a sync.
        directory: the run's directory; None for mlruns/runs/<run_id>.
        parent: the run id of the sweep that this run is a trial of.
        tags: in addition to those of `provenance`.

    Raises:
        BadInput: the directory already has a run.
        InUse: the directory has a live run.
    """
    now = datetime.now().astimezone()
    run_id = new_run_id(config.label, now)
    path = directory or runs_root() / run_id
    with naming(path), RunDir.create(path) as run, Journal(run.journal_file) as journal:
        make_mlruns()
        run.config_file.write_text(to_yaml(config), encoding="utf-8")
        journal.write(
            RunCreated(
                run_id=run_id,
                time=now.timestamp(),
                experiment=experiment,
                tracking_uri=without_passwords(tracking_uri),
                config=config.model_dump(mode="json"),
                tags={key: without_passwords(tag) for key, tag in {**provenance(), **(tags or {})}.items()},
                parent=parent,
            )
        )
    return run


def provenance() -> dict[str, str]:
    """Tag -> value: the commit, versions, hardware and command of a run. MLflow's own tags are used if it has any."""
    tags = {
        "mlflow.user": _user(),
        "mlflow.source.name": "cnnlab",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": _git_commit(),
        "command": shlex.join(map(without_passwords, [_program(), *sys.argv[1:]])),
        "host": socket.gethostname(),
        "cpu": _cpu(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "slurm_job": os.environ.get("SLURM_JOB_ID", ""),
        "version.cnnlab": __version__,
        "version.python": platform.python_version(),
        "version.torch": torch.__version__,
    }
    return {name: value for name, value in tags.items() if value}


def _program() -> str:
    """`cnnlab`, or the name of the Python script that uses it."""
    name = Path(*sys.argv[:1]).name  # a program that embeds Python may have no arguments
    return name if name.endswith(".py") and name != "__main__.py" else "cnnlab"


@cache
def _git_commit() -> str:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in containers
        return str(os.getuid())


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def config_of(run: RunDir) -> RunConfig:
    """The config with which a run was created, from its journal. Raises BadInput if this version cannot read it."""
    return as_config(run.created.config, f"{run.journal_file}: ")


def config_to_resume(run: RunDir, place: dict[str, Any]) -> RunConfig:
    """The run's config, at the place that its config.yaml and `place` (dotted path -> value) name.

    Raises:
        BadInput: config.yaml differs in a setting that is not of the place; the message names the first.
    """
    config, edited = config_of(run), read_config(run.config_file, place)[0]
    before, now = flat(config), flat(edited)
    for path in {**before, **now}:
        if before.get(path) != now.get(path) and not is_place(path):
            raise BadInput(
                f"{path}: {run.config_file} says {quoted(now.get(path))}, but this run was made with "
                f"{quoted(before.get(path))} and goes on with it; "
                f"put it back, or make a new run: cnnlab train {run.config_file}"
            )
    return config.model_copy(update={"place": edited.place})


def record_run(learner: Learner, run: RunDir, *, tested: bool = True) -> Generator[Record, None, None]:
    """Train, from the newest checkpoint if there is one; yield each record after it is in the journal.

    Steps and epochs after the checkpoint that are already in the journal are trained again, with the same bits, but
    not written again. If the iterator is closed, a checkpoint is sealed and the journal says that the run was
    interrupted; if `Stopped` is thrown into it, the journal has the status of `Stopped`.

    Args:
        tested: whether the test split is measured at the end.

    Raises:
        BadInput: the run began with other data or another network.
        InUse: a live process has the run.
    """
    with run.hold():
        journalled = read(run.journal_file)[0]
        if before := last(journalled, RunStarted):
            now = run_started(learner)
            check_identity(identity(learner.config, now), identity(config_of(run), before), run.path)
        reached = {type(record): record.last for record in journalled}
        start = load_latest(run.checkpoints, up_to_step=reached.get(Steps, 0))
        records, every = fit(learner, run.path, start, tested=tested), learner.config.training.checkpoint_every
        try:
            with Journal(run.journal_file) as journal:
                for record in records:
                    if fresh := record.after(reached.get(type(record), 0)):
                        journal.write(fresh)
                    # the records before a checkpoint must be on disk before it, for a power failure
                    if isinstance(record, Epoch | RunEnded) or (every and record.last % every == 0):
                        journal.sync()
                    yield record
        except (GeneratorExit, KeyboardInterrupt):
            try:
                records.close()
            finally:  # the disk may be full
                run.end("interrupted", reason=f"stopped before its end; cnnlab train --resume {run.word} goes on")
            raise
        except Stopped as stop:
            records.close()
            run.end(stop.status, reason=stop.reason)
        except BaseException as error:
            run.end("failed", reason=one_line(f"{type(error).__name__}: {error}"))
            raise


def describe_hardware() -> str:
    """One line: PyTorch's version, the device that `auto` means on this machine, and the precision that it means."""
    device = resolve_device("auto")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    hardware = ", ".join(gpus) or f"{torch.get_num_threads()} threads"
    precision = resolve_precision("auto", device)
    return f"torch {torch.__version__}; device auto is {device} ({hardware}), precision auto is {precision}"
