"""Segmentation: its losses, metrics and networks against others' or plain ones, and runs from end to end."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mlflow.utils.validation import _validate_metric_name
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, jaccard_score
from torch import Tensor, nn

from cnnlab.config import RunConfig, as_config, read_config
from cnnlab.config.data import VOID
from cnnlab.config.losses import LOSSES
from cnnlab.data import Dataset, Split
from cnnlab.data.builtin import CLASSES, shapes_with_masks
from cnnlab.errors import BadInput
from cnnlab.models import build
from cnnlab.models.fcn import enlarge
from cnnlab.models.unet import UShaped
from cnnlab.reading import draw
from cnnlab.reading.trained import load_trained
from cnnlab.records import Epoch, RunEnded, RunStarted
from cnnlab.run import create_run, record_run
from cnnlab.tasks import TASKS, make_task
from cnnlab.tasks.classification import Classification, square
from cnnlab.tasks.segmentation import Segmentation, metric_names
from cnnlab.training import Learner, fit, load_latest
from tests.runs import losses_of, records_of

K, HEIGHT, WIDTH = 4, 6, 5


def small_config(**settings: object) -> RunConfig:
    given = {key.replace("__", "."): value for key, value in settings.items()}
    base = {
        "data.dataset": "shapes_masks",
        "data.batch_size": 16,
        "data.augment": ["flip", "rotate"],
        "model.depth": 2,
        "model.width": 4,
        "training.epochs": 2,
        "training.precision": "fp32",
    }
    kind = given.get("model.name", "unet")
    return read_config(None, {k: v for k, v in base.items() if kind == "unet" or "model" not in k} | given)[0]


def small_dataset() -> Dataset:
    """36 training images; of each mask a corner is void."""
    images, labels, inside = shapes_with_masks(60)
    masks = inside * (labels + 1).to(torch.uint8)[:, None, None]
    masks[:, :3, :4] = VOID
    train, val, test = (Split(images[part], masks[part]) for part in (slice(36), slice(36, 48), slice(48, 60)))
    return Dataset("small", ("background", *CLASSES), train, val, test, digest="0" * 32, source="tests")


def answers_and_masks(images: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores and masks in which each image has other classes, and void; the last is all void."""
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(images, K, HEIGHT, WIDTH, generator=generator)
    masks = torch.randint(0, K, (images, HEIGHT, WIDTH), generator=generator).to(torch.uint8)
    for image in range(images):
        masks[image][masks[image] == image % K] = 0
    masks[torch.rand(masks.shape, generator=generator) < 0.2] = VOID
    masks[-1] = VOID
    return outputs, masks


def task(loss: str = "cross_entropy", **settings: object) -> Segmentation:
    config = as_config({"data": {"dataset": "shapes_masks"}, "loss": {"name": loss, **settings}})
    made = make_task(config, tuple("abcd"), (3, HEIGHT, WIDTH))
    assert isinstance(made, Segmentation)
    return made


def plain_cross_entropy(outputs: Tensor, mask: Tensor, smoothing: float = 0.0) -> float:
    """Of one image, pixel by pixel."""
    losses = []
    for row in range(HEIGHT):
        for column in range(WIDTH):
            true = int(mask[row, column])
            if true != VOID:
                scores = outputs[:, row, column].double()
                logs = [float(score - scores.exp().sum().log()) for score in scores]
                losses.append(-(1 - smoothing) * logs[true] - smoothing * sum(logs) / K)
    return sum(losses) / len(losses) if losses else 0.0


