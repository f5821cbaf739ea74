"""The datasets that need no download: scikit-learn's digits, and coloured shapes that are drawn here."""

import gzip
import importlib.util
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.dataset import Source, Split
from cnnlab.errors import BadInput

Array: TypeAlias = np.ndarray[Any, Any]

CLASSES = ("circle", "square", "triangle", "cross", "ring", "diamond")
SIDE = 32
TRAIN, TEST = 6000, 1200
SEED = 20260101


def digits() -> Source:
    """The 1,797 real digits of 8x8 pixels that scikit-learn ships (Alpaydin and Kaynak 1998, UCI's test set).

    A fixed stratified fifth of them is the test split. Only scikit-learn's file is read; importing it takes seconds.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise BadInput("data.dataset: digits come with scikit-learn, which is not installed; pip install scikit-learn")
    with gzip.open(Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    # 0..16 ink -> 0..255
    images = torch.from_numpy(np.round(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8))
    labels = torch.from_numpy(table[:, -1].copy())
    train, test = Split(images, labels).hold_out(0.2, seed=0)
    return Source(tuple("0123456789"), {"train": train, "test": test}, origin="scikit-learn's digits.csv.gz")


def shapes() -> Source:
    """6,000 training and 1,200 test images of (3, 32, 32), the same on every machine."""
    images, labels, _ = shapes_with_masks(TRAIN + TEST)
    return _shapes(CLASSES, images, labels)


def shapes_masks() -> Source:
    """The same images with a mask each: 0 is the ground, 1 .. 6 are the shapes."""
    images, labels, inside = shapes_with_masks(TRAIN + TEST)
    return _shapes(("background", *CLASSES), images, inside * (labels + 1).to(torch.uint8)[:, None, None])


def _shapes(classes: tuple[str, ...], images: Tensor, targets: Tensor) -> Source:
    splits = {"train": Split(images[:TRAIN], targets[:TRAIN]), "test": Split(images[TRAIN:], targets[TRAIN:])}
    return Source(classes, splits, origin=f"cnnlab.data.shapes, seed {SEED}")  # a part of the digest


def shapes_with_masks(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The first `count` images on noisy ground; colour, size and place do not depend on the class.

    Returns:
        images (N, 3, 32, 32) uint8, labels (N,) int64 (equally many of each class), masks (N, 32, 32) bool.
    """
    random = np.random.default_rng(SEED)
    labels = np.arange(count) % len(CLASSES)
    radius = random.uniform(5, 12, (count, 1, 1))
    centre = radius + 1 + random.uniform(0, 1, (2, count, 1, 1)) * (SIDE - 2 - 2 * radius)
    rows, columns = np.mgrid[:SIDE, :SIDE][:, None] + 0.5
    masks = _inside((columns - centre[0]) / radius, (rows - centre[1]) / radius, labels[:, None, None])
    # two colours (N, 3) per image, at least 60 of 255 apart in each channel
    ground = random.uniform(0, 256, (count, 3))
    colour = (ground + random.uniform(60, 196, (count, 3))) % 256
    inside, outside = colour.astype(np.float32), ground.astype(np.float32)
    images = np.where(masks[:, None], inside[:, :, None, None], outside[:, :, None, None])
    images = images + random.normal(0, 12, (count, 3, SIDE, SIDE)).astype(np.float32)
    pixels = torch.from_numpy(np.clip(images, 0, 255).astype(np.uint8))
    return pixels, torch.from_numpy(labels), torch.from_numpy(masks)


def _inside(x: Array, y: Array, label: Array) -> Array:
    """Which pixels lie inside the shape; x, y: (N, H, W), the shape's box is [-1, 1] both ways."""
    distance = np.hypot(x, y)
    across, down = np.abs(x), np.abs(y)
    bar = 0.3
    regions = [
        distance < 1,
        (across < 0.8) & (down < 0.8),
        (y < 0.8) & (y > 2 * across - 1),
        ((across < bar) & (down < 1)) | ((down < bar) & (across < 1)),
        (distance < 1) & (distance > 0.6),
        across + down < 1,
    ]
    return np.choose(label, regions)
