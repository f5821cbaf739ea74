"""Counts by true and predicted class, and metrics computed from them."""

from collections.abc import Sequence

import torch
from torch import Tensor

Counts = tuple[tuple[int, ...], ...]
"""[true class][predicted class]"""


def count_cells(true: Tensor, predicted: Tensor, classes: int, ignored: int | None = None) -> Tensor:
    """The number of times that each pair of classes occurs. Does not wait for the device.

    Args:
        true, predicted: int64 (or uint8) of one shape.
        ignored: a true class that is not counted (void).

    Returns:
        (classes * classes,) int64, the cell of true class t and predicted class p at t * classes + p.
    """
    cells = true.long() * classes + predicted
    size = classes**2
    if ignored is not None:
        cells = torch.where(true == ignored, size, cells)
    counts = torch.zeros(size + 1, dtype=torch.int64, device=cells.device)
    return counts.scatter_add_(0, cells.flatten(), torch.ones_like(cells.flatten()))[:size]


def square(sums: Sequence[float], classes: int) -> Counts:
    """The result of `count_cells` as rows, one per true class."""
    return tuple(tuple(int(n) for n in sums[row * classes : (row + 1) * classes]) for row in range(classes))


def accuracy(counts: Counts) -> float:
    """The share that was predicted correctly; NaN if nothing was counted."""
    total = sum(map(sum, counts))
    return sum(row[true] for true, row in enumerate(counts)) / total if total else float("nan")


def intersection_over_union(counts: Counts) -> list[float]:
    """Of each class: right / (true + predicted - right), NaN if it does not occur (Everingham et al. 2010, 4.3)."""
    columns = [sum(column) for column in zip(*counts, strict=True)]
    unions = [sum(row) + columns[true] - row[true] for true, row in enumerate(counts)]
    return [
        row[true] / union if union else float("nan")
        for true, (row, union) in enumerate(zip(counts, unions, strict=True))
    ]
