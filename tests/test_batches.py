"""Batches: every image once an epoch, in an order that can be recomputed from anywhere."""

import pytest
import torch
from scipy.stats import beta, kstest

from cnnlab.data import Batches, placement
from tests.runs import small_dataset

CPU = torch.device("cpu")
TRAIN = small_dataset(50).train
ALL = ("flip", "crop", "cutout", "rotate", "jitter", "erase")


def batches(**settings: object) -> Batches:
    return Batches(TRAIN, **({"batch_size": 8, "seed": 3, "device": CPU} | settings))  # type: ignore[arg-type]


def epoch(made: Batches, number: int = 0, first: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(made.epoch(number, first))


def test_an_epoch_has_every_image_once_and_the_last_batch_is_the_rest() -> None:
    made = batches()
    found = epoch(made)
    assert [len(labels) for _, labels in found] == [8] * 6 + [2]
    assert len(made) == 7
    seen = torch.cat([images for images, _ in found]).flatten(1)
    expected = TRAIN.inputs.flatten(1)
    assert sorted(seen.tolist()) == sorted(expected.tolist())
    for image, label in zip(seen, torch.cat([labels for _, labels in found]), strict=True):
        assert TRAIN.targets[(expected == image).all(1)].tolist() == [label.item()]


@pytest.mark.parametrize("residence", ["device", "stream"])
@pytest.mark.parametrize("first", [0, 6])
def test_a_last_batch_of_one_is_joined_to_the_one_before_if_asked(residence: str, first: int) -> None:
    sizes = [len(labels) for _, labels in epoch(batches(batch_size=7, residence=residence, workers=1))]
    assert sizes == [7] * 7 + [1]
    joined = batches(batch_size=7, residence=residence, workers=1, join_single=True)
    assert [len(labels) for _, labels in epoch(joined, 0, first)] == ([7] * 6 + [8])[first:]
    assert len(joined) == 7
    assert [len(labels) for _, labels in epoch(batches(batch_size=1, join_single=True))] == [1] * 50, "each is one"


@pytest.mark.parametrize("residence", ["device", "stream"])
@pytest.mark.parametrize("first", [0, 1, 5, 7])
def test_an_epoch_can_be_entered_anywhere_with_the_same_batches(residence: str, first: int) -> None:
    whole = epoch(batches(augmentations=(*ALL, "mixup")), 2)
    entered = epoch(batches(augmentations=(*ALL, "mixup"), residence=residence, workers=1), 2, first)
    assert len(entered) == len(whole) - first
    for (images, labels), (expected, classes) in zip(entered, whole[first:], strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(labels, classes)


def test_more_workers_than_cores_are_not_worth_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._utils.cpu_count", lambda: 1)  # PyTorch warns, and here a warning is an error
    assert len(epoch(batches(residence="stream", workers=2))) == 7


def test_epochs_and_seeds_differ() -> None:
    one, two, other = epoch(batches(), 0), epoch(batches(), 1), epoch(batches(seed=4), 0)
    assert not torch.equal(one[0][0], two[0][0])
    assert not torch.equal(one[0][0], other[0][0])


def test_neither_order_nor_augmentation_depends_on_the_batch_size() -> None:
    small, large = batches(augmentations=ALL), batches(augmentations=ALL, batch_size=50)
    assert torch.equal(torch.cat([images for images, _ in epoch(small)]), epoch(large)[0][0])


def test_a_batch_is_mixed_in_shares_of_the_beta_distribution() -> None:
    made = batches(augmentations=["mixup"], batch_size=1, mixup_alpha=0.4)
    weights = [targets[0, 2].item() for number in range(10) for _, targets in epoch(made, number)]
    assert kstest(weights, beta(0.4, 0.4).cdf).pvalue > 0.01
    plain = torch.cat([labels for _, labels in epoch(batches())])
    assert torch.equal(torch.cat([targets[:, 0] for _, targets in epoch(made)]), plain.float())


def test_on_the_cpu_everything_fits() -> None:
    assert placement("auto", 10**15, CPU) == "device"
    assert placement("stream", 1, CPU) == "stream"
