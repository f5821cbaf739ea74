"""`cnnlab describe` against torchvision's published numbers, the package's own count, and gradients."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from PIL import Image
from torch import nn

from cnnlab.config import read_config
from cnnlab.config.data import DATASETS
from cnnlab.data import builtin, load
from cnnlab.models import sized_layers
from cnnlab.models.layers import layers_of
from cnnlab.reading.description import describe, samples_of, weight_decay_of
from cnnlab.tasks import make_task
from tests.runs import small_config

Cli = Callable[..., Result]
IMAGENET = ("--shape", "3x224x224", "--classes", "1000")


def described(cli: Cli, *args: str) -> dict[str, Any]:
    done = cli("describe", *args, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "resnet18", "resnet50", "googlenet", "mobilenet_v2", "vit_b_16"])
def test_parameters_and_multiply_adds_are_those_that_torchvision_publishes(name: str, cli: Cli) -> None:
    from torchvision.models import get_model_weights

    published = next(iter(get_model_weights(name))).meta
    result = described(cli, f"torchvision/{name}", *IMAGENET)
    assert result["parameters"] == published["num_params"]
    assert result["multiply_adds"] / 1e9 == pytest.approx(published["_ops"], abs=1e-3)
    if name != "vit_b_16":  # its class token and positions are in no layer
        assert sum(layer["parameters"] for layer in result["layers"]) == published["num_params"]
        assert sum(layer["multiply_adds"] for layer in result["layers"]) == result["multiply_adds"]


@pytest.mark.parametrize(
    ("name", "field"),
    [("alexnet", 195), ("vgg16", 212), ("mobilenet_v2", 491), ("resnet18", 435), ("resnet50", 427)],
)
def test_receptive_fields_of_known_networks(name: str, field: int, cli: Cli) -> None:
    """The first two are in the table of Araujo et al. 2019; the others are computed by hand from the layers."""
    layers = described(cli, f"torchvision/{name}", *IMAGENET)["layers"]
    last = [layer for layer in layers if len(layer["output"]) == 3 and layer["kernel"]][-1]
    assert last["receptive_field"] == [field, field]


TOY = {
    "stack": lambda: nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 1, 5, stride=2), nn.AvgPool2d(3, 2)
    ),
    "dilated": lambda: nn.Sequential(
        nn.Conv2d(1, 2, 3, dilation=2), nn.Conv2d(2, 2, (1, 5), groups=2), nn.Conv2d(2, 1, 3)
    ),
    "upsampled": lambda: nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2), nn.ConvTranspose2d(2, 2, 2, 2), nn.Conv2d(2, 1, 5)
    ),
    "branches": lambda: Branches(),
}


class Branches(nn.Module):
    """As a residual block with option A, and as an inception block."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.small, self.large, self.last = nn.Conv2d(2, 1, 1), nn.Conv2d(2, 1, 5, padding=2), nn.Conv2d(2, 1, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x)) + nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 1))
        return self.last(torch.cat([self.large(x), self.small(x)], 1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", TOY)
def test_the_receptive_field_is_where_the_gradient_of_a_middle_output_is(name: str) -> None:
    network = TOY[name]()
    for weight in network.parameters():
        nn.init.ones_(weight)
    height, width = (side // 2 for side in network(torch.zeros(1, 1, 61, 61)).shape[2:])
    support = torch.zeros(61, 61)
    for _ in range(20):  # a maximum has the gradient of one pixel, another one in each image
        image = torch.rand(1, 1, 61, 61, requires_grad=True)
        (gradient,) = torch.autograd.grad(network(image)[0, 0, height, width], image)
        support += gradient[0, 0].abs()
    rows, columns = (torch.nonzero(support.sum(axis))[:, 0] for axis in (1, 0))
    seen = (int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1)
    layers, _ = layers_of(network.to("meta"), (1, 61, 61))
    assert layers[-1].field == seen


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model.name": "mlp", "data.dataset": "fashion_mnist"},
        {"model.name": "lenet5", "data.resize": 28},
        {"model.name": "resnet20", "data.dataset": "cifar10"},
        {"data.dataset": "shapes_masks", "model.name": "unet"},
        {"model.kernel_size": 4, "model.stride": 1, "model.norm": "batch", "data.dataset": "shapes"},
    ],
    ids=lambda settings: str(settings.get("model.name", "cnn")),
)
def test_volumes_and_counts_are_those_of_the_network_that_is_trained(settings: dict[str, Any]) -> None:
    config = read_config(None, settings)[0]
    samples = samples_of(config)
    result = describe(config, samples)
    network = make_task(config, tuple(map(str, range(samples.classes))), samples.shape).build(0)
    assert result.parameters == sum(weight.numel() for weight in network.parameters())
    sized = sized_layers(network, lambda: network(torch.zeros(1, *samples.shape)))
    rows = [row for row in result.layers if row["multiply_adds"]]
    assert [(row["input"], row["output"], row["multiply_adds"]) for row in rows] == [
        (layer.input_shape, layer.output_shape, layer.multiply_adds) for layer in sized
    ]
    assert result.multiply_adds == sum(layer.multiply_adds for layer in sized)
    for row in result.layers:
        if row["kernel"] and row["kind"] != "ConvTranspose2d":  # the formula, but for the pad of an even kernel
            before = [
                math.floor((n - k + 2 * p) / s) + 1
                for n, k, p, s in zip(row["input"][1:], row["kernel"], row["padding"], row["stride"], strict=True)
            ]
            assert list(row["output"][1:]) == before


def test_the_memory_is_that_of_the_outputs_that_are_new() -> None:
    result = describe(small_config(data__batch_size=16), samples_of(small_config(data__batch_size=16)))
    sizes = {row["name"]: row["activation_bytes"] for row in result.layers}
    # conv 4x8x8, pool 4x4x4, relu in place, flatten, linear 8, relu in place, linear 10
    assert list(sizes.values()) == [4 * 16 * n for n in (256, 64, 0, 0, 8, 0, 10)]


@pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
def test_the_shape_of_a_dataset_is_that_of_its_images(name: str) -> None:
    if name == "fashion_mnist" and not Path("/usr/share/datasets/fashion-mnist").exists():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    config = read_config(None, {"data.dataset": name})[0]
    dataset = load(config.data, 0)
    assert (DATASETS[name].shape, DATASETS[name].classes) == (dataset.image_shape, len(dataset.classes))
    assert samples_of(read_config(None, {"data.dataset": "xor"})[0])[:2] == ((2,), 2)
    for name, classes in (("shapes", builtin.CLASSES), ("shapes_masks", ("background", *builtin.CLASSES))):
        assert (DATASETS[name].shape, DATASETS[name].classes) == ((3, builtin.SIDE, builtin.SIDE), len(classes))


def test_a_folder_and_a_run_say_their_images_themselves(cli: Cli) -> None:
    for index in range(40):
        path = Path("pictures", "ab"[index % 2], f"{index}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (index, 0, 0)).save(path)
    settings = ("-s", "data.resize=12", "--batch-size", "full")
    folder = described(cli, "pictures", *settings)
    assert (folder["image_shape"], folder["classes"], folder["model"]) == ([3, 12, 12], 2, "cnn")
    done = cli("train", "pictures", *settings, "--epochs", "1", "-q", "--run-dir", "run", "--tracking-uri", "none")
    assert done.exit_code == 0, done.output
    assert described(cli, "run") == described(cli, "run/config.yaml") == folder
    assert folder["batch_size"] < 40


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"optimizer.weight_decay": 0.1}, [(0.1, "L2 penalty")]),
        ({"optimizer.name": "adam", "optimizer.weight_decay": 0.1}, [(0.1, "L2 penalty")]),
        ({"optimizer.name": "adamw"}, [(0.01, "decoupled")]),
        ({"optimizer.name": "muon"}, [(0.01, "decoupled")]),
        ({"optimizer.name": "torch.optim.AdamW"}, [(0.01, "decoupled")]),
        ({"optimizer.name": "torch.optim.Adamax", "optimizer.weight_decay": 0.2}, [(0.2, "L2 penalty")]),
        (
            {
                "optimizer.name": "torch.optim.NAdam",
                "optimizer.weight_decay": 0.2,
                "optimizer.decoupled_weight_decay": True,
            },
            [(0.2, "decoupled")],
        ),
        ({"optimizer.name": "torch.optim.Rprop"}, []),
        (
            {"penalty.l1": 0.1, "penalty.l2": 0.2, "optimizer.decoupled_decay": 0.3},
            [(0.1, "L1 penalty"), (0.2, "L2 penalty"), (0.3, "decoupled")],
        ),
    ],
)
def test_the_kind_of_weight_decay(settings: dict[str, Any], expected: list[tuple[float, str]]) -> None:
    decays = weight_decay_of(read_config(None, settings)[0])
    assert [(decay["value"], decay["kind"]) for decay in decays] == expected


