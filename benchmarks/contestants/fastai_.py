"""fastai's Learner over the same DataLoaders."""

import time

import fastai.callback.progress  # noqa: F401  (gives Learner its no_bar)
import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.optimizer import OptimWrapper

from benchmarks.contestants.job import Job, Outcome, loaders, main, network


def run(job: Job) -> Outcome:
    torch.manual_seed(job.seed)
    train, val = loaders(job)
    learner = Learner(
        DataLoaders(train, val, device=torch.device("cpu")),
        network(job),
        loss_func=CrossEntropyLossFlat(),
        opt_func=lambda parameters, lr, **_: OptimWrapper(parameters, torch.optim.SGD, lr=lr, momentum=job.momentum),
        lr=job.lr,
        metrics=accuracy,
        path=job.scratch,
    )
    start = time.perf_counter()
    with learner.no_bar(), learner.no_logging():
        learner.fit(job.epochs)
    seconds = time.perf_counter() - start
    return Outcome(seconds, job.epochs * len(train.dataset), float(learner.recorder.values[-1][-1]))


if __name__ == "__main__":
    main(run)
