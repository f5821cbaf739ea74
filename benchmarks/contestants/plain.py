"""A plain PyTorch loop as the tutorials have it: torchvision's dataset, a DataLoader, loss.item() at every step."""

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.contestants.job import Job, Outcome, loaders, main, network


def run(job: Job) -> Outcome:
    torch.manual_seed(job.seed)
    model = network(job)
    optimizer = torch.optim.SGD(model.parameters(), lr=job.lr, momentum=job.momentum)
    return loop(job, model, optimizer, *loaders(job), backward=lambda loss: loss.backward())


def loop(
    job: Job, model: Any, optimizer: Any, train: Any, val: Any, backward: Callable[[torch.Tensor], None]
) -> Outcome:
    """Whole epochs, each followed by an evaluation."""
    images, losses, accuracy = 0, [], 0.0
    start = time.perf_counter()
    for _ in range(job.epochs):
        model.train()
        for x, y in train:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            backward(loss)
            optimizer.step()
            losses.append(loss.item())
            images += len(x)
        model.eval()
        with torch.no_grad():
            right = sum((model(x).argmax(1) == y).sum().item() for x, y in val)
        accuracy = right / len(val.dataset)
    return Outcome(time.perf_counter() - start, images, accuracy, losses[0])


if __name__ == "__main__":
    main(run)
