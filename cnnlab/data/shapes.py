"""Coloured shapes on noisy ground, made here: which shape it is, whatever its colour, size and place, and where."""

from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.dataset import Source, Split

Array: TypeAlias = np.ndarray[Any, Any]

CLASSES = ("circle", "square", "triangle", "cross", "ring", "diamond")
SIDE = 32
TRAIN, TEST = 6000, 1200
SEED = 20260101


def shapes() -> Source:
    """6,000 training and 1,200 test images of (3, 32, 32), the same on every machine."""
    images, labels, _ = shapes_with_masks(TRAIN + TEST)
    return _source(CLASSES, Split(images, labels))


def shapes_masks() -> Source:
    """The same images with a mask each: 0 is the ground, 1 .. 6 are the shapes."""
    images, labels, inside = shapes_with_masks(TRAIN + TEST)
    masks = inside * (labels + 1).to(torch.uint8)[:, None, None]
    return _source(("background", *CLASSES), Split(images, masks))


def _source(classes: tuple[str, ...], everything: Split) -> Source:
    return Source(
        classes=classes,
        splits={
            "train": everything.take(torch.arange(TRAIN)),
            "test": everything.take(torch.arange(TRAIN, TRAIN + TEST)),
        },
        origin=f"cnnlab.data.shapes, seed {SEED}",
    )


def shapes_with_masks(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The first `count` images, with what a segmentation would have to find.

    Returns:
        images (N, 3, 32, 32) uint8, labels (N,) int64 (equally many of each class), masks (N, 32, 32) bool.
    """
    random = np.random.default_rng(SEED)
    labels = np.arange(count) % len(CLASSES)
    radius = random.uniform(5, 12, (count, 1, 1))
    centre = radius + 1 + random.uniform(0, 1, (2, count, 1, 1)) * (SIDE - 2 - 2 * radius)
    rows, columns = np.mgrid[:SIDE, :SIDE][:, None] + 0.5
    masks = _inside((columns - centre[0]) / radius, (rows - centre[1]) / radius, labels[:, None, None])
    ground, colour = _distinct_colours(random, count)
    images = np.where(masks[:, None], colour[:, :, None, None], ground[:, :, None, None])
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


def _distinct_colours(random: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Two colours (N, 3) for each image, at least 60 of 255 apart in every channel."""
    first = random.uniform(0, 256, (count, 3))
    second = (first + random.uniform(60, 196, (count, 3))) % 256
    return first.astype(np.float32), second.astype(np.float32)
