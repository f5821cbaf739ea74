"""The short names of the settings that people turn often: flags, and words in a search space."""

from cnnlab.config.moved import MOVED

FLAGS = {
    "dataset": "data.dataset",
    "data_root": "data.root",
    "model": "model.name",
    "optimizer": "optimizer.name",
    "lr": "optimizer.lr",
    "batch_size": "data.batch_size",
    "momentum": "optimizer.momentum",
    "weight_decay": "optimizer.weight_decay",
    "dropout": "model.dropout",
    "epochs": "training.epochs",
    "schedule": "schedule.name",
    "seed": "training.seed",
    "device": "place.device",
    "precision": "training.precision",
    "checkpoint_every": "training.checkpoint_every",
}
"""Flag -> the setting that it sets."""


def path_of(name: str) -> str:
    """The dotted path of a setting that is named by its path, by one that it had before, or by its flag."""
    path = FLAGS.get(name.replace("-", "_"), name)
    return MOVED.get(path, path)