@pytest.mark.parametrize("name", ["AdamW", "Adamax", "Adafactor", "NAdam", "RMSprop"])
def test_a_decoupled_decay_does_not_depend_on_the_gradient(name: str) -> None:
    """With a decoupled one, a step with decay is the step without it, from weights that are lr * decay smaller."""
    kind = weight_decay_of(
        read_config(None, {"optimizer.name": f"torch.optim.{name}", "optimizer.weight_decay": 0.5})[0]
    )

    def step(decay: float, start: float) -> torch.Tensor:
        weight = nn.Parameter(torch.full((2, 2), start))
        settings = {"eps": (None, 1e-3)} if name == "Adafactor" else {}
        optimizer = getattr(torch.optim, name)([weight], lr=0.1, weight_decay=decay, **settings)
        weight.grad = torch.tensor([[1.0, -2.0], [0.5, 0.1]])
        optimizer.step()
        return weight.detach()

    shift = step(0.5, 1.0) - step(0.0, 1.0)
    assert (kind[0]["kind"] == "decoupled") == torch.allclose(shift, torch.full((2, 2), -0.05), atol=1e-6)


def test_a_table_and_a_picture(cli: Cli) -> None:
    done = cli("describe", "cnn", "--plot", "figures", "--optimizer", "adamw")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[1] == ["0", "Conv", "1x8x8", "3x3", "1", "1", "16x8x8", "3", "160", "9.22", "k", "262", "kB"]
    assert "first layer: (8 - 3 + 2*1)/1 + 1 = 8\n" in done.stdout
    assert "22,602 parameters, 100,608 multiply-adds" in done.stdout
    assert done.stdout.endswith("weight decay: optimizer.weight_decay 0.01 (decoupled)\n")
    with Image.open("figures/describe.png") as picture:
        assert picture.width > 500


