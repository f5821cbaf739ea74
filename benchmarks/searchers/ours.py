"""`cnnlab sweep` as a user runs it, MLflow recording the loss of every step of every trial."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.contestants.job import rows_in_all_runs
from benchmarks.searchers.common import BATCH_SIZES, CONFIGS, LEARNING_RATES, MOMENTA, Found, Sixteen, main
from cnnlab.records import Epoch
from cnnlab.tracking import read


def run(asked: Sixteen) -> Found:
    space = {"lr": LEARNING_RATES, "momentum": MOMENTA, "batch_size": BATCH_SIZES}
    words = [f"--search={name}={','.join(map(str, values))}" for name, values in space.items()]
    settings = {
        "--sampler": "grid",
        "--pruner": "none",
        "--confirm": 0,
        "--trials": len(CONFIGS),
        "--workers": asked.workers or "auto",
        "--dataset": "fashion_mnist",
        "--data-root": asked.data,
        "--schedule": "constant",
        "--epochs": asked.epochs,
        "--set": f"data.train_size={asked.train_size}",
        "--device": "cpu",
        "--precision": asked.precision,
        "--tracking-uri": f"sqlite:///{asked.scratch}/mlflow.db",
    }
    words += [str(word) for pair in settings.items() for word in pair]
    subprocess.run(
        [sys.executable, "-m", "cnnlab", "sweep", *words, "--json", "--quiet"], cwd=asked.scratch, check=True
    )
    accuracies, images = {}, 0
    for journal in Path(asked.scratch).glob("mlruns/studies/*/trials/*/journal.jsonl"):
        records = read(journal)[0]
        config = records[0].config
        epochs = [record for record in records if isinstance(record, Epoch)]
        key = json.dumps([config["optimizer"]["lr"], config["optimizer"]["momentum"], config["data"]["batch_size"]])
        accuracies[key] = epochs[-1].val["accuracy"]
        images += len(epochs) * asked.train_size
    found = [accuracies[json.dumps(list(config.values()))] for config in CONFIGS]
    return Found(found, images, rows_in_all_runs(Path(asked.scratch, "mlflow.db"), "train/loss"))


if __name__ == "__main__":
    main(run)
