"""Tasks and losses against scikit-learn and against formulas written out, and a task of another kind."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score
from torch import Tensor, nn

from cnnlab.config.data import TASKS as TASK_ENTRIES
from cnnlab.config.data import TaskConfig, TaskEntry
from cnnlab.config.losses import CrossEntropy, Hinge, LossConfig
from cnnlab.data import Split, mixup
from cnnlab.metrics import LOSS, Measured, Metric
from cnnlab.models import Normalize
from cnnlab.records import CheckpointSealed, RunEnded, Steps
from cnnlab.tasks import TASKS, Task, make_task
from cnnlab.tasks.classification import accuracy, count_cells, square
from cnnlab.tasks.loss_functions import CLASS_LOSSES, Loss
from cnnlab.tasks.segmentation import intersection_over_union
from cnnlab.training import Learner, fit, load_latest
from cnnlab.training.network import Network, measure_part, trained_form
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


@pytest.mark.parametrize("name", ["cross_entropy", "hinge", "perceptron"])
def test_a_batchs_loss_is_the_mean_of_its_samples_losses(name: str) -> None:
    loss = make_loss(small_config(loss__name=name).loss)
    each = [loss.mean(SCORES[i : i + 1], CLASSES[i : i + 1]).item() for i in range(40)]
    assert loss.mean(SCORES, CLASSES).item() == pytest.approx(np.mean(each), rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "hinge"])
def test_the_loss_of_mixed_images_is_that_of_both_classes_by_their_weights(name: str) -> None:
    config = small_config(loss__name=name)
    task, loss = make_task(config, "abcde", (1, 8, 8)), make_loss(config.loss)
    classes = CLASSES
    _, mixed = mixup(torch.zeros(40, 1, 8, 8, dtype=torch.uint8), classes, 0.3)
    found = task.loss(SCORES, mixed)
    wanted = 0.3 * loss.mean(SCORES, classes) + 0.7 * loss.mean(SCORES, classes.flip(0))
    torch.testing.assert_close(found, wanted)
    if name == "cross_entropy":  # as PyTorch's with probabilities
        shares = 0.3 * F.one_hot(classes, 5) + 0.7 * F.one_hot(classes.flip(0), 5)
        torch.testing.assert_close(found, F.cross_entropy(SCORES, shares))
    right = [(SCORES.argmax(1) == either).sum() for either in (classes, classes.flip(0))]
    assert task.step_sums(SCORES, mixed).item() == pytest.approx((0.3 * right[0] + 0.7 * right[1]).item())


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
    network = Network(task, trained_form(inner, Normalize.of(dataset.train.inputs)), torch.device("cpu"), "fp32")
    split = Split(dataset.train.inputs.repeat(40, 1, 1, 1), dataset.train.targets.repeat(40))  # several chunks
    found = task.metrics([measure_part(network, split, rank, ranks) for rank in range(ranks)], len(split))
    with torch.no_grad():
        logits = network.model.eval()(split.inputs)
    assert found.metrics["loss"] == pytest.approx(F.cross_entropy(logits, split.targets).item(), rel=1e-5)
    assert found.metrics["accuracy"] == (logits.argmax(1) == split.targets).float().mean().item()
    assert np.array_equal(found.confusion, confusion_matrix(split.targets, logits.argmax(1)))


RECALL = Metric("recall", unit="%")


class Matching(Task):
    """Images and the names of their classes are drawn together by two networks and a loss over the whole batch.

    As in Radford et al. 2021, figure 3, where the temperature is trained too.
    """

    additive = False
    output_shape = (8,)

    def build(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        size = torch.Size(self.image_shape).numel()
        images = nn.Sequential(nn.Flatten(), nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, 8))
        return nn.ParameterDict({"images": images, "words": nn.Embedding(3, 8), "scale": nn.Parameter(torch.ones(()))})

    def forward(self, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """(N, 2, 8)"""
        pairs = torch.stack([network["images"](images), network["words"](targets)], 1)  # type: ignore[index]
        return F.normalize(pairs, dim=2) * network["scale"].exp()  # type: ignore[index]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        scores = outputs[:, 0] @ outputs[:, 1].T
        return F.cross_entropy(scores, (same := (targets[:, None] == targets).float()) / same.sum(1, keepdim=True))

    def step_sums(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.zeros(())

    def step_metrics(self, sums: Sequence[float], samples: int) -> dict[str, float]:
        return {}

    def measure(self, answered: Iterable[tuple[Tensor, Tensor]]) -> Any:
        outputs, targets = zip(*answered, strict=True)
        return torch.cat(outputs), torch.cat(targets)

    def metrics(self, parts: Sequence[Any], samples: int) -> Measured:
        """The share of images whose nearest word, among those of all samples, is their own: no sum over samples."""
        outputs, targets = (torch.cat(columns) for columns in zip(*parts, strict=True))
        nearest = targets[(outputs[:, 0] @ outputs[:, 1].T).argmax(1)]
        loss = self.loss(outputs, targets).item()
        return Measured({"loss": loss, "recall": (nearest == targets).float().mean().item()})


def test_a_task_may_have_two_networks_and_a_loss_and_a_measurement_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It needs a class and an entry in the config, and is trained, recorded, resumed and loaded as any other."""
    entry = TaskEntry(model="cnn", loss="cross_entropy", optimizer="sgd", metrics=(LOSS, RECALL), score=RECALL)
    monkeypatch.setitem(TASK_ENTRIES, "matching", entry)
    monkeypatch.setitem(TASKS, "matching", Matching)
    config = small_config(training__epochs=15, optimizer__lr=0.1, training__checkpoint_every=3)
    config = config.model_copy(update={"task": TaskConfig.model_construct(name="matching", score=None)})
    dataset = small_dataset(classes=3)
    whole = list(fit(Learner(config, dataset)))
    ended = whole[-1]
    assert isinstance(ended, RunEnded)
    assert ended.test["recall"] > 0.9
    assert ended.score == "recall"
    learner = Learner(config, dataset)
    assert learner.ranks.count == 1
    scale = learner.network.model.network["scale"].detach().clone()  # type: ignore[index, union-attr]
    running = fit(learner, tmp_path)
    while not isinstance(next(running), CheckpointSealed):
        pass
    running.close()
    assert learner.network.model.network["scale"] != scale, "the loss's own weight is trained"  # type: ignore[index, union-attr]
    start = load_latest(tmp_path / "checkpoints", 10**9)
    rest = list(fit(Learner(config, dataset), tmp_path, start))
    assert isinstance(rest[-1], RunEnded)
    assert rest[-1].weights_sha256 == ended.weights_sha256