def plain_dice(outputs: Tensor, mask: Tensor) -> float:
    """Of one image, class by class."""
    known = mask != VOID
    shares = [F.softmax(outputs.double(), 0)[index][known] for index in range(K)]
    losses = []
    for index in range(K):
        true = (mask[known] == index).double()
        if true.sum() > 0:
            overlap = sum(float(p * t) for p, t in zip(shares[index], true, strict=True))
            losses.append(1 - 2 * overlap / float(shares[index].sum() + true.sum()))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize(
    ("name", "settings", "trained", "measured"),
    [
        ("cross_entropy", {}, plain_cross_entropy, plain_cross_entropy),
        ("cross_entropy", {"label_smoothing": 0.1}, lambda o, m: plain_cross_entropy(o, m, 0.1), plain_cross_entropy),
        ("dice", {}, plain_dice, plain_dice),
        (
            "cross_entropy_dice",
            {"dice_weight": 0.3, "label_smoothing": 0.2},
            lambda o, m: 0.7 * plain_cross_entropy(o, m, 0.2) + 0.3 * plain_dice(o, m),
            lambda o, m: 0.7 * plain_cross_entropy(o, m) + 0.3 * plain_dice(o, m),
        ),
    ],
)
def test_losses_equal_those_written_out(
    name: str,
    settings: dict[str, object],
    trained: Callable[[Tensor, Tensor], float],
    measured: Callable[[Tensor, Tensor], float],
) -> None:
    made = task(name, **settings)
    outputs, masks = answers_and_masks()
    pairs = list(zip(outputs, masks, strict=True))
    assert made.loss(outputs, masks).item() == pytest.approx(sum(trained(*pair) for pair in pairs) / len(pairs))
    assert made.total_loss(outputs, masks).item() == pytest.approx(sum(measured(*pair) for pair in pairs))
    parts = [made.loss(outputs[part], masks[part]) * len(outputs[part]) for part in (slice(2), slice(2, None))]
    assert made.additive
    assert (sum(parts) / len(outputs)).item() == pytest.approx(made.loss(outputs, masks).item())


def test_a_task_has_the_losses_that_the_config_allows_it() -> None:
    for name, kind in TASKS.items():
        assert issubclass(kind, Classification)
        allowed = {entry.config for entry in LOSSES.values() if entry.tasks is None or name in entry.tasks}
        assert set(kind.losses) == allowed


@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_those_of_scikit_learn(seed: int) -> None:
    made = task()
    outputs, masks = answers_and_masks(seed=seed)
    outputs[:, 3] = -99  # never predicted
    masks[masks == 2] = 1  # never true
    answers = outputs.argmax(1)
    counts = made.count(answers, masks)
    assert torch.equal(counts, made.count(answers[:2], masks[:2]) + made.count(answers[2:], masks[2:]))
    cells = square(counts.tolist(), K)
    found = made.metrics_of(cells)
    known = (masks != VOID).numpy()
    true, predicted = masks.numpy()[known], outputs.argmax(1).numpy()[known]
    present = np.union1d(true, predicted)
    theirs = jaccard_score(true, predicted, labels=present, average=None)
    by_class = {f"iou/{'abcd'[index]}": iou for index, iou in zip(present, theirs, strict=True)}
    wanted = {"mean_iou": theirs.mean(), "pixel_accuracy": accuracy_score(true, predicted), **by_class}
    assert found == pytest.approx(wanted)
    assert made.step_metrics(counts.tolist(), 5) == pytest.approx(
        {k: wanted[k] for k in ("mean_iou", "pixel_accuracy")}
    )
    assert cells[1] == tuple(((true == 1) & (predicted == p)).sum() for p in range(4))


def test_a_class_that_is_neither_true_nor_predicted_has_no_iou() -> None:
    made = task()
    outputs, masks = answers_and_masks()
    outputs[:, 2:] = -99
    masks[masks == 3] = 0
    masks[masks == 2] = 0
    found = made.metrics_of(square(made.count(outputs.argmax(1), masks).tolist(), K))
    assert set(found) == {"mean_iou", "pixel_accuracy", "iou/a", "iou/b"}
    assert found["mean_iou"] == pytest.approx((found["iou/a"] + found["iou/b"]) / 2)
    assert made.metrics_of(square([0] * 16, K))["mean_iou"] == 0


def test_names_of_classes_become_names_that_mlflow_takes() -> None:
    names = metric_names(("T-shirt/top", "Straße", "..", "a+b", "a*b", "x" * 300, ""))
    assert names == ["T-shirt_top", "Straße", "2", "a_b", "a_b_4", "x" * 100, "6"]
    for name in names:
        _validate_metric_name(f"val/iou/{name}")


def network(shape: tuple[int, int, int] = (3, 32, 32), classes: int = 7, **settings: object) -> nn.Module:
    config = as_config({"data": {"dataset": "shapes_masks"}, "model": {"name": "unet", **settings}})
    return build(config.model, shape, classes, seed=0)


def papers_parameters(depth: int, width: int, channels: int, classes: int) -> int:
    """Of figure 1 of Ronneberger et al. 2015, layer by layer, each with biases."""
    widths = [width * 2**level for level in range(depth + 1)]
    total, inputs = 0, channels
    for outputs in widths:
        total += (9 * inputs + 1) * outputs + (9 * outputs + 1) * outputs
        inputs = outputs
    for below, outputs in zip(widths[::-1], widths[-2::-1], strict=False):
        total += (4 * below + 1) * outputs + (9 * 2 * outputs + 1) * outputs + (9 * outputs + 1) * outputs
    return total + (width + 1) * classes


