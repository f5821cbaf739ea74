"""Ray Tune over the plain loop: a trial a core."""

from typing import Any

import ray
import torch
from ray import tune

from benchmarks.searchers.common import CONFIGS, Found, Sixteen, main


def run(asked: Sixteen) -> Found:
    def train(config: dict[str, Any]) -> None:
        from benchmarks.contestants.plain import run as train_one

        torch.set_num_threads(1)
        outcome = train_one(asked.job(CONFIGS[config["trial"]], threads=1))
        tune.report({"accuracy": outcome.accuracy, "images": outcome.images})

    ray.init(num_cpus=asked.threads, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    tuner = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        param_space={"trial": tune.grid_search(list(range(len(CONFIGS))))},
        tune_config=tune.TuneConfig(metric="accuracy", mode="max"),
        run_config=tune.RunConfig(storage_path=asked.scratch, verbose=0),
    )
    results = sorted(tuner.fit(), key=lambda result: result.config["trial"])
    ray.shutdown()
    return Found(
        [result.metrics["accuracy"] for result in results], sum(result.metrics["images"] for result in results)
    )


if __name__ == "__main__":
    main(run)
