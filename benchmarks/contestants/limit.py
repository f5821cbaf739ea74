"""The limit: forward, backward, step and evaluation on tensors that are there already, nothing recorded.

Normalised float32 in channels_last, shuffled once before the clock starts, batches that are views, SGD in its fused
form, evaluation in inference mode. `precision` bf16 wraps the forward pass in autocast.
"""

import time
from contextlib import nullcontext

import torch
import torch.nn.functional as F

from benchmarks.contestants.job import EVALUATED, Job, Outcome, batch_size, main, network, tensors


def run(job: Job) -> Outcome:
    torch.manual_seed(job.seed)
    model = network(job).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=job.lr, momentum=job.momentum, fused=True)
    train_x, train_y, val_x, val_y = tensors(job)
    order = torch.randperm(len(train_x))
    train = _batches(train_x[order], train_y[order], batch_size(job))
    val = _batches(val_x, val_y, EVALUATED)
    images, first, accuracy = 0, None, 0.0
    start = time.perf_counter()
    for _ in range(job.epochs):
        model.train()
        for x, y in train:
            optimizer.zero_grad()
            with _cast(job):
                loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            first = loss if first is None else first
            images += len(x)
        model.eval()
        with torch.inference_mode(), _cast(job):
            accuracy = sum((model(x).argmax(1) == y).sum().item() for x, y in val) / len(val_x)
    return Outcome(time.perf_counter() - start, images, accuracy, first.item())


def _cast(job: Job) -> "torch.autocast | nullcontext[None]":
    return torch.autocast("cpu", dtype=torch.bfloat16) if job.precision == "bf16" else nullcontext()


def _batches(images: torch.Tensor, labels: torch.Tensor, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    images = images.contiguous(memory_format=torch.channels_last)
    return list(zip(images.split(size), labels.split(size), strict=True))


if __name__ == "__main__":
    main(run)
