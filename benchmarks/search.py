"""Quality for compute:   uv run python benchmarks/search.py

How many training images each pair of sampler and pruner needs to reach the validation accuracy that 30 unpruned trials
of TPE reach, and the baseline that trains all for one epoch and finishes the best few (arXiv 2307.15422). Real training
of the default search space on Fashion-MNIST; a seed is a whole repetition: other trials, other weights. As many seeds
run at a time as there are cores, each in a process with one core. A configuration is trained once a seed and its curve
kept, so that pairs that ask for the same trial see the same.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

REFERENCE = ("tpe", "none")
PAIRS = [
    ("tpe", "median"),
    ("tpe", "asha"),
    ("tpe", "hyperband"),
    ("tpe", "patient"),
    ("random", "none"),
    ("random", "median"),
    ("random", "asha"),
    ("qmc", "none"),
    ("qmc", "asha"),
    ("gp", "none"),
    ("gp", "asha"),
]
BASELINE = "one epoch for all, then the best few"
ROUND, FINISHED = 30, 3
"""The baseline trains so many for one epoch and the best so many to their end, and begins anew."""
MOST = 200
"""Trials after which a pair is given up."""


class Curves:
    """The validation accuracy after each epoch of every configuration asked for, trained as far as it was asked for."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self._training: dict[str, tuple[list[float], Iterator[Any], int]] = {}

    def after(self, config: Any, epoch: int) -> float | None:
        """None where it has diverged by then."""
        from cnnlab.records import Epoch

        key = config.model_dump_json()
        if key not in self._training:
            self._training[key] = self._begin(config)
        values, records, _ = self._training[key]
        while len(values) < epoch:
            record = next((record for record in records if isinstance(record, Epoch)), None)
            if record is None:
                return None
            values.append(record.val["accuracy"])
        return values[epoch - 1]

    def images(self, config: Any) -> int:
        """Training images an epoch."""
        return self._training[config.model_dump_json()][2]

    def whole(self, epochs: int) -> list[list[float]]:
        """The curves that were trained to their end."""
        return [values for values, _, _ in self._training.values() if len(values) == epochs]

    def _begin(self, config: Any) -> tuple[list[float], Iterator[Any], int]:
        from cnnlab.training import Learner, fit

        return [], fit(Learner(config, self.dataset)), len(self.dataset.train)


Progress = list[tuple[int, float]]
"""(training images so far, best value of a trial trained to its end so far), after each trial."""


def pair(plan: Any, curves: Curves, enough: Callable[[Progress], bool]) -> Progress:
    """Trials one after the other, as `cnnlab sweep --workers 1` has them, until it is enough."""
    import optuna
    from optuna.trial import Trial, TrialState

    from cnnlab.search.claims import claim, tell
    from cnnlab.search.slots import INFEASIBLE
    from cnnlab.search.stages import Search

    search, study = Search(plan), optuna.create_study(direction="maximize")
    progress: Progress = []
    images, best = 0, 0.0
    while not enough(progress) and (slot := claim(study, plan.trials, search.first_params)):
        study.sampler, study.pruner = search.sampler(slot.number), search.pruner(slot.number)
        trial = Trial(study, slot.trial._trial_id)
        config = search.configs(slot.number, trial)[0]
        values, pruned = [], False
        for epoch in range(1, config.training.epochs + 1):
            value = curves.after(config, epoch)
            images += curves.images(config)
            if value is None:
                break
            values.append(value)
            trial.report(value, epoch)
            if pruned := trial.should_prune():
                break
        if pruned:
            tell(study, trial, TrialState.PRUNED)
        elif len(values) < config.training.epochs:
            tell(study, trial, TrialState.COMPLETE, 0.0, {INFEASIBLE: "diverged"})
        else:
            tell(study, trial, TrialState.COMPLETE, max(values))
            best = max(best, *values)
        progress.append((images, best))
    return progress


def baseline(plan: Any, curves: Curves, enough: Callable[[Progress], bool]) -> Progress:
    """All of a round for one epoch, the best few of it to their end; then the next round."""
    import optuna
    from optuna.trial import Trial

    from cnnlab.search.claims import claim
    from cnnlab.search.stages import Search

    search, study = Search(plan), optuna.create_study(direction="maximize")
    progress: Progress = []
    images, best, epochs = 0, 0.0, plan.config.training.epochs
    while not enough(progress):
        begun = []
        for _ in range(ROUND):
            slot = claim(study, plan.trials, search.first_params)
            if slot is None:
                return progress
            study.sampler = search.sampler(slot.number)
            config = search.configs(slot.number, Trial(study, slot.trial._trial_id))[0]
            begun.append((curves.after(config, 1) or 0.0, slot.number, config))
            images += curves.images(config)
        for _, _, config in sorted(begun, key=lambda item: -item[0])[:FINISHED]:
            values = [curves.after(config, epoch) or 0.0 for epoch in range(1, epochs + 1)]
            images += curves.images(config) * (epochs - 1)
            best = max(best, *values)
            progress.append((images, best))
    return progress


