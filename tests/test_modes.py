"""Training mode where weights are trained, evaluation mode where they are measured, whatever mode was left behind."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cnnlab.config import RunConfig
from cnnlab.data import Dataset, load
from cnnlab.errors import BadInput
from cnnlab.models import Normalize, build
from cnnlab.records import Epoch, Record, RunEnded
from cnnlab.seeds import derive
from cnnlab.training import Learner, fit, load_latest
from tests.runs import losses_of, small_config, small_dataset

NETWORKS: dict[str, dict[str, object]] = {
    "cnn": {"model__norm": "batch", "model__dropout": 0.3},
    "mlp": {"model__name": "mlp", "model__dropout": 0.3},
    "lenet5": {"model__name": "lenet5", "data__resize": 16},
    "resnet20": {"model__name": "resnet20"},
    "torchvision/resnet18": {"model__name": "torchvision/resnet18", "data__resize": 32},
    "torchvision/squeezenet1_1, which has dropout": {"model__name": "torchvision/squeezenet1_1", "data__resize": 32},
}


def config_of(case: str) -> RunConfig:
    # a small rate: the last blocks of resnet18 see 1x1 pixels, whose statistics make much of the last bits
    small = {"data__train_size": 64, "data__batch_size": 32, "training__epochs": 2, "optimizer__lr": 0.001}
    return small_config(**small, **NETWORKS[case])


def plain(config: RunConfig, dataset: Dataset) -> tuple[list[float], list[float]]:
    """Losses of the steps, and of the validation split after each epoch, as anyone would write it."""
    seed, train, val = config.training.seed, dataset.train, dataset.val
    normalize = Normalize.of(train.inputs)
    model = build(config.model, dataset.image_shape, len(dataset.classes), derive(seed, "init"))
    optimizer = torch.optim.SGD(model.parameters(), lr=config.optimizer.lr, momentum=0.9)
    per_epoch = math.ceil(len(train) / 32)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, per_epoch * config.training.epochs)
    losses, validated = [], []
    for epoch in range(config.training.epochs):
        model.train()
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(derive(seed, "order", epoch)))
        for batch, indices in enumerate(order.split(32)):
            torch.manual_seed(derive(seed, "dropout", epoch, batch))
            loss = F.cross_entropy(model(normalize(train.inputs[indices])), train.targets[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        model.eval()
        with torch.no_grad():
            validated.append(F.cross_entropy(model(normalize(val.inputs)), val.targets).item())
    return losses, validated


def validated(records: list[Record]) -> list[float]:
    return [record.val["loss"] for record in records if isinstance(record, Epoch)]


@pytest.mark.parametrize("case", NETWORKS)
def test_the_first_epoch_the_one_after_a_validation_and_the_one_after_a_resume_equal_plain_pytorch(case: str) -> None:
    config = config_of(case)
    dataset = load(config.data, 0)
    losses, validation = plain(config, dataset)
    whole = list(fit(Learner(config, dataset)))
    assert losses_of(whole) == pytest.approx(losses, rel=2e-3)
    assert validated(whole) == pytest.approx(validation, rel=2e-3)

    first: list[Record] = []
    running = fit(Learner(config, dataset), Path("run"))
    for record in running:
        first.append(record)
        if isinstance(record, Epoch):
            break
    running.close()
    start = load_latest(Path("run/checkpoints"), 10**9)
    rest = list(fit(Learner(config, dataset), Path("run"), start))
    assert losses_of(first) + losses_of(rest) == losses_of(whole)


ONE_BY_ONE = {
    "model__channels": [8],
    "model__kernel_size": 8,
    "model__padding": "valid",
    "model__pool": "none",
    "model__norm": "batch",
}
"""Batch normalisation over 1x1 pixels: it sees as many values per channel as there are images in the batch."""


@pytest.mark.parametrize(
    "batches", [{"data__batch_size": 16}, {"data__batch_size": 8, "training__accumulate": 4}], ids=str
)
def test_no_batch_is_so_small_that_batch_normalisation_has_a_single_value(batches: dict[str, object]) -> None:
    config, dataset = small_config(**ONE_BY_ONE, training__epochs=1, **batches), small_dataset(65)
    records = list(fit(Learner(config, dataset)))
    assert isinstance(records[-1], RunEnded)
    assert records[-1].status == "finished"


def test_batches_of_one_are_refused_where_batch_normalisation_would_have_a_single_value() -> None:
    config, dataset = small_config(**ONE_BY_ONE, data__batch_size=1), small_dataset()
    with pytest.raises(BadInput, match=r"data\.batch_size: 1 is not allowed for this network"):
        Learner(config, dataset)
    larger = small_config(model__norm="batch", data__batch_size=1, training__epochs=1)
    assert isinstance(list(fit(Learner(larger, dataset)))[-1], RunEnded), "4x4 pixels are enough"