def test_a_model_for_masks_is_described_on_masks(cli: Cli) -> None:
    assert described(cli, "unet")["image_shape"] == [3, 32, 32]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("resnet2",),
            "resnet2: no run begins so, and it is no run's directory; cnnlab runs lists what there is; nor is",
        ),
        (("last",), "last: there are no runs in mlruns/runs yet; cnnlab train makes one; nor is it a model"),
        (("nothing.yaml",), "nothing.yaml: no run begins so"),
        (("cnn", "--model", "mlp"), "model.name is given twice, by cnn and by --model mlp; keep one"),
        (("cnn", "--shape", "3x224"), "--shape '3x224': is not allowed; it must be channels, height and width"),
        (("cnn", "--shape", "0x8x8"), "--shape '0x8x8': is not allowed"),
        (("cnn", "--classes", "0"), "Invalid value for '--classes'"),
        (("lenet5",), "lenet5's convolution 2: the output would be empty: OutputSize = "),
        (
            ("mlp", "-s", "model.hidden=[1]", "-s", "model.hidden_norm=group"),
            "model: a group normalisation has groups of",
        ),
        (("unet", "--dataset", "digits"), "model.name: 'unet' is not for classification; it must be one of"),
        (("torchvision/vgg16", "--dataset", "digits"), "model.name: torchvision/vgg16 cannot take images of 8x8x1"),
        (("torchvision/none",), "model.name: torchvision has no classification model 'none'"),
        (("cnn", "-s", "model.kernel=3"), "model.kernel: "),
        (("--optimizer", "torch.optim.None"), "optimizer.name: torch.optim has no class 'None'"),
        (("cnn", "--plot", ""), "--plot: '' is not allowed"),
        (("cnn", "--plot", "file"), "--plot: 'file' is not allowed; it must be the name of a folder"),
    ],
)
def test_bad_input_is_one_line(args: tuple[str, ...], message: str, cli: Cli) -> None:
    Path("file").write_text("")
    done = cli("describe", *args)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"cnnlab: {message}")
    assert done.stderr.count("\n") == 1