def one_seed(asked: tuple[int, argparse.Namespace]) -> dict[str, Any]:
    """Everything for one seed; images needed by name, None where the accuracy was not reached within the cap."""
    from scipy.stats import spearmanr

    from cnnlab.data import load

    seed, arguments = asked
    _pin(seed)
    began = time.perf_counter()

    def plan(sampler: str, pruner: str, trials: int = MOST) -> Any:
        return _plan(arguments, seed, sampler, pruner, trials)

    curves = Curves(load(plan(*REFERENCE).config.data, seed))
    reference = pair(plan(*REFERENCE, arguments.trials), curves, lambda progress: False)
    cap, target = reference[-1]

    def enough(progress: Progress) -> bool:
        return bool(progress) and (progress[-1][1] >= target or progress[-1][0] >= arguments.cap * cap)

    needed: dict[str, int | None] = {}
    for sampler, pruner in PAIRS:
        needed[f"{sampler} + {pruner}"] = _reached(pair(plan(sampler, pruner), curves, enough), target)
        print(f"seed {seed}: {sampler} + {pruner}, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    needed[BASELINE] = _reached(baseline(plan("random", "none"), curves, enough), target)
    whole = curves.whole(arguments.epochs)
    final = [max(values) for values in whole]
    ranks = [float(spearmanr([values[at] for values in whole], final).statistic) for at in range(arguments.epochs)]
    first = next(images for images, best in reference if best >= target)
    return {"seed": seed, "target": target, "images": cap, "first": first, "needed": needed, "ranks": ranks}


def _reached(progress: Progress, target: float) -> int | None:
    return next((images for images, best in progress if best >= target), None)


def _plan(arguments: argparse.Namespace, seed: int, sampler: str, pruner: str, trials: int) -> Any:
    from cnnlab.config import read_config
    from cnnlab.config.commands import SweepOptions
    from cnnlab.config.space_reading import read_space
    from cnnlab.search.plan import Plan

    config, _ = read_config(
        None,
        {
            "data.dataset": "fashion_mnist",
            "data.train_size": arguments.train_size,
            "data.val_fraction": 0.025,
            "training.epochs": arguments.epochs,
            "training.seed": seed,
            "place.threads": 1,
        },
    )
    options = SweepOptions.model_validate(
        {"trials": trials, "sampler": sampler, "pruner": pruner, "study": "benchmark"}
    )
    return Plan.of(config, read_space(config), options)


def _pin(seed: int) -> None:
    import torch

    torch.set_num_threads(1)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, [cores[seed % len(cores)]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=30, help="of the reference")
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--train-size", type=int, default=1000)
    parser.add_argument("--cap", type=float, default=1.0, help="give a pair up after so much of the reference's images")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "search.json")
    arguments = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        found = pool.map(one_seed, [(seed, arguments) for seed in range(arguments.seeds)], chunksize=1)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    _print(found, arguments)


def _print(found: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    print(
        f"{arguments.trials} unpruned trials of TPE: {statistics.median(f['images'] for f in found):,.0f} images, "
        f"accuracies reached {', '.join(format(f['target'], '.4f') for f in found)}; they had it after "
        f"{', '.join(format(f['first'] / f['images'], '.2f') for f in found)} of their images\n"
    )
    print("| | share of those images, median over seeds | each seed | reached |")
    print("|---|---|---|---|")
    for name in found[0]["needed"]:
        shares = [f["needed"][name] / f["images"] if f["needed"][name] else float("inf") for f in found]
        each = ", ".join("not" if share == float("inf") else f"{share:.2f}" for share in shares)
        middle = statistics.median(shares)
        text = f"more than {arguments.cap:g}" if middle == float("inf") else f"{middle:.2f}"
        print(f"| {name} | {text} | {each} | {sum(s < float('inf') for s in shares)} of {len(shares)} |")
    print("\nrank correlation (Spearman) of the accuracy after an epoch with the best of a whole training, median:")
    for epoch in range(arguments.epochs):
        print(f"  epoch {epoch + 1}: {statistics.median(f['ranks'][epoch] for f in found):.2f}")


if __name__ == "__main__":
    main()