def test_unet_has_the_papers_layers() -> None:
    with torch.device("meta"):  # no memory for 31 million weights
        config = as_config({"data": {"dataset": "shapes_masks"}, "model": {"name": "unet", "norm": "none"}}).model
        model = UShaped(config.model_copy(update={"depth": 4, "width": 64}), 3, 2)  # type: ignore[arg-type]
        seen: list[tuple[int, ...]] = []
        for block in (*model.down, *model.up, *model.merge):
            block.register_forward_hook(lambda _, inputs, output: seen.append(tuple(output.shape[1:])))
        assert model(torch.empty(1, 3, 512, 512)).shape == (1, 2, 512, 512)
    down = [(64, 512, 512), (128, 256, 256), (256, 128, 128), (512, 64, 64), (1024, 32, 32)]
    up = [shape for level in down[-2::-1] for shape in (level, level)]
    assert seen == down + up
    parameters = sum(weight.numel() for weight in model.parameters())
    assert parameters == papers_parameters(4, 64, 3, 2)
    assert round(parameters / 1e6, 2) == 31.03
    assert sum(p.numel() for p in network(norm="none", depth=2, width=4).parameters()) == papers_parameters(2, 4, 3, 7)


@pytest.mark.parametrize("size", [(32, 32), (17, 30), (8, 9)])
@pytest.mark.parametrize("settings", [{"name": "unet"}, {"name": "fcn"}, {"name": "fcn", "skip": False}])
def test_any_size_gives_scores_for_each_pixel(settings: dict[str, object], size: tuple[int, int]) -> None:
    model = network((3, *size), **settings).eval()
    assert model(torch.rand(2, 3, *size)).shape == (2, 7, *size)
    assert model(torch.rand(1, 3, 24, 16)).shape == (1, 7, 24, 16), "trained on one size, used on another"


def test_padding_serves_sizes_that_cannot_be_halved() -> None:
    model = network(depth=2, width=4).eval()
    image = torch.zeros(1, 3, 32, 32)
    image[:, :, :30, :29] = torch.rand(1, 3, 30, 29)
    assert torch.equal(model(image[:, :, :30, :29]), model(image)[:, :, :30, :29])


def test_what_a_network_cannot_take_is_said() -> None:
    with pytest.raises(
        BadInput, match=r"^model.depth: 4 is not allowed for images of 12x32 pixels, which can be halved 3 "
    ):
        network((3, 12, 32), depth=4)
    with pytest.raises(BadInput, match=r"^model.kernel_size: 4 is not allowed; it must be odd"):
        network(name="fcn", kernel_size=4)


def test_enlarging_equals_pytorchs_with_its_gradient() -> None:
    x = torch.rand(2, 3, 5, 4, dtype=torch.double, requires_grad=True)
    wanted = F.interpolate(x, (10, 7), mode="bilinear", align_corners=False)
    weights = torch.rand_like(wanted)
    (theirs,) = torch.autograd.grad((wanted * weights).sum(), x)
    found = enlarge(x, 10, 7)
    (ours,) = torch.autograd.grad((found * weights).sum(), x)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(ours, theirs)


def test_an_up_convolution_starts_with_the_spread_of_its_inputs() -> None:
    up = network(depth=1, width=128, init="he_normal").get_submodule("up.0")
    assert isinstance(up, nn.ConvTranspose2d)
    assert up.weight.shape == (256, 128, 2, 2)
    assert up.weight.std().item() == pytest.approx(math.sqrt(2 / 256), rel=0.02)
    assert up.bias is not None
    assert up.bias.abs().sum() == 0


