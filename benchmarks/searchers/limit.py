"""The limit: the bare compute of the trials in processes of one thread, each pinned to a core of its own."""

import multiprocessing
import os
from typing import Any

from benchmarks.searchers.common import CONFIGS, Found, Sixteen, main


def run(asked: Sixteen) -> Found:
    """Seconds: those of the process that computed longest, imports and data left out."""
    shares = [list(range(first, len(CONFIGS), asked.threads)) for first in range(asked.threads)]
    # every process has its share of each batch size: they alternate in CONFIGS, so odd rounds are turned
    shares = [
        [(i // asked.threads) * asked.threads + (i + i // asked.threads) % asked.threads for i in s] for s in shares
    ]
    with multiprocessing.get_context("spawn").Pool(asked.threads) as pool:
        parts = pool.starmap(_share, [(asked, core, share) for core, share in enumerate(shares)], chunksize=1)
    accuracies = {index: accuracy for part in parts for index, accuracy in part["accuracies"].items()}
    return Found(
        [accuracies[index] for index in range(len(CONFIGS))],
        sum(part["images"] for part in parts),
        seconds=max(part["seconds"] for part in parts),
    )


def _share(asked: Sixteen, core: int, indices: list[int]) -> dict[str, Any]:
    import torch

    from benchmarks.contestants.limit import run as train_one

    torch.set_num_threads(1)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, [cores[core % len(cores)]])
    outcomes = {index: train_one(asked.job(CONFIGS[index], threads=1)) for index in indices}
    return {
        "accuracies": {index: outcome.accuracy for index, outcome in outcomes.items()},
        "images": sum(outcome.images for outcome in outcomes.values()),
        "seconds": sum(outcome.seconds for outcome in outcomes.values()),
    }


if __name__ == "__main__":
    main(run)
