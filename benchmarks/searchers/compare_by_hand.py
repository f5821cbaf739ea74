"""The protocol of `cnnlab compare` as one would write it with Optuna and a plain loop: 3 optimizers, in turn."""

import sys
from dataclasses import replace
from typing import Any

import optuna
import torch
from scipy import stats
from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST

from benchmarks.contestants.job import EVALUATED, Job, loaders, network
from benchmarks.contestants.plain import loop
from benchmarks.contestants.workloads import WORKLOADS
from benchmarks.searchers.common import Found, Sixteen, main

OPTIMIZERS: dict[str, tuple[Any, float, float, float]] = {
    "sgd": (lambda p, lr: torch.optim.SGD(p, lr), 0.05, 1e-3, 1.0),
    "momentum": (lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9), 0.05, 1e-3, 1.0),
    "adam": (lambda p, lr: torch.optim.Adam(p, lr), 0.001, 1e-4, 1e-1),
}
"""Name -> how it is made, its default learning rate, the range of the search."""


def run(asked: Sixteen) -> Found:
    trials, seeds = map(int, sys.argv[2:4])
    images, scores = 0, {}
    for name, (make, default, low, high) in OPTIMIZERS.items():
        best = _search(asked, make, default, low, high, trials)
        again = [_train(asked.job({}, seed=1000 + seed), make, lr) for lr in (best, default) for seed in range(seeds)]
        scores[name] = [test for _, test in again[:seeds]]
        images += (trials + len(again)) * asked.epochs * asked.train_size
    for a, b in (("sgd", "momentum"), ("sgd", "adam"), ("momentum", "adam")):
        stats.ttest_rel(scores[a], scores[b])
        stats.wilcoxon(scores[a], scores[b])
    return Found([sum(values) / len(values) for values in scores.values()], images)


def _search(asked: Sixteen, make: Any, default: float, low: float, high: float, trials: int) -> float:
    """The learning rate with the best validation accuracy."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.QMCSampler(scramble=True, seed=0, warn_independent_sampling=False)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial({"lr": default})
    study.optimize(
        lambda trial: _train(asked.job({}), make, trial.suggest_float("lr", low, high, log=True))[0], n_trials=trials
    )
    return float(study.best_params["lr"])


def _train(job: Job, make: Any, lr: float) -> tuple[float, float]:
    """Accuracy on the validation split after the last epoch, and on the test split."""
    torch.manual_seed(job.seed)
    model = network(replace(job, lr=lr))
    outcome = loop(job, model, make(model.parameters(), lr), *loaders(job), backward=lambda loss: loss.backward())
    test = FashionMNIST(job.data, train=False, transform=WORKLOADS[job.workload].transform(False))
    with torch.no_grad():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in DataLoader(test, EVALUATED))
    return outcome.accuracy, right / len(test)


if __name__ == "__main__":
    main(run)
