"""The generated datasets of points, two float inputs for each sample: the same on every machine."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.dataset import Source, Split

Array: TypeAlias = np.ndarray[Any, Any]
Made: TypeAlias = tuple[Array, Array]
"""Points (COUNT, 2) and their classes (COUNT,)."""

TRAIN, TEST = 1000, 1000
COUNT = TRAIN + TEST
SEED = 20261127
CORNER = 0.2
"""Of a gate: how far its points are from a corner, at most. Up to 0.25 a line separates the classes of `and`, `or`."""
NOISE = 0.15
"""The standard deviation of the noise on the moons; the spirals have a third of it."""
TURNS = 1.25
"""Of a spiral."""
CENTRES = ((-2.5, 0.0), (2.5, 0.0), (0.0, 3.5))
"""Of the blobs, whose standard deviation is 1."""
GRID = 200
"""Points on a side of the grid of `grid_over`."""


def gate(outputs: Sequence[int], random: np.random.Generator) -> Made:
    """The classes are the outputs of a logic gate for the corners (0, 0), (0, 1), (1, 0), (1, 1)."""
    corner = np.arange(COUNT) % 4
    around = random.uniform(-CORNER, CORNER, (COUNT, 2))
    return np.stack([corner // 2, corner % 2], 1) + around, np.array(outputs)[corner]


def moons(random: np.random.Generator) -> Made:
    """Two half circles that interlock, as of scikit-learn's `make_moons`."""
    lower, angle = np.arange(COUNT) % 2, random.uniform(0, np.pi, COUNT)
    side = 1 - 2 * lower
    points = np.stack([lower + side * np.cos(angle), lower / 2 + side * np.sin(angle)], 1)
    return points + random.normal(0, NOISE, points.shape), lower


def spirals(random: np.random.Generator) -> Made:
    """Two spirals from the centre, one turned by half a circle against the other (after Lang and Witbrock 1988)."""
    arm, radius = np.arange(COUNT) % 2, random.uniform(0.1, 1, COUNT)
    angle = 2 * np.pi * TURNS * radius + np.pi * arm
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return points + random.normal(0, NOISE / 3, points.shape), arm


def blobs(random: np.random.Generator) -> Made:
    """Three normal distributions, which overlap a little."""
    blob = np.arange(COUNT) % len(CENTRES)
    return np.array(CENTRES)[blob] + random.normal(0, 1, (COUNT, 2)), blob


MAKERS: dict[str, Callable[[np.random.Generator], Made]] = {
    "xor": partial(gate, (0, 1, 1, 0)),
    "and": partial(gate, (0, 0, 0, 1)),
    "or": partial(gate, (0, 1, 1, 1)),
    "moons": moons,
    "spirals": spirals,
    "blobs": blobs,
}


def points(name: str) -> Source:
    """1,000 training and 1,000 test points, (N, 2) float32."""
    inputs, labels = MAKERS[name](np.random.default_rng(SEED))
    whole = Split(torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(labels))
    number = torch.arange(COUNT)
    splits = {"train": whole.take(number[:TRAIN]), "test": whole.take(number[TRAIN:])}
    return Source(tuple(map(str, range(labels.max() + 1))), splits, origin=f"cnnlab.data.points, seed {SEED}")


def grid_over(points: Tensor) -> tuple[Tensor, Tensor]:
    """A regular grid over (N, 2) points with a margin, row by row from below: (GRID * GRID, 2), and its corners.

    Returns:
        The grid, and (2, 2) its lower left and upper right corner.
    """
    low, high = points.amin(0), points.amax(0)
    corners = torch.stack([low - (high - low) / 10, high + (high - low) / 10])
    (left, right), (bottom, top) = corners.T
    ways = torch.linspace(bottom, top, GRID), torch.linspace(left, right, GRID)
    return torch.cartesian_prod(*ways).flip(1), corners
