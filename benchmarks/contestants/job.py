"""What every contestant is given, what it gives back, and the parts that the peers on PyTorch share."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.contestants.workloads import WORKLOADS

EVALUATED = 1000
"""Images a batch when evaluating."""


@dataclass(frozen=True)
class Job:
    """One training: whole epochs, each followed by an evaluation of the validation split."""

    workload: str
    data: str
    """Where the workload's files are."""
    weights: str
    """The initial weights (safetensors)."""
    scratch: str
    """An empty folder for whatever the contestant writes."""
    epochs: int = 3
    lr: float = 0.05
    momentum: float = 0.9
    seed: int = 0
    val_fraction: float = 0.1
    threads: int = 2
    precision: str = "fp32"
    workers: int = 0
    record: bool = False
    fresh: bool = False
    batch_size: int | None = None
    """None for the workload's own."""
    train_size: int | None = None
    """Train on so many images only."""


@dataclass(frozen=True)
class Outcome:
    seconds: float
    """From before the first step to after the last evaluation; imports and the making of the datasets are not in it."""
    images: int
    """Trained on, all epochs together, counted by the contestant's own loop where it has one."""
    accuracy: float
    """On the validation split after the last epoch."""
    first_loss: float | None = None
    """Of the first step, before any update: equal weights and equal images in equal order would make it equal."""
    rows: int | None = None
    """Training losses read back from MLflow's database, for those that record."""


def main(run: Callable[[Job], Outcome]) -> None:
    """Read the job from the command line, run it, print the outcome as the last line of stdout."""
    job = Job(**json.loads(sys.argv[1]))
    _set_threads(job.threads)
    print(json.dumps(asdict(run(job))))


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def network(job: Job) -> Any:
    """The workload's network in plain PyTorch, with the job's initial weights."""
    from safetensors.torch import load_file

    model = WORKLOADS[job.workload].network()
    model.load_state_dict(load_file(job.weights))
    return model


def batch_size(job: Job) -> int:
    """Images a step."""
    return job.batch_size or WORKLOADS[job.workload].batch_size


def split_indices(job: Job, labels: Any) -> tuple[Any, Any]:
    """Indices of the training and validation images: the same as cnnlab's, for all contestants."""
    import torch

    from cnnlab.data.dataset import hold_out, stratified_order
    from cnnlab.data.load import TEST_FRACTION

    labels = torch.as_tensor(labels)
    here = torch.arange(len(labels))
    if WORKLOADS[job.workload].dataset == "folder":  # published without a test split
        here, _ = hold_out(labels, TEST_FRACTION, 0)
    train, val = hold_out(labels[here], job.val_fraction, job.seed)
    train = train[stratified_order(labels[here][train], job.seed)[: job.train_size].sort().values]
    return here[train], here[val]


def datasets(job: Job) -> tuple[Any, Any]:
    """torchvision's dataset as its tutorials use it: decoded, augmented, converted and normalised image by image."""
    from torch.utils.data import Subset

    workload = WORKLOADS[job.workload]
    train, val = (workload.source(job.data, training) for training in (True, False))
    train_indices, val_indices = split_indices(job, train.targets)
    return Subset(train, train_indices.tolist()), Subset(val, val_indices.tolist())


def loaders(job: Job) -> tuple[Any, Any]:
    """A shuffled DataLoader of the training images and one of the validation images."""
    from torch.utils.data import DataLoader

    train, val = datasets(job)
    size = batch_size(job)
    options = {"num_workers": job.workers, "persistent_workers": job.workers > 0}
    return DataLoader(train, batch_size=size, shuffle=True, **options), DataLoader(val, batch_size=EVALUATED, **options)


def tensors(job: Job) -> tuple[Any, Any, Any, Any]:
    """Normalised images (N, C, H, W) float32 and labels of the training and of the validation split."""
    import torch

    workload = WORKLOADS[job.workload]
    source = workload.source(job.data, False)
    images = torch.as_tensor(source.data if hasattr(source, "data") else source.images)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    labels = torch.as_tensor(source.targets)
    train, val = split_indices(job, labels)
    return workload.normalised(images[train]), labels[train], workload.normalised(images[val]), labels[val]


def rows_in_database(database: Path, key: str) -> int:
    """Steps whose value of a metric is in an MLflow database."""
    import sqlite3

    with sqlite3.connect(database) as connection:
        return int(connection.execute("select count(distinct step) from metrics where key = ?", (key,)).fetchone()[0])


def rows_in_all_runs(database: Path, key: str) -> int:
    """The same over all runs of a database together."""
    import sqlite3

    with sqlite3.connect(database) as connection:
        query = "select count(*) from (select distinct run_uuid, step from metrics where key = ?)"
        return int(connection.execute(query, (key,)).fetchone()[0])
