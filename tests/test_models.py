"""The networks: their shapes, sizes and first weights against the papers and PyTorch."""

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnnlab.config import read_config
from cnnlab.config.models import Activation
from cnnlab.errors import BadInput
from cnnlab.models import Normalize, build, sized_layers
from cnnlab.models.blocks import ACTIVATIONS
from cnnlab.models.resnet import Residual


def network(shape: tuple[int, int, int] = (1, 28, 28), seed: int = 0, **settings: object) -> nn.Module:
    config, _ = read_config(None, {f"model.{key}": value for key, value in settings.items()})
    return build(config.model, shape, 10, seed)


@pytest.mark.parametrize("activation", get_args(Activation))
def test_pooling_before_the_activation_changes_no_value_and_no_gradient(activation: str) -> None:
    model = network((1, 12, 12), activation=activation, channels=[4], hidden=[])
    convolution = model[0]
    assert isinstance(convolution, nn.Conv2d)
    images = torch.rand(8, 1, 12, 12).round(decimals=1)  # with ties
    images[:, :, :6] = 0
    out = model(images)
    out.square().sum().backward()
    weight = convolution.weight.detach().clone().requires_grad_()
    assert convolution.bias is not None
    maps = F.conv2d(images, weight, convolution.bias.detach(), padding=1)
    expected = model[-1](F.max_pool2d(ACTIVATIONS[activation]()(maps), 2).flatten(1))
    expected.square().sum().backward()
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
    torch.testing.assert_close(convolution.weight.grad, weight.grad)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_the_default_cnn_is_the_one_that_the_benchmarks_compare() -> None:
    model = network()
    assert [type(layer).__name__ for layer in model] == [
        *["Conv2d", "MaxPool2d", "ReLU"] * 2,
        *["Flatten", "Linear", "ReLU", "Linear"],
    ]
    # conv16, conv32, fc128 on 32 x 7 x 7, fc10
    assert parameters(model) == (9 + 1) * 16 + (9 * 16 + 1) * 32 + (32 * 49 + 1) * 128 + 129 * 10


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"name": "perceptron"}, 785 * 10),
        ({"name": "mlp", "hidden": [300, 100]}, 785 * 300 + 301 * 100 + 101 * 10),
        ({"name": "lenet5"}, 61706),  # LeCun et al. 1998 with full connections: 156 + 2416 + 48120 + 10164 + 850
    ],
)
def test_parameter_counts(settings: dict[str, object], count: int) -> None:
    assert parameters(network(**settings)) == count


def test_resnet20_has_the_papers_size() -> None:
    model = network((3, 32, 32), name="resnet20")
    # He et al. 2016, table 6: 20 layers, 0.27 M parameters
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in model.modules()) == 20
    assert parameters(model) == 269722


@pytest.mark.parametrize(
    "activation", ["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "softplus", "identity"]
)
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "group"])
def test_every_activation_and_norm_gives_logits(activation: str, norm: str) -> None:
    model = network((3, 9, 11), activation=activation, norm=norm, channels=[4, 6], dropout=0.5)
    logits = model(torch.rand(2, 3, 9, 11))
    assert logits.shape == (2, 10)
    logits.sum().backward()


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid", 1])
@pytest.mark.parametrize("pool", ["max", "avg", "none"])
def test_the_size_that_was_computed_is_the_size_that_comes(
    kernel: int, stride: int, padding: object, pool: str
) -> None:
    if padding == "same" and stride == 2 and kernel == 2:
        return
    model = network((2, 47, 40), kernel_size=kernel, stride=stride, padding=padding, pool=pool, channels=[3, 4])
    assert model(torch.rand(1, 2, 47, 40)).shape == (1, 10)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
def test_same_padding_is_pytorchs_own(kernel: int) -> None:
    model = network((2, 10, 9), kernel_size=kernel, channels=[3], pool="none", activation="identity")
    conv = next(layer for layer in model if isinstance(layer, nn.Conv2d))
    x = torch.rand(2, 2, 10, 9)
    expected = nn.functional.conv2d(x, conv.weight, conv.bias, padding="same")
    flatten = next(index for index, layer in enumerate(model) if isinstance(layer, nn.Flatten))
    torch.testing.assert_close(model[:flatten](x), expected)


def test_a_norm_over_groups_of_one_value_is_refused() -> None:
    sides_of_one = network((1, 8, 8), channels=[8, 8, 8, 8], stride=2, pool="none", norm="group")
    with pytest.raises(BadInput, match="model: a group normalisation has groups of one value"):
        sized_layers(sides_of_one, lambda: sides_of_one(torch.rand(1, 1, 8, 8)))


