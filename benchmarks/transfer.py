"""Trained weights on few images: `shapes` in a new colour scheme, 300 and 3,000 images, with weights and without.

    uv run python benchmarks/transfer.py FOLDER

The new scheme: three colours of the ground and three of the shapes, in dark and saturated tones, as PNG files.
Prints a row per case: the median, lowest and highest test accuracy over 3 seeds. Each case has the better of the rates
0.003 and 0.01, by seed 0: trained weights need the higher one.
"""

import statistics
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import cnnlab
from cnnlab.data.builtin import CLASSES, shapes_with_masks

SEEDS = 3
GROUND = np.array([(20, 60, 30), (15, 30, 90), (60, 20, 20)])
SHAPE = np.array([(40, 90, 200), (150, 30, 120), (70, 110, 20)])
NETWORK = {
    "model.channels": [8, 16, 32],
    "model.norm": "batch",
    "data.batch_size": 64,
    "optimizer.name": "adam",
    "optimizer.lr": 0.003,
    "place.threads": 1,
    "data.augment": ["flip", "crop"],
}
EPOCHS = {300: 100, 3000: 10}
"""Images -> epochs: 500 and 470 steps."""


def write_images(folder: Path, first: int, count: int) -> None:
    """The shapes from number `first` on, in the new colours with noise, one folder per class."""
    _, labels, masks = shapes_with_masks(first + count)
    random = np.random.default_rng(first)
    for index in range(first, first + count):
        ground, shape = GROUND[random.integers(3)], SHAPE[random.integers(3)]
        pixels = np.where(masks[index].numpy()[:, :, None], shape, ground) + random.normal(0, 12, (32, 32, 3))
        path = folder / CLASSES[labels[index]] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def accuracies(images: Path, size: int, **settings: object) -> list[float]:
    """Test accuracies, one per seed."""
    return [
        cnnlab.train(
            {
                **NETWORK,
                "data.dataset": "folder",
                "data.root": str(images),
                "data.resize": 32,  # without it, a folder is read at 64
                "data.train_size": size,
                "training.epochs": EPOCHS[size],
                "training.seed": seed,
                **{name.replace("__", "."): value for name, value in settings.items()},
            },
            tracking_uri="none",
        )["test_accuracy"]
        for seed in range(SEEDS)
    ]


def main(folder: Path) -> None:
    images = folder / "images"
    if not images.exists():
        write_images(images / "train", 0, 3600)
        write_images(images / "test", 6000, 1200)
    trained = cnnlab.train({**NETWORK, "data.dataset": "shapes", "training.epochs": 12}, tracking_uri="none")
    run = trained["run_dir"]
    network = folder / "network.pth"  # as torchvision's files: without the normalisation
    torch.save(cnnlab.load(run).network.state_dict(), network)
    print(f"the weights' own test accuracy, on shapes: {trained['test_accuracy']:.4f}", flush=True)
    print(f"test accuracy in the new colours: median (lowest to highest) of {SEEDS} seeds")
    for name, size, settings in (
        ("weights of a run", 300, {"model__weights": run, "optimizer__lr": 0.01}),
        ("random weights", 3000, {}),
        ("weights of a .pth file", 300, {"model__weights": str(network.resolve()), "optimizer__lr": 0.01}),
        ("random weights", 300, {}),
    ):
        values = accuracies(images, size, **settings)
        spread = f"{statistics.median(values):.4f} ({min(values):.4f} to {max(values):.4f})"
        print(f"{name:34}{size:6,} images  {spread}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
