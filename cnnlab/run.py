"""One recorded run: everything checked, then trained, each record in the journal before anyone else sees it."""

import logging
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnlab.config import RunConfig, as_config, flat, read_config, to_yaml
from cnnlab.config.run_config import is_place
from cnnlab.data import Dataset, load
from cnnlab.errors import BadInput, RunFailed, one_line, quoted, without_passwords
from cnnlab.files import naming
from cnnlab.models import Normalize
from cnnlab.provenance import provenance
from cnnlab.records import Epoch, Record, RunCreated, RunEnded, RunStarted, Status, Steps
from cnnlab.tasks import make_task
from cnnlab.tracking import Journal, RunDir, last, make_mlruns, new_run_id, read, runs_root
from cnnlab.training import (
    Learner,
    below,
    check_identity,
    fit,
    identity,
    load_latest,
    load_weights,
    out_of_memory,
    resolve_device,
    resolve_precision,
    run_started,
    trained_form,
    weights_digest,
)

log = logging.getLogger("cnnlab")


@dataclass(frozen=True)
class Prepared:
    """A config whose data, model and optimizer are there: whatever a user could have got wrong has been checked."""

    config: RunConfig
    """As it was given, with the batch size that auto means on this data."""
    dataset: Dataset
    learner: Learner


def prepare(config: RunConfig, dataset: Dataset | None = None) -> Prepared:
    """Load the data, build the model and the optimizer; write nothing but the data cache.

    Args:
        config: what to train.
        dataset: what `config.data` names, where it is loaded already.

    Raises:
        BadInput: whatever is wrong with the config on this machine and this data.
        RunFailed: the data or the model does not fit into memory.
    """
    try:
        dataset = dataset or load(config.data, config.training.seed)
        config = _with_batch_size(config, len(dataset.train))
        return Prepared(config, dataset, Learner(config, dataset))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise RunFailed(
            "out of memory before the first step: the images or the network do not fit; try a smaller data.resize, "
            "fewer model.channels, a smaller model.kernel_size or model.hidden"
        ) from None


def _with_batch_size(config: RunConfig, images: int) -> RunConfig:
    """The config with a number in place of auto, so that it says what was trained."""
    if config.data.batch_size != "auto":
        return config
    data = config.data.model_copy(update={"batch_size": config.data.images_per_step(images)})
    return config.model_copy(update={"data": data})


class Stopped(Exception):
    """Thrown into `record_run`'s iterator: the run is to end here, with this status and for this reason."""

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
    """A directory with the config and the first line of a journal.

    Args:
        experiment: the MLflow experiment.
        tracking_uri: MLflow's, resolved; "none" to deliver nothing until a sync.
        directory: where, if not mlruns/runs/<run_id>.
        parent: the run id of the sweep that this is a trial of.
        tags: beside those that say where the run comes from.

    Raises:
        BadInput: the directory holds a run already.
        InUse: and that run is live.
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


def config_of(run: RunDir) -> RunConfig:
    """The config that a run was made with, by its journal. Raises BadInput where this version cannot read it."""
    return as_config(run.created.config, f"{run.journal_file}: ")


def config_to_resume(run: RunDir, place: dict[str, Any]) -> RunConfig:
    """The same at another place, if the run's config.yaml or `place` (dotted path -> value) says so.

    Raises:
        BadInput: another setting of config.yaml was edited; naming the first that differs.
    """
    config, asked = config_of(run), read_config(run.config_file, place)[0]
    made, now = flat(config), flat(asked)
    for path in {**made, **now}:
        if made.get(path) != now.get(path) and not is_place(path):
            there, here = quoted(made.get(path)), quoted(now.get(path))
            raise BadInput(
                f"{path}: {run.config_file} says {here}, but this run was made with {there} and goes on with it; "
                f"put it back, or make a new run: cnnlab train {run.config_file}"
            )
    return config.model_copy(update={"place": asked.place})


def record_run(prepared: Prepared, run: RunDir, *, tested: bool = True) -> Generator[Record, None, None]:
    """Train, from the newest checkpoint where there is one; yield each record when the journal has it.

    Steps and epochs that the journal already has (they came after the checkpoint) are trained again, to the same
    bits, but not written again. Closing the iterator seals a checkpoint and writes that the run was interrupted;
    throwing `Stopped` into it does the same with another word.

    Args:
        tested: whether the test split is measured at the end.

    Raises:
        BadInput: it began with other data or another network.
        InUse: a live process has the run.
    """
    with run.hold():
        known = read(run.journal_file)[0]
        if before := last(known, RunStarted):
            now = run_started(prepared.config, prepared.dataset, prepared.learner)
            check_identity(identity(prepared.config, now), identity(config_of(run), before), run.path)
        reached = {type(record): record.last for record in known}
        start = load_latest(run.checkpoints, up_to_step=reached.get(Steps, 0))
        records = fit(prepared.config, prepared.dataset, prepared.learner, run.path, start, tested=tested)
        try:
            with Journal(run.journal_file) as journal:
                for record in records:
                    if fresh := record.after(reached.get(type(record), 0)):
                        journal.write(fresh)
                    if _precedes_checkpoint(record, prepared.config) or isinstance(record, RunEnded):
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


def _precedes_checkpoint(record: Record, config: RunConfig) -> bool:
    """Whether a checkpoint is sealed next: all before it has to be on disk first, or a power failure costs two."""
    every = config.training.checkpoint_every
    return isinstance(record, Epoch) or bool(isinstance(record, Steps) and every and record.last % every == 0)


def load_trained(path: Path) -> nn.Module:
    """A finished run's network with the weights of its best epoch, in evaluation mode.

    It takes (N, C, H, W) uint8 and gives what its task is about: (N, classes) or (N, classes, H, W).

    Raises:
        BadInput: it has not finished.
        RunFailed: its weights are damaged.
    """
    run = RunDir(path)
    records = read(run.journal_file)[0]
    started, ended = last(records, RunStarted), last(records, RunEnded)
    if started is None or ended is None or ended.weights_file is None:
        raise BadInput(f"{run.run_id}: this run has no trained network; it did not finish")
    config = config_of(run)
    network = make_task(config, started.classes, started.image_shape).build(seed=0)
    channels = started.image_shape[0]
    model = trained_form(network, Normalize(torch.zeros(channels), torch.ones(channels)))
    model.load_state_dict(_best_weights(run, ended))
    return model.eval()


def _best_weights(run: RunDir, ended: RunEnded) -> dict[str, torch.Tensor]:
    """Those that the journal has the digest of: from their own file, else from the last checkpoint, with a warning.

    Raises:
        RunFailed: both are damaged.
    """
    try:
        return load_weights(run.path / str(ended.weights_file), ended.weights_sha256)
    except RunFailed as damage:
        sealed = load_latest(run.checkpoints, ended.step)
        best = below("best.", sealed.tensors) if sealed else {}
        if weights_digest(best) != ended.weights_sha256:
            again = f"cnnlab train {run.config_file}"
            raise RunFailed(f"{damage}; the last checkpoint has them no more either; train again: {again}") from None
        log.warning("%s; the last checkpoint's copy is used", damage)
        return best


def describe_hardware() -> str:
    """PyTorch's version, the device that `auto` means here and what `precision: auto` means on it, in one line."""
    device = resolve_device("auto")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    what = ", ".join(gpus) or f"{torch.get_num_threads()} threads"
    precision = resolve_precision("auto", device)
    return f"torch {torch.__version__}; device auto is {device} ({what}), precision auto is {precision}"
