"""Small runs that several tests make, and the processes of a sweep."""

from pathlib import Path

import torch

from cnnlab.config import RunConfig, read_config
from cnnlab.data import Dataset, Split
from cnnlab.records import Record, Steps
from cnnlab.training import Learner, fit


def small_config(**settings: object) -> RunConfig:
    """A tiny network on 64 images, in fp32 on any machine; settings as `optimizer__lr=0.1`."""
    small = {
        "model.channels": [4],
        "model.hidden": [8],
        "data.batch_size": 16,
        "training.epochs": 3,
        "optimizer.lr": 0.02,
        "training.precision": "fp32",
    }
    given = {key.replace("__", "."): value for key, value in settings.items()}
    kind = given.get("model.name", "cnn")
    base = {key: value for key, value in small.items() if kind == "cnn" or not key.startswith("model.")}
    return read_config(None, base | given)[0]


def small_dataset(count: int = 64, classes: int = 3, shape: tuple[int, int, int] = (1, 8, 8)) -> Dataset:
    """Learnable: the class is where the light falls."""
    generator = torch.Generator().manual_seed(5)

    def split(size: int) -> Split:
        labels = torch.arange(size) % classes
        images = torch.randint(0, 100, (size, *shape), generator=generator)
        for label in range(classes):
            images[labels == label, :, 2 * label : 2 * label + 2] += 150
        return Split(images.to(torch.uint8), labels)

    names = tuple("abcdefgh"[:classes])
    return Dataset("small", names, split(count), split(20), split(20), digest="0" * 32, source="tests")


def records_of(config: RunConfig, dataset: Dataset | None = None, folder: Path | None = None) -> list[Record]:
    """All records of an uninterrupted run."""
    dataset = dataset or small_dataset()
    return list(fit(Learner(config, dataset), folder))


def losses_of(records: list[Record]) -> list[float]:
    """The training losses of all steps."""
    return [loss for record in records if isinstance(record, Steps) for loss in record.losses]


def workers_of(coordinator: int) -> list[int]:
    """The worker processes: children of the fork server, itself a child of the coordinator."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    return [worker for server in children.get(coordinator, []) for worker in children.get(server, [])]
