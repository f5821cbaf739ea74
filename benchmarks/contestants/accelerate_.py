"""The plain loop, prepared by Accelerate."""

import torch
from accelerate import Accelerator

from benchmarks.contestants.job import Job, Outcome, loaders, main, network
from benchmarks.contestants.plain import loop


def run(job: Job) -> Outcome:
    torch.manual_seed(job.seed)
    accelerator = Accelerator(cpu=True)
    model = network(job)
    optimizer = torch.optim.SGD(model.parameters(), lr=job.lr, momentum=job.momentum)
    prepared = accelerator.prepare(model, optimizer, *loaders(job))
    return loop(job, *prepared, backward=accelerator.backward)


if __name__ == "__main__":
    main(run)
