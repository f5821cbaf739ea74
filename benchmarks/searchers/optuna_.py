"""Optuna over a plain PyTorch loop, or over Lightning with MLFlowLogger at every step (`lightning` as second word)."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from benchmarks.contestants.job import Job, Outcome, rows_in_all_runs
from benchmarks.searchers.common import BATCH_SIZES, CONFIGS, LEARNING_RATES, MOMENTA, Found, Sixteen, main


def run(asked: Sixteen) -> Found:
    record = "lightning" in sys.argv[2:]
    train = _train_by_lightning if record else _train_by_plain_loop
    outcomes = _optimize(asked, train)
    rows = rows_in_all_runs(Path(asked.scratch, "mlflow.db"), "train/loss") if record else None
    return Found([outcome.accuracy for outcome in outcomes], sum(outcome.images for outcome in outcomes), rows)


def _optimize(asked: Sixteen, train: Callable[[Job], Outcome]) -> list[Outcome]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{asked.scratch}/optuna.db", direction="maximize")
    outcomes: list[Outcome] = []

    def objective(trial: optuna.Trial) -> float:
        config: dict[str, Any] = {
            "lr": trial.suggest_float("lr", min(LEARNING_RATES), max(LEARNING_RATES), log=True),
            "momentum": trial.suggest_float("momentum", min(MOMENTA), max(MOMENTA)),
            "batch_size": trial.suggest_categorical("batch_size", BATCH_SIZES),
        }
        outcomes.append(train(asked.job(config)))
        return outcomes[-1].accuracy

    for config in CONFIGS:
        study.enqueue_trial(config)
    study.optimize(objective, n_trials=len(CONFIGS))
    return outcomes


def _train_by_plain_loop(job: Job) -> Outcome:
    from benchmarks.contestants.plain import run

    return run(job)


def _train_by_lightning(job: Job) -> Outcome:
    from dataclasses import replace

    from benchmarks.contestants.lightning_ import run

    return run(replace(job, record=True))


if __name__ == "__main__":
    main(run)
