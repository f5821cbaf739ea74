"""The loop against a dozen lines of plain PyTorch, and what it promises of bits, interruptions and divergence."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cnnlab.config import RunConfig, read_config
from cnnlab.data import Dataset, load
from cnnlab.models import Normalize, build
from cnnlab.records import CheckpointSealed, Epoch, Record, RunEnded, RunStarted, Steps
from cnnlab.seeds import derive
from cnnlab.training import Learner, fit, load_latest
from tests.runs import records_of, small_config, small_dataset

ANY_STEP = 10**9


def losses(records: list[Record]) -> list[float]:
    return [loss for record in records if isinstance(record, Steps) for loss in record.losses]


def end(records: list[Record]) -> RunEnded:
    assert isinstance(records[-1], RunEnded)
    return records[-1]


def plain_losses(config: RunConfig, dataset: Dataset, steps: int) -> list[float]:
    """What anyone would write: the same initial weights and order of the data, all else PyTorch's own."""
    seed, train = config.training.seed, dataset.train
    normalize = Normalize.of(train.inputs)
    model = build(config.model, dataset.image_shape, len(dataset.classes), derive(seed, "init"))
    optimizer = torch.optim.SGD(model.parameters(), lr=config.optimizer.lr, momentum=0.9)
    size = config.data.images_per_step(len(train))
    per_epoch = math.ceil(len(train) / size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, per_epoch * config.training.epochs)
    found: list[float] = []
    for epoch in range(config.training.epochs):
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(derive(seed, "order", epoch)))
        for indices in order.split(size):
            loss = F.cross_entropy(model(normalize(train.inputs[indices])), train.targets[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            found.append(loss.item())
    return found[:steps]


def test_fifty_steps_equal_a_plain_loop() -> None:
    config, _ = read_config(None, {"training.epochs": 3, "optimizer.lr": 0.01, "training.precision": "fp32"})
    dataset = load(config.data, 0)
    ours = losses(records_of(config, dataset))[:50]
    assert ours == pytest.approx(plain_losses(config, dataset, 50), abs=1e-6)


@pytest.mark.parametrize("model", ["perceptron", "mlp", "cnn", "resnet20"])
def test_the_same_config_and_seed_give_the_same_bits_and_another_seed_others(model: str) -> None:
    config = small_config(model__name=model, data__augment=["flip", "crop", "rotate", "cutout"])
    digests = {end(records_of(config)).weights_sha256 for _ in range(2)}
    assert len(digests) == 1
    other = small_config(model__name=model, data__augment=["flip", "crop", "rotate", "cutout"], training__seed=1)
    assert end(records_of(other)).weights_sha256 not in digests


def test_records_come_in_order_and_count_right() -> None:
    records = records_of(small_config(), folder=Path("run"))
    assert isinstance(records[0], RunStarted)
    assert (records[0].steps_per_epoch, records[0].train_size, records[0].parameters) == (4, 64, 40 + 65 * 8 + 27)
    assert [r.epoch for r in records if isinstance(r, Epoch)] == [1, 2, 3]
    assert [r.step for r in records if isinstance(r, CheckpointSealed)] == [4, 8, 12]
    assert len(losses(records)) == 12
    assert end(records).status == "finished"


def test_an_epochs_training_loss_is_the_mean_over_its_images() -> None:
    config = small_config(data__batch_size=24, training__epochs=1)  # 24 + 24 + 16
    records = records_of(config)
    a, b, c = losses(records)
    epoch = next(r for r in records if isinstance(r, Epoch))
    assert epoch.train["loss"] == pytest.approx((24 * a + 24 * b + 16 * c) / 64)


def test_the_test_split_is_measured_with_the_best_epochs_weights() -> None:
    config, dataset = small_config(optimizer__lr=0.5, training__epochs=6), small_dataset()
    records = records_of(config, dataset, Path("run"))
    best = max((r for r in records if isinstance(r, Epoch)), key=lambda e: (e.val["accuracy"], -e.val["loss"]))
    ended = end(records)
    assert (ended.best_epoch, ended.best_score) == (best.epoch, best.val["accuracy"])
    learner = Learner(config, dataset)
    from safetensors.torch import load_file

    learner.load_weights(load_file("run/checkpoints/best.safetensors"))
    with torch.no_grad():
        logits = learner.model.eval()(dataset.test.inputs)
    assert ended.test["loss"] == pytest.approx(F.cross_entropy(logits, dataset.test.targets).item(), rel=1e-5)
    assert ended.test_score == (logits.argmax(1) == dataset.test.targets).float().mean().item()
    assert ended.confusion is not None
    assert sum(map(sum, ended.confusion)) == len(dataset.test)
    for true, row in enumerate(ended.confusion):
        for predicted, count in enumerate(row):
            assert count == ((dataset.test.targets == true) & (logits.argmax(1) == predicted)).sum()


RESUMED = {
    "sgd": {},
    "adam, dropout, batch norm": {"optimizer__name": "adam", "model__dropout": 0.4, "model__norm": "batch"},
    "rmsprop, augmented": {"optimizer__name": "rmsprop", "data__augment": ["crop", "rotate"]},
    "mixed, jittered, erased": {"data__augment": ["mixup", "jitter", "erase"], "data__mixup_alpha": 1.0},
    "muon, two convolutions": {"optimizer__name": "muon", "model__channels": [4, 6], "model__norm": "batch"},
    "the perceptron's rule": {"model__name": "perceptron", "optimizer__name": "perceptron"},
    "plateau, growing batches": {
        **{"data__batch_size": 16, "training__epochs": 5, "model__norm": "batch"},
        **{"schedule__name": "plateau", "schedule__patience": 0, "schedule__threshold": 0.9},
        **{"schedule__gamma": 0.5, "schedule__max_batch_size": 64},
    },
    "NAdam by its class, accumulated": {"optimizer__name": "torch.optim.NAdam", "training__accumulate": 2},
}


@pytest.mark.parametrize("case", RESUMED)
@pytest.mark.parametrize("stop_after", [1, 4, 5, 7, 11])
def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_bits(case: str, stop_after: int) -> None:
    config, dataset = (
        small_config(**{"data__batch_size": 8, "training__checkpoint_every": 1} | RESUMED[case]),
        small_dataset(),
    )
    whole = records_of(config, dataset)
    first: list[Record] = []
    running = fit(Learner(config, dataset), Path("run"))
    for record in running:
        first.append(record)
        if isinstance(record, CheckpointSealed) and record.step >= stop_after:
            break
    running.close()
    start = load_latest(Path("run/checkpoints"), ANY_STEP)
    assert start is not None
    rest = list(fit(Learner(config, dataset), Path("run"), start))
    assert losses(first) + losses(rest) == losses(whole)
    assert end(rest).weights_sha256 == end(whole).weights_sha256
    epochs = [r for r in [*first, *rest] if isinstance(r, Epoch)]
    for ours, expected in zip(epochs, [r for r in whole if isinstance(r, Epoch)], strict=True):
        assert ours.train["loss"] == pytest.approx(expected.train["loss"], rel=1e-12)
        assert (ours.train["accuracy"], ours.val, ours.lr) == (
            expected.train["accuracy"],
            expected.val,
            expected.lr,
        )


def test_closing_the_iterator_seals_a_checkpoint_of_the_last_step() -> None:
    config, dataset = small_config(), small_dataset()
    running = fit(Learner(config, dataset), Path("run"))
    for record in running:
        if isinstance(record, Epoch) and record.epoch == 2:
            break
    running.close()
    start = load_latest(Path("run/checkpoints"), ANY_STEP)
    assert start is not None
    assert (start.values["progress"]["step"], start.values["progress"]["epoch"]) == (8, 2)


def test_memory_that_gives_out_ends_the_run_with_advice() -> None:
    config, dataset = small_config(), small_dataset()
    learner = Learner(config, dataset)
    enough = learner.model.network.forward

    def too_much(images: torch.Tensor) -> torch.Tensor:
        return enough(torch.empty(2**50, device="cpu") if learner.model.training else images)

    learner.model.network.forward = too_much  # type: ignore[method-assign, union-attr]
    ended = end(list(fit(learner)))
    assert ended.status == "failed"
    assert ended.reason.startswith("out of memory on cpu at batch size")


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "muon"])
def test_divergence_ends_the_run_with_the_last_good_weights_and_advice(optimizer: str) -> None:
    config = small_config(optimizer__name=optimizer, optimizer__lr=1e30, schedule__name="constant")
    dataset = small_dataset()
    learner = Learner(config, dataset)
    records = list(fit(learner))
    assert end(records).status == "failed"
    assert "diverged at step" in end(records).reason
    assert "try a smaller optimizer.lr" in end(records).reason
    assert all(torch.isfinite(weight).all() for weight in learner.weights)


