"""cnnlab as a user runs it: the command, with MLflow recording the loss of every step."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.contestants.job import Job, Outcome, main, rows_in_database
from benchmarks.contestants.workloads import WORKLOADS


def run(job: Job) -> Outcome:
    settings = {
        "--schedule": "constant",
        "--epochs": job.epochs,
        "--lr": job.lr,
        "--momentum": job.momentum,
        "--seed": job.seed,
        "--precision": job.precision,
        "--device": "cpu",
        "--tracking-uri": f"sqlite:///{job.scratch}/mlflow.db",
    }
    words = WORKLOADS[job.workload].flags(job.data) + [str(word) for pair in settings.items() for word in pair]
    done = subprocess.run(
        [sys.executable, "-m", "cnnlab", "train", *words, "-s", f"data.val_fraction={job.val_fraction}", "--json"],
        cwd=job.scratch,
        stdout=subprocess.PIPE,
        check=True,
    )
    result = json.loads(done.stdout)
    train_size = round(result["images_per_second"] * result["fit_seconds"])
    return Outcome(
        seconds=result["fit_seconds"],
        images=train_size,
        accuracy=result["val_accuracy"],
        rows=rows_in_database(Path(job.scratch, "mlflow.db"), "train/loss"),
    )


if __name__ == "__main__":
    main(run)
