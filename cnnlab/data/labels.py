"""Labels as people write them -> classes numbered from 0."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.names import nfc
from cnnlab.errors import BadInput


def numbered(
    labels: Mapping[str, np.ndarray[Any, Any]], where: object, name: Callable[[Any], str] = str
) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Classes are the values in the training split, in their order: numbers that begin at 1 or have gaps, or words.

    Args:
        labels: split -> (N,) or (N, 1) whole numbers or words.
        where: the file, for what is wrong with it.
        name: of the class with a value.

    Returns:
        the classes' names, and split -> (N,) int64.

    Raises:
        BadInput: no such labels, fewer than two classes, or one that is in no training image.
    """
    flat = {split: _flat(values, where) for split, values in labels.items()}
    values = np.unique(flat["train"])
    if len(values) < 2:
        raise BadInput(f"data.root: {where} has {len(values)} classes in its training split; at least 2 are needed")
    for split, some in flat.items():
        if strange := sorted(set(np.unique(some).tolist()) - set(values.tolist())):
            raise BadInput(f"data.root: {where} has the class {strange[0]} in {split}, but not in its training split")
    numbers = {split: torch.from_numpy(np.searchsorted(values, some).astype(np.int64)) for split, some in flat.items()}
    return tuple(name(value) for value in values.tolist()), numbers


def _flat(values: np.ndarray[Any, Any], where: object) -> np.ndarray[Any, Any]:
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise BadInput(f"data.root: {where} has labels of the shape {values.shape}; one class per image is needed")
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.round(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in "iubUS":
        raise BadInput(f"data.root: {where} has labels of the type {values.dtype}; whole numbers or words are needed")
    return np.array([nfc(value) for value in values.tolist()]) if values.dtype.kind == "U" else values