def test_accumulated_batches_equal_one_large_batch() -> None:
    large = losses(records_of(small_config(data__batch_size=32)))
    parts = losses(records_of(small_config(data__batch_size=8, training__accumulate=4)))
    assert parts == pytest.approx(large, abs=1e-5)


def test_batches_grow_epoch_by_epoch_and_every_image_is_trained_on() -> None:
    config = small_config(
        **{"data__batch_size": 16, "training__epochs": 4, "training__accumulate": 2, "optimizer__lr": 0.04},
        **{"schedule__name": "step", "schedule__step_epochs": 1, "schedule__gamma": 0.5},
        **{"schedule__max_batch_size": 30},
    )
    records = records_of(config)
    epochs = [record for record in records if isinstance(record, Epoch)]
    assert [(epoch.step, epoch.batch_size) for epoch in epochs] == [(2, 16), (4, 30), (6, 30), (8, 30)]
    assert [epoch.lr for epoch in epochs] == pytest.approx([0.04, 0.04 * 30 / 32, 0.02 * 30 / 32, 0.01 * 30 / 32])
    # the second epoch has batches of 60 and of 4 images
    assert epochs[1].train["loss"] == pytest.approx((60 * losses(records)[2] + 4 * losses(records)[3]) / 64)


def test_a_full_batch_is_one_step_an_epoch() -> None:
    assert len(losses(records_of(small_config(data__batch_size="full")))) == 3