@pytest.mark.parametrize("loss", ["cross_entropy", "dice", "cross_entropy_dice"])
def test_micro_batches_have_the_gradient_of_the_whole_batch(loss: str) -> None:
    dataset, found = small_dataset(), []
    for accumulate in (1, 3):
        config = small_config(model__norm="group", loss__name=loss, training__accumulate=accumulate, optimizer__lr=0.1)
        learner = Learner(config, dataset)
        result = learner.update(dataset.train.inputs[:15], dataset.train.targets[:15], lr=0.1, noise=0)
        found.append((result.loss, result.sums, [weight.grad for weight in learner.weights]))
    (loss_whole, sums_whole, whole), (loss_parts, sums_parts, parts) = found
    torch.testing.assert_close(loss_parts, loss_whole)
    assert torch.equal(sums_parts, sums_whole)
    assert sums_whole.sum() == 15 * (32 * 32 - 12), "void is not counted"
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("model", ["unet", "fcn"])
def test_a_run_that_was_stopped_and_resumed_ends_with_the_same_bits(model: str) -> None:
    dataset = small_dataset()
    config = small_config(model__name=model, training__checkpoint_every=1)
    whole = records_of(config, dataset)
    running = fit(Learner(config, dataset), Path("run"))
    for record in running:
        if isinstance(record, Epoch):
            break
    running.close()
    start = load_latest(Path("run/checkpoints"), 10**9)
    again = list(fit(Learner(config, dataset), Path("run"), start))
    ended, resumed = whole[-1], again[-1]
    assert isinstance(ended, RunEnded)
    assert isinstance(resumed, RunEnded)
    assert resumed.weights_sha256 == ended.weights_sha256
    assert resumed.test == ended.test
    assert losses_of(again) == losses_of(whole)[-len(losses_of(again)) :]
    epoch = next(record for record in whole if isinstance(record, Epoch))
    assert set(epoch.train) == {"loss", "mean_iou", "pixel_accuracy"}
    assert {"loss", "mean_iou", "pixel_accuracy", "iou/background"} <= set(epoch.val)
    assert ended.score == "mean_iou"
    assert ended.best_score == max(record.val["mean_iou"] for record in whole if isinstance(record, Epoch))


def test_a_recorded_run_leaves_its_figure_and_a_network_that_can_be_loaded() -> None:
    dataset, config = small_dataset(), small_config(training__epochs=1)
    run = create_run(config, "tests", "none")
    records = list(record_run(Learner(config, dataset), run))
    started = next(record for record in records if isinstance(record, RunStarted))
    assert (started.task, started.output_shape, started.score.name) == ("segmentation", (7, 32, 32), "mean_iou")
    examples = load_file(run.path / "examples.safetensors")
    assert torch.equal(examples["targets"], dataset.test.targets[:6])
    with torch.no_grad():
        outputs = load_trained(run.path).model(dataset.test.inputs[:6])
    assert torch.equal(examples["answers"], outputs.argmax(1).to(torch.uint8))
    figures = draw(run.path, Path("figures"))
    assert [path.name for path in figures] == ["curves.png", "confusion.png", "examples.png"]
    assert all(path.stat().st_size > 10_000 for path in figures)


def test_the_dataset_alone_picks_the_task_its_network_and_its_score() -> None:
    for name in ("shapes_masks", "mask_folder", "voc2012"):
        config = as_config({"data": {"dataset": name}})
        assert (config.task.name, config.model.name, config.loss.name) == ("segmentation", "unet", "cross_entropy")
        assert (config.task.metric.name, config.optimizer.name, config.optimizer.lr) == ("mean_iou", "adam", 0.001)
    named = as_config({"data": {"dataset": "shapes_masks"}, "optimizer": {"name": "sgd"}, "model": {"name": "fcn"}})
    assert (named.optimizer.name, named.model.name) == ("sgd", "fcn")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model": {"name": "lenet5"}}, "model.name: 'lenet5' is not for segmentation; it must be one of fcn, unet"),
        (
            {"loss": {"name": "hinge"}},
            "loss.name: 'hinge' is not for segmentation; it must be one of cross_entropy, dice, cross_entropy_dice",
        ),
        (
            {"data": {"dataset": "shapes_masks", "augment": ["mixup"]}},
            "data.augment: mixup is not for segmentation: it mixes the classes of images; leave it out",
        ),
        ({"data": {}, "model": {"name": "unet"}}, "model.name: 'unet' is not for classification; it must be one of"),
        ({"data": {}, "loss": {"name": "dice"}}, "loss.name: 'dice' is not for classification; it must be one of cro"),
        (
            {"task": {"score": "accuracy"}},
            "task.score: 'accuracy' is not measured by segmentation; it must be one of loss",
        ),
    ],
)
def test_what_is_for_another_task_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        as_config({"data": {"dataset": "shapes_masks"}, **values})
    assert str(caught.value).startswith(said)
