"""The short names of the settings that people turn often: flags, and words in a search space."""

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
