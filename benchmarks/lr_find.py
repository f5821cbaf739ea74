"""`lr-find` beside a grid: the test accuracy with its suggestions, and the best of 12 rates.

    uv run python benchmarks/lr_find.py

Five small experiments, none of which chose the rule. The grid is 12 rates on a log scale over the optimizer's default
range. Prints a row per experiment; differences are in points of test accuracy, the mean of SEEDS seeds.
"""

from statistics import fmean

import numpy as np

import cnnlab
from cnnlab.config import read_config
from cnnlab.config.optimizers import OPTIMIZERS
from cnnlab.reading.range_test import range_test

SEEDS = 2
SHAPES: dict[str, object] = {"data.dataset": "shapes", "data.train_size": 1000}
FASHION: dict[str, object] = {"data.dataset": "fashion_mnist", "data.train_size": 1000, "training.epochs": 5}
EXPERIMENTS: dict[str, dict[str, object]] = {
    "digits cnn batch norm, muon": {"model.norm": "batch", "optimizer.name": "muon"},
    "fashion mlp adam": {**FASHION, "model.name": "mlp", "optimizer.name": "adam"},
    "fashion cnn sgd": FASHION,
    "shapes cnn nadam": {**SHAPES, "optimizer.name": "nadam"},
    "shapes cnn batch norm, adam": {**SHAPES, "model.norm": "batch", "optimizer.name": "adam"},
}


def accuracy(settings: dict[str, object], lr: float) -> float:
    """Mean on the test split; a training that diverged counts 0."""
    changed = {**settings, "optimizer.lr": lr, "place.threads": 1}  # also next to other work
    results = [cnnlab.train({**changed, "training.seed": seed}, tracking_uri="none") for seed in range(SEEDS)]
    return fmean(float(result["test_accuracy"] or 0) for result in results)


def main() -> None:
    print("experiment: accuracy of the best of the grid; of each suggestion, with its points to the best")
    for name, settings in EXPERIMENTS.items():
        config = read_config(None, {**settings, "place.threads": 1})[0]
        ends = OPTIMIZERS[config.optimizer.name].lr
        grid = {lr: accuracy(settings, lr) for lr in np.geomspace(ends["low"], ends["high"], 12).tolist()}
        best = max(grid, key=lambda lr: grid[lr])
        print(f"{name}: {grid[best]:.4f} at {best:.2g}", end="")
        for what, suggestion in zip(("tried", "tenth", "steepest"), range_test(config).suggestions(), strict=True):
            reached = accuracy(settings, suggestion.lr)
            print(f"; {what} {suggestion.lr:.2g}: {reached:.4f} ({100 * (reached - grid[best]):+.2f})", end="")
        print(flush=True)


if __name__ == "__main__":
    main()
