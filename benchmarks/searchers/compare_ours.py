"""`cnnlab compare` as a user runs it, MLflow recording the loss of every step."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.searchers.common import Found, Sixteen, main
from cnnlab.records import Epoch
from cnnlab.tracking import read


def run(asked: Sixteen) -> Found:
    trials, seeds = sys.argv[2:4]
    settings = {
        "--optimizers": "sgd,momentum,adam",
        "--tunings": "1",
        "--trials": trials,
        "--seeds": seeds,
        "--dataset": "fashion_mnist",
        "--data-root": asked.data,
        "--schedule": "constant",
        "--epochs": str(asked.epochs),
        "--set": f"data.train_size={asked.train_size}",
        "--device": "cpu",
        "--precision": "fp32",
        "--tracking-uri": f"sqlite:///{asked.scratch}/mlflow.db",
    }
    words = [word for pair in settings.items() for word in pair]
    done = subprocess.run(
        [sys.executable, "-m", "cnnlab", "compare", *words, "--json", "--quiet"],
        cwd=asked.scratch,
        check=True,
        capture_output=True,
        text=True,
    )
    found = {arm["name"]: arm["mean"] for arm in json.loads(done.stdout)["optimizers"]}
    epochs = sum(
        isinstance(record, Epoch)
        for journal in Path(asked.scratch).glob("mlruns/studies/*/*/**/journal.jsonl")
        for record in read(journal)[0]
    )
    return Found([found[name] for name in ("sgd", "momentum", "adam")], epochs * asked.train_size)


if __name__ == "__main__":
    main(run)
