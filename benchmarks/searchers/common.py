"""The sixteen trials, what a searcher is given, and what it gives back."""

import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.contestants.job import Job

LEARNING_RATES = (0.01, 0.02, 0.05, 0.1)
MOMENTA = (0.5, 0.9)
BATCH_SIZES = (64, 128)
CONFIGS = [
    {"lr": lr, "momentum": momentum, "batch_size": size}
    for lr, momentum, size in itertools.product(LEARNING_RATES, MOMENTA, BATCH_SIZES)
]


@dataclass(frozen=True)
class Sixteen:
    """All trials, on Fashion-MNIST."""

    data: str
    weights: str
    scratch: str
    epochs: int = 2
    train_size: int = 20_000
    threads: int = 2
    workers: int | None = None
    """Of cnnlab; None for auto."""
    precision: str = "fp32"
    """Of cnnlab."""

    def job(self, config: dict[str, Any], **settings: Any) -> Job:
        """One trial as the contestants of benchmarks/train.py take it."""
        given = {
            "workload": "fashion",
            "data": self.data,
            "weights": self.weights,
            "scratch": self.scratch,
            "epochs": self.epochs,
            "train_size": self.train_size,
            "threads": self.threads,
        }
        return Job(**{**given, **config, **settings})


@dataclass(frozen=True)
class Found:
    accuracies: list[float]
    """On the validation split after the last epoch, in the order of CONFIGS."""
    images: int
    """Trained on, all trials together."""
    rows: int | None = None
    """Training losses read back from MLflow's database, for those that record."""
    seconds: float | None = None
    """Where it is not the wall time of the whole process that counts."""


def main(run: Callable[[Sixteen], Found]) -> None:
    """Read what is asked from the command line, run it, print what was found as the last line of stdout."""
    asked = Sixteen(**json.loads(sys.argv[1]))
    import torch

    torch.set_num_threads(asked.threads)
    print(json.dumps(asdict(run(asked))))
