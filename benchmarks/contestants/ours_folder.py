"""cnnlab on a folder of images: `fresh` decodes them, without it the decoded images of an earlier run are there.

Unlike the other contestants its clock starts before the data: decoding is what this workload is about.
"""

import time
from pathlib import Path

from benchmarks.contestants.job import Job, Outcome, main
from benchmarks.contestants.workloads import WORKLOADS
from cnnlab.config import read_config
from cnnlab.config.run_config import FLAGS
from cnnlab.records import Epoch
from cnnlab.run import create_run, prepare, record_run


def run(job: Job) -> Outcome:
    words = WORKLOADS[job.workload].flags(job.data)
    flags = {
        FLAGS[flag.lstrip("-").replace("-", "_")]: value for flag, value in zip(words[::2], words[1::2], strict=True)
    }
    flags["data.batch_size"] = int(flags["data.batch_size"])
    config, _ = read_config(
        None,
        {
            **flags,
            "schedule.name": "constant",
            "optimizer.lr": job.lr,
            "optimizer.momentum": job.momentum,
            "training.epochs": job.epochs,
            "training.seed": job.seed,
        },
    )
    if not job.fresh:
        prepare(config)
    start = time.perf_counter()
    prepared = prepare(config)
    records = list(record_run(prepared, create_run(config, "benchmark", "none", Path(job.scratch, "run"))))
    seconds = time.perf_counter() - start
    accuracy = [record.val["accuracy"] for record in records if isinstance(record, Epoch)][-1]
    return Outcome(seconds, job.epochs * len(prepared.dataset.train), accuracy)


if __name__ == "__main__":
    main(run)