def test_clipping_bounds_the_step() -> None:
    config = small_config(
        training__clip_norm=1e-3, optimizer__momentum=0.0, data__batch_size="full", training__epochs=1
    )
    dataset = small_dataset()
    learner = Learner(config, dataset)
    before = [weight.detach().clone() for weight in learner.weights]
    list(fit(learner))
    moved = torch.cat([(a - b).flatten() for a, b in zip(learner.weights, before, strict=True)]).norm().item()
    assert moved == pytest.approx(config.optimizer.lr * 1e-3, rel=1e-3)


@pytest.mark.parametrize("settings", [{}, {"training__accumulate": 2}, {"training__clip_norm": 0.1}])
def test_an_l2_penalty_has_the_bits_of_the_weight_decay_of_sgd(settings: dict[str, object]) -> None:
    common = {"training__epochs": 1, **settings}
    plain, decayed, penalised = (
        losses(records_of(small_config(**more, **common)))
        for more in ({}, {"optimizer__weight_decay": 0.1}, {"penalty__l2": 0.1})
    )
    assert penalised == decayed != plain


def test_label_smoothing_is_torchs_own() -> None:
    config, dataset = (
        small_config(loss__label_smoothing=0.2, data__batch_size="full", training__epochs=1),
        small_dataset(),
    )
    learner = Learner(config, dataset)
    with torch.no_grad():
        expected = F.cross_entropy(
            learner.model(dataset.train.inputs), dataset.train.targets, label_smoothing=0.2
        ).item()
    assert losses(list(fit(learner))) == pytest.approx([expected], abs=1e-6)


def test_patience_stops_early() -> None:
    config = small_config(training__epochs=50, training__patience=2, optimizer__lr=1e-12)
    records = records_of(config)
    ended = end(records)
    assert ended.best_epoch is not None
    assert ended.epoch == ended.best_epoch + 2 < 50


def test_streaming_gives_the_same_bits_as_data_on_the_device() -> None:
    settings = {"data__augment": ["crop"]}
    whole = end(records_of(small_config(**settings)))
    streamed = end(records_of(small_config(**settings, place__residence="stream", place__workers=2)))
    assert streamed.weights_sha256 == whole.weights_sha256


def test_bf16_trains_and_differs_from_fp32() -> None:
    bf16, fp32 = (losses(records_of(small_config(training__precision=p, training__epochs=8))) for p in ("bf16", "fp32"))
    assert bf16 != fp32
    assert bf16 == pytest.approx(fp32, rel=0.2, abs=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_cuda_two_runs_have_the_same_bits_and_the_cpus_losses(precision: str) -> None:
    config = small_config(place__device="cuda", training__precision=precision, data__augment=["flip", "crop"])
    one, two = records_of(config), records_of(config)
    assert end(one).weights_sha256 == end(two).weights_sha256
    cpu = small_config(place__device="cpu", training__precision="fp32", data__augment=["flip", "crop"])
    assert losses(one) == pytest.approx(losses(records_of(cpu)), rel=0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc's memory")
def test_in_bf16_taps_that_only_meet_padding_have_no_gradient_rather_than_what_the_memory_held() -> None:
    """A residual block on 2x2 pixels has a 3x3 convolution of stride 2 whose input is 1x1, as in ResNet-18 on 16x16."""
    code = """
import torch
from tests.runs import small_config, small_dataset
from cnnlab.training import Learner
def gradients(precision):
    dataset = small_dataset(shape=(1, 2, 2))
    learner = Learner(small_config(model__name="resnet20", training__precision=precision), dataset)
    learner.model.train()
    learner.gradients(dataset.train.inputs[:16], dataset.train.targets[:16], 0)
    return {name: weight.grad for name, weight in learner.model.named_parameters()}
exact, found = gradients("fp32"), gradients("bf16")
for name, gradient in exact.items():
    if gradient.ndim == 4:
        idle = gradient == 0
        print(name, bool((found[name][idle] == 0).all()), bool(found[name].isfinite().all()), int(idle.sum()))
"""
    env = {**os.environ, "MALLOC_PERTURB_": "128"}  # what malloc gives is full of 3.4e38
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root, env=env)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == 19
    assert sum(int(row[3]) > 0 for row in rows) > 10
    assert [row for row in rows if row[1:3] != ["True", "True"]] == []