def test_an_empty_layer_is_refused_with_the_formula() -> None:
    with pytest.raises(BadInput) as caught:
        network((1, 8, 8), kernel_size=5, padding="valid")
    assert "OutputSize = (InputSize - KernelSize + 2*Padding)/Stride + 1 = (2 - 5 + 2*0)/1 + 1 = -2" in str(
        caught.value
    )
    with pytest.raises(BadInput, match=r"lenet5.*\(4 - 5 \+ 2\*0\)/1 \+ 1 = 0"):
        network((1, 8, 8), name="lenet5")
    with pytest.raises(BadInput, match="pool of block 4"):
        network((1, 8, 8), channels=[2, 2, 2, 2])


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(1)
    first = network(seed=3)
    torch.manual_seed(2)
    again, other = network(seed=3), network(seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


@pytest.mark.parametrize(
    ("init", "std"),
    [
        ("he_normal", (2 / (32 * 49)) ** 0.5),
        ("he_uniform", (2 / (32 * 49)) ** 0.5),
        ("xavier_normal", (2 / (32 * 49 + 128)) ** 0.5),
        ("xavier_uniform", (2 / (32 * 49 + 128)) ** 0.5),
        ("normal", 0.01),
        ("zeros", 0.0),
    ],
)
def test_initialisations_have_their_published_spread(init: str, std: float) -> None:
    linear = next(layer for layer in network(init=init) if isinstance(layer, nn.Linear))
    assert linear.weight.std().item() == pytest.approx(std, rel=0.02, abs=1e-12)
    assert linear.bias.abs().sum().item() == 0


def test_the_shortcut_of_resnet20_is_the_papers_option_a() -> None:
    block = [layer for layer in network(name="resnet20", width=4) if isinstance(layer, Residual)][3].eval()
    for weight in block.parameters():
        nn.init.zeros_(weight)
    x = torch.rand(2, 4, 6, 6)
    expected = torch.zeros(2, 8, 3, 3)
    expected[:, 2:6] = x[:, :, ::2, ::2]
    assert torch.equal(block(x), expected)


def test_normalize_has_the_statistics_of_the_images() -> None:
    images = torch.randint(0, 256, (5000, 2, 3, 4), dtype=torch.uint8)
    images[:, 1] = 7
    out = Normalize.of(images)(images)
    assert out[:, 0].mean().item() == pytest.approx(0, abs=1e-4)
    assert out[:, 0].std(correction=0).item() == pytest.approx(1, abs=1e-4)
    assert out[:, 1].abs().max().item() == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "squeezenet1_1"])
def test_torchvision_networks_fit_channels_and_classes(name: str) -> None:
    model = network((1, 96, 96), name=f"torchvision/{name}")
    assert model(torch.rand(2, 1, 96, 96)).shape == (2, 10)


def test_an_unknown_torchvision_network_suggests_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"did you mean torchvision/resnet18\?"):
        network(name="torchvision/resnet81")


def test_the_statistics_of_the_images_are_exact_and_the_same_on_any_number_of_threads() -> None:
    images = torch.randint(0, 256, (5000, 3, 9, 7), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images[:, 1] = 17
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(Normalize.of(images))
    torch.set_num_threads(before)
    values = images.numpy().astype("float64").swapaxes(0, 1).reshape(3, -1)
    for normalize in found:
        assert torch.equal(normalize.scale, found[0].scale)
        assert torch.equal(normalize.shift, found[0].shift)
        std = values.std(1)
        std[1] = 1.0
        assert normalize.scale.flatten().numpy() == pytest.approx(1 / std, rel=1e-6)
        assert normalize.shift.flatten().numpy() == pytest.approx(-values.mean(1) / std, rel=1e-6)


MULTIPLY_ADDS = {
    # 28x28x16x(3x3x1) + 14x14x32x(3x3x16) + 1568x128 + 128x10
    "cnn": (28 * 28 * 16 * 9 + 14 * 14 * 32 * 9 * 16 + 1568 * 128 + 128 * 10),
    # LeCun et al. 1998, here on 28x28: 28x28x6x25 + 10x10x16x(25x6) + 400x120 + 120x84 + 84x10
    "lenet5": (28 * 28 * 6 * 25 + 10 * 10 * 16 * 25 * 6 + 400 * 120 + 120 * 84 + 84 * 10),
    "mlp": None,
    "unet": None,
    "resnet20": None,
}


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_multiply_adds_are_half_of_the_operations_that_pytorch_counts(name: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    dataset = "shapes_masks" if name == "unet" else "digits"
    config, _ = read_config(None, {"model.name": name, "data.dataset": dataset})
    model = build(config.model, (1, 28, 28), 10, seed=0)
    image = torch.zeros(1, 1, 28, 28)
    found = sum(sized.multiply_adds for sized in sized_layers(model, lambda: model(image)))
    with FlopCounterMode(display=False) as counter:
        model(image)
    assert found == counter.get_total_flops() / 2
    assert found == (MULTIPLY_ADDS[name] or found)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "idle"),
    [
        (1, 3, 2, 1, True),
        (1, 3, 1, 1, True),
        (2, 3, 2, 1, True),  # its window stands at -1, 0, 1
        (2, 3, 1, 1, False),
        (3, 3, 2, 1, False),
        (4, 3, 4, 1, True),
        (2, 5, 1, 2, True),
        (3, 5, 1, 2, False),
        (8, 3, 1, 0, False),
    ],
)
def test_idle_taps_have_no_gradient(size: int, kernel: int, stride: int, padding: int, idle: bool) -> None:
    conv = nn.Conv2d(2, 2, kernel, stride=stride, padding=padding)
    (sized,) = sized_layers(conv, lambda: conv(torch.ones(1, 2, size, 5)))
    assert sized.has_idle_taps == idle
    conv(torch.ones(1, 2, size, 5)).sum().backward()
    assert conv.weight.grad is not None
    assert bool((conv.weight.grad.abs().sum((0, 1, 3)) == 0).any()) == idle
