"""The 1,797 real digits of 8x8 pixels that scikit-learn ships (Alpaydin and Kaynak 1998, UCI's test set)."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import torch

from cnnlab.data.dataset import Source, Split
from cnnlab.data.split import hold_out
from cnnlab.errors import BadInput


def digits() -> Source:
    """All digits; a fixed stratified fifth of them is the test split, the same for every seed.

    The file is read where scikit-learn has it; importing scikit-learn would take seconds.
    """
    with gzip.open(_file(), "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    # 0..16 ink -> 0..255
    images = torch.from_numpy(np.round(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8))
    everything = Split(images, torch.from_numpy(table[:, -1].copy()))
    train, test = hold_out(everything.targets, 0.2, seed=0)
    return Source(
        classes=tuple("0123456789"),
        splits={"train": everything.take(train), "test": everything.take(test)},
        origin="scikit-learn's digits.csv.gz",
    )


def _file() -> Path:
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise BadInput("data.dataset: digits come with scikit-learn, which is not installed; pip install scikit-learn")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
