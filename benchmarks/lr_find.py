"""`lr-find` beside a grid: the test accuracy with its first suggestion, and the best of 12 rates.

    uv run python benchmarks/lr_find.py

Five small experiments; the grid is 12 rates on a log scale over the optimizer's default range. Prints a row per
experiment; differences are in points of test accuracy, one seed.
"""

import numpy as np

import cnnlab
from cnnlab.config import read_config
from cnnlab.config.optimizers import OPTIMIZERS
from cnnlab.reading.range_test import range_test

EXPERIMENTS: dict[str, dict[str, object]] = {
    "digits cnn sgd": {},
    "digits cnn adam": {"optimizer.name": "adam"},
    "digits mlp rmsprop": {"model.name": "mlp", "optimizer.name": "rmsprop"},
    "digits cnn batch norm, sgd 0": {"model.norm": "batch", "optimizer.momentum": 0},
    "digits cnn, elu, muon": {"model.activation": "elu", "optimizer.name": "muon"},
}


def accuracy(settings: dict[str, object], lr: float) -> float:
    """On the test split; 0 if the training diverged."""
    result = cnnlab.train({**settings, "optimizer.lr": lr}, tracking_uri="none")
    return float(result["test_accuracy"] or 0)


def main() -> None:
    print(f"{'experiment':30}{'tenth':>8}{'steepest':>10}{'best of grid':>14}   accuracies; points to the best")
    for name, settings in EXPERIMENTS.items():
        config = read_config(None, settings)[0]
        rates = [suggestion.lr for suggestion in range_test(config).suggestions()]
        ends = OPTIMIZERS[config.optimizer.name].lr
        grid = {lr: accuracy(settings, lr) for lr in np.geomspace(ends["low"], ends["high"], 12).tolist()}
        best = max(grid, key=lambda lr: grid[lr])
        tenth, steepest = (accuracy(settings, lr) for lr in rates)
        print(
            f"{name:30}{rates[0]:8.2g}{rates[1]:10.2g}{best:14.2g}   {tenth:.4f} {steepest:.4f} {grid[best]:.4f}; "
            f"{100 * (tenth - grid[best]):+.2f} {100 * (steepest - grid[best]):+.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
