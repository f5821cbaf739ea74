"""skorch's NeuralNetClassifier over torchvision's dataset."""

import time

import torch
from skorch import NeuralNetClassifier
from skorch.helper import predefined_split

from benchmarks.contestants.job import EVALUATED, Job, Outcome, batch_size, datasets, main, network


def run(job: Job) -> Outcome:
    torch.manual_seed(job.seed)
    train, val = datasets(job)
    net = NeuralNetClassifier(
        network(job),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=job.momentum,
        lr=job.lr,
        max_epochs=job.epochs,
        batch_size=batch_size(job),
        iterator_train__shuffle=True,
        iterator_valid__batch_size=EVALUATED,
        train_split=predefined_split(val),
        classes=list(range(10)),
        verbose=0,
    )
    net.initialize()
    start = time.perf_counter()
    net.partial_fit(train, None)
    return Outcome(time.perf_counter() - start, job.epochs * len(train), net.history[-1, "valid_acc"])


if __name__ == "__main__":
    main(run)
