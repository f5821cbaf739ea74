"""Tasks and losses against scikit-learn and against formulas written out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score

from cnnlab.config.losses import CrossEntropy, Hinge, LossConfig
from cnnlab.data import Split
from cnnlab.models import Normalize
from cnnlab.records import RunEnded, Steps
from cnnlab.tasks import make_task
from cnnlab.tasks.confusion import accuracy, count_cells, intersection_over_union, square
from cnnlab.tasks.losses import CLASS_LOSSES, Loss
from cnnlab.training.evaluation import measured, share_of_split
from cnnlab.training.network import Network, trained_form
from tests.runs import records_of, small_config, small_dataset


def make_loss(config: LossConfig) -> Loss:
    return CLASS_LOSSES[type(config)](config)


GENERATOR = torch.Generator().manual_seed(3)
SCORES = torch.randn(40, 5, generator=GENERATOR)
CLASSES = torch.randint(0, 5, (40,), generator=GENERATOR)


@pytest.mark.parametrize("margin", [1.0, 0.3])
@pytest.mark.parametrize("squared", [False, True])
def test_the_hinge_loss_is_the_formula_written_out(margin: float, squared: bool) -> None:
    loss = make_loss(Hinge(margin=margin, squared=squared))
    each = []
    for scores, true in zip(SCORES.tolist(), CLASSES.tolist(), strict=True):
        lacking = [max(0.0, margin - scores[true] + other) for j, other in enumerate(scores) if j != true]
        each.append(sum(value**2 if squared else value for value in lacking) / len(scores))
    assert loss.mean(SCORES, CLASSES).item() == pytest.approx(np.mean(each), rel=1e-5)
    assert loss.total(SCORES, CLASSES).item() == pytest.approx(np.sum(each), rel=1e-5)


def test_cross_entropy_is_smoothed_in_training_alone() -> None:
    loss = make_loss(CrossEntropy(label_smoothing=0.3))
    assert loss.mean(SCORES, CLASSES) == F.cross_entropy(SCORES, CLASSES, label_smoothing=0.3)
    assert loss.total(SCORES, CLASSES) == F.cross_entropy(SCORES, CLASSES, reduction="sum")


@pytest.mark.parametrize("name", ["cross_entropy", "hinge"])
def test_a_batchs_loss_is_the_mean_of_its_samples_losses(name: str) -> None:
    loss = make_loss(small_config(loss__name=name).loss)
    assert loss.additive
    each = [loss.mean(SCORES[i : i + 1], CLASSES[i : i + 1]).item() for i in range(40)]
    assert loss.mean(SCORES, CLASSES).item() == pytest.approx(np.mean(each), rel=1e-5)


def test_a_network_learns_by_the_hinge_loss() -> None:
    records = records_of(small_config(loss__name="hinge", training__epochs=20, optimizer__lr=0.1))
    losses = [loss for record in records if isinstance(record, Steps) for loss in record.losses]
    ended = records[-1]
    assert isinstance(ended, RunEnded)
    assert losses[-1] < losses[0] / 2
    assert ended.test["accuracy"] > 0.9


@pytest.mark.parametrize("ignored", [None, 255])
def test_counts_accuracy_and_iou_are_scikit_learns(ignored: int | None) -> None:
    true = torch.randint(0, 4, (6, 8, 8), generator=GENERATOR)
    predicted = torch.where(torch.rand(true.shape, generator=GENERATOR) < 0.6, true, (true + 1) % 4)
    seen = torch.ones_like(true, dtype=torch.bool)
    if ignored is not None:
        seen = torch.rand(true.shape, generator=GENERATOR) < 0.8
        true = torch.where(seen, true, ignored)
    counts = square(count_cells(true, predicted, 4, ignored).tolist(), 4)
    t, p = true[seen].numpy(), predicted[seen].numpy()
    assert np.array_equal(counts, confusion_matrix(t, p, labels=range(4)))
    assert accuracy(counts) == pytest.approx(accuracy_score(t, p))
    assert intersection_over_union(counts) == pytest.approx(jaccard_score(t, p, average=None))


def test_what_is_not_there_has_no_iou() -> None:
    found = intersection_over_union(((3, 1, 0), (0, 4, 0), (0, 0, 0)))
    assert found[:2] == [0.75, 0.8]
    assert np.isnan(found[2])


@pytest.mark.parametrize("ranks", [1, 2, 40])  # 40 is more than there are chunks
def test_a_network_is_measured_without_an_optimizer(ranks: int) -> None:
    dataset = small_dataset(classes=3)
    task = make_task(small_config(), dataset.classes, dataset.image_shape)
    torch.manual_seed(0)
    inner = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(64, 3))
    network = Network(trained_form(inner, Normalize.of(dataset.train.inputs)), torch.device("cpu"), "fp32")
    split = Split(dataset.train.inputs.repeat(40, 1, 1, 1), dataset.train.targets.repeat(40))  # several chunks
    shares = [share_of_split(network, split, task, rank, ranks) for rank in range(ranks)]
    found = measured(shares, task, len(split))
    with torch.no_grad():
        logits = network.model.eval()(split.inputs)
    assert found.metrics["loss"] == pytest.approx(F.cross_entropy(logits, split.targets).item(), rel=1e-5)
    assert found.metrics["accuracy"] == (logits.argmax(1) == split.targets).float().mean().item()
    assert np.array_equal(found.confusion, confusion_matrix(split.targets, logits.argmax(1)))
