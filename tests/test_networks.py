"""The networks of the literature against torchvision and the papers; the parts of `cnn` and `mlp` against torch."""

from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from cnnlab.config import as_config
from cnnlab.config.models import Init
from cnnlab.config.space_reading import read_space
from cnnlab.errors import BadInput
from cnnlab.models import build, sized_layers
from cnnlab.models.blocks import ReflectionPad, initialise

Shape = tuple[int, int, int]

THEIRS = {
    "alexnet": ("alexnet", 61.1e6),
    "vgg11": ("vgg11", 132.9e6),
    "vgg13": ("vgg13", 133.0e6),
    "vgg16": ("vgg16", 138.4e6),
    "vgg19": ("vgg19", 143.7e6),
    "inception": ("googlenet", 6.6e6),
    "resnet18": ("resnet18", 11.7e6),
    "resnet34": ("resnet34", 21.8e6),
    "resnet50": ("resnet50", 25.6e6),
}
"""Ours -> torchvision's, and its parameters for 1,000 classes."""
CIFAR = ("resnet20", "resnet32", "resnet56", "plain20", "plain56")
NEW = (*THEIRS, *CIFAR, "allconv")
NARROW = {"vgg19": 4, "inception": 8, "alexnet": 4, "resnet50": 4, "resnet18": 4, "plain56": 4, "allconv": 4}


def network(name: str, shape: Shape = (1, 28, 28), classes: int = 10, seed: int = 0, **settings: Any) -> nn.Module:
    return build(as_config({"model": {"name": name, **settings}}).model, shape, classes, seed)


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("name", THEIRS)
def test_parameters_and_volumes_are_torchvisions(name: str) -> None:
    theirs, published = THEIRS[name]
    extra = {"aux_logits": False, "init_weights": False} if theirs == "googlenet" else {}
    models = []
    with torch.device("meta"):
        images = torch.zeros(1, 3, 224, 224)
        for model in (network(name, (3, 224, 224), 1000), torchvision.models.get_model(theirs, **extra)):
            layers = sized_layers(model, lambda model=model: model(images))
            models.append((parameters(model), [(layer.input_shape, layer.output_shape) for layer in layers]))
    assert models[0] == models[1]
    assert models[0][0] == pytest.approx(published, abs=0.05e6)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_residual_network_with_torchvisions_weights_has_its_outputs(name: str) -> None:
    ours, theirs = network(name, (3, 65, 65), 7, width=64), torchvision.models.get_model(name, num_classes=7)
    for mine, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        mine.copy_(other)
    images = torch.rand(2, 3, 65, 65)
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize(
    ("name", "layers", "millions"),
    [
        ("resnet20", 20, 0.27),
        ("resnet32", 32, 0.46),
        ("resnet56", 56, 0.85),
        ("plain20", 20, 0.27),
        ("plain56", 56, 0.85),
    ],
)
def test_the_cifar_networks_have_the_papers_sizes(name: str, layers: int, millions: float) -> None:
    with torch.device("meta"):
        model = network(name, (3, 32, 32))
    assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in model.modules()) == layers
    assert round(parameters(model) / 1e6, 2) in (millions, millions + 0.01)  # He et al. 2016, table 6


def test_allconv_has_the_papers_size_and_volumes() -> None:
    with torch.device("meta"):
        model = network("allconv", (3, 32, 32))
        images = torch.zeros(1, 3, 32, 32)
        sizes = [layer.output_shape[1] for layer in sized_layers(model, lambda: model(images))]
    assert sizes == [32, 32, 16, 16, 16, 8, 6, 6, 6]  # Springenberg et al. 2015, table 1 and section 3.1
    assert parameters(model) == 1369738  # 1.4 M in table 3


@pytest.mark.parametrize("depth", [20, 56])
def test_a_plain_network_is_the_residual_one_without_shortcuts(depth: int) -> None:
    plain, residual = network(f"plain{depth}", width=2).eval(), network(f"resnet{depth}", width=2).eval()
    assert {name: weight.shape for name, weight in plain.state_dict().items()} == {
        name: weight.shape for name, weight in residual.state_dict().items()
    }
    images = torch.rand(2, 1, 28, 28)
    assert not torch.equal(plain(images), residual(images))
    for block in residual.modules():
        if hasattr(block, "shortcut"):
            block.shortcut = None
    assert torch.equal(plain(images), residual(images))


@pytest.mark.parametrize("name", NARROW)
def test_the_activation_is_the_one_that_was_set(name: str) -> None:
    model = network(name, width=NARROW[name], activation="tanh")
    others = {type(layer).__name__ for layer in model.modules() if "LU" in type(layer).__name__}
    assert not others
    assert sum(isinstance(layer, nn.Tanh) for layer in model.modules()) > 6
    if "maxpool" in str(model).lower():
        return
    linear = network(name, width=NARROW[name], activation="identity").double().eval()
    first, second = torch.rand(2, 1, 1, 28, 28, dtype=torch.float64)
    zero = linear(torch.zeros_like(first))
    torch.testing.assert_close(linear(first + second) - zero, linear(first) + linear(second) - 2 * zero)


@pytest.mark.parametrize("name", NARROW)
def test_a_step_reaches_every_weight_on_small_images_of_any_shape(name: str) -> None:
    model = network(name, (2, 28, 33), width=NARROW[name])
    logits = model(torch.rand(4, 2, 28, 33))
    assert logits.shape == (4, 10)
    logits.square().sum().backward()
    for path, weight in model.named_parameters():
        assert weight.grad is not None, path
        assert weight.grad.isfinite().all(), path
    first = next(model.parameters()).grad
    assert first is not None
    assert first.abs().sum() > 0


def searched(**model: Any) -> list[str]:
    return [dimension.path for dimension in read_space(as_config({"model": model})).dimensions]


@pytest.mark.parametrize(("name", "dropout"), [("alexnet", 0.5), ("vgg11", 0.5), ("inception", 0.2), ("allconv", 0.5)])
def test_dropout_is_the_papers_and_is_searched(name: str, dropout: float) -> None:
    assert "model.dropout" in searched(name=name)
    assert "model.dropout" not in searched(global_pool=True)
    with torch.device("meta"):
        shares = [layer.p for layer in network(name).modules() if isinstance(layer, nn.Dropout)]
    assert shares[-1] == dropout
    assert len(shares) == {"inception": 1, "allconv": 3}.get(name, 2)


SETTINGS: dict[str, dict[str, Any]] = {
    "perceptron": {},
    "mlp": {},
    "lenet5": {},
    "cnn": {},
    **{name: {"width": width} for name, width in NARROW.items()},
    "torchvision/mobilenet_v3_small": {},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_network_has_the_initialisations(name: str) -> None:
    model = network(name, init="normal", init_std=0.2, **SETTINGS[name])
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    weights = torch.cat([layer.weight.flatten() for layer in layers])
    assert weights.std().item() == pytest.approx(0.2, rel=0.05)
    assert not any(layer.bias.any() for layer in layers if layer.bias is not None)


def test_the_weights_of_attention_are_initialised_too() -> None:
    layer = nn.TransformerEncoderLayer(32, 2)
    initialise(layer, "orthogonal", 0.01)
    for weight in layer.self_attn.in_proj_weight.chunk(3):
        torch.testing.assert_close(weight @ weight.T, torch.eye(32))
    assert not layer.self_attn.in_proj_bias.any()


FILLED = {
    "he_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "he_uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
    "normal": lambda weight: nn.init.normal_(weight, 0, 0.01),
    "zeros": nn.init.zeros_,
    "default": lambda weight: nn.init.kaiming_uniform_(weight, a=5**0.5),
}


@pytest.mark.parametrize("init", get_args(Init))
def test_an_initialisation_is_torchs(init: str) -> None:
    weight = network("perceptron", (1, 3, 4), init=init, seed=5)[1].weight
    torch.manual_seed(5)
    linear = nn.Linear(12, 10)
    if init != "default":
        FILLED[init](linear.weight)
    assert torch.equal(weight, linear.weight)


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("batch", lambda x: F.batch_norm(x, None, None, training=True)),
        ("layer", lambda x: F.layer_norm(x, (64,))),
        ("group", lambda x: torch.cat([F.layer_norm(part, (8,)) for part in x.split(8, 1)], 1)),
    ],
)
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_hidden_norm_is_torchs(name: str, norm: str, expected: Any) -> None:
    *body, linear, normed, activation, last = network(name, (1, 8, 8), hidden=[64], hidden_norm=norm)
    before = linear(nn.Sequential(*body)(torch.rand(6, 1, 8, 8)))
    torch.testing.assert_close(normed(before), expected(before))
    assert isinstance(activation, nn.ReLU)
    assert last.weight.shape == (10, 64)


@pytest.mark.parametrize("units", [1, 4, 8, 12, 17, 100, 128])
def test_a_group_of_hidden_units_has_more_than_one(units: int) -> None:
    norm = next(m for m in network("mlp", hidden=[units], hidden_norm="group") if isinstance(m, nn.GroupNorm))
    assert units // norm.num_groups >= min(units, 8)


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid", 2])
def test_a_convolution_is_torchs(mode: str, dilation: int, stride: int, padding: Any) -> None:
    settings = {"padding_mode": mode, "dilation": dilation, "stride": stride, "padding": padding, "groups": 2}
    model = network("cnn", (4, 16, 15), channels=[4, 6], pool="none", activation="identity", hidden=[], **settings)
    pixels = {"same": dilation, "valid": 0}.get(padding, padding)
    x = expected = torch.rand(2, 4, 16, 15, requires_grad=True)
    for conv in [layer for layer in model if isinstance(layer, nn.Conv2d)]:
        other = nn.Conv2d(4, conv.out_channels, 3, stride, pixels, dilation, conv.groups, padding_mode=mode)
        other.load_state_dict(conv.state_dict())
        expected = other(expected)
    assert conv.groups == 2
    expected = model[-1](expected.flatten(1))
    found = model(x)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(out.square().sum(), x)[0] for out in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_a_mirror_is_torchs_for_an_even_kernel() -> None:
    x = torch.rand(2, 3, 5, 6)
    assert torch.equal(ReflectionPad(1, 2)(x), F.pad(x, (1, 2, 1, 2), mode="reflect"))
    assert torch.equal(ReflectionPad(0, 1)(x), F.pad(x, (0, 1, 0, 1), mode="reflect"))


@pytest.mark.parametrize(("pool", "function"), [("max", F.max_pool2d), ("avg", F.avg_pool2d)])
@pytest.mark.parametrize(("size", "stride"), [(3, 2), (2, None), (3, 1), (2, 3)])
def test_a_pool_is_torchs(pool: str, function: Any, size: int, stride: int | None) -> None:
    settings = {"pool": pool, "pool_size": size, "pool_stride": stride, "activation": "identity", "hidden": []}
    model = network("cnn", (1, 20, 17), channels=[3, 4], **settings)
    x = expected = torch.rand(2, 1, 20, 17)
    for conv in [layer for layer in model if isinstance(layer, nn.Conv2d)]:
        expected = function(conv(expected), size, stride)
    torch.testing.assert_close(model(x), model[-1](expected.flatten(1)))


def test_conv_dropout_drops_whole_channels() -> None:
    model = network("cnn", channels=[64], conv_dropout=0.25, activation="softplus")
    maps: Tensor = model[:4](torch.rand(8, 1, 28, 28))
    with_all = model[:3](torch.rand(1, 1, 28, 28))
    kept = maps.flatten(2).ne(0)
    assert with_all.ne(0).all()
    assert torch.equal(kept.all(2), kept.any(2))
    assert kept.any(2).float().mean().item() == pytest.approx(0.75, abs=0.07)


def test_a_global_pool_takes_images_of_any_size() -> None:
    model = network("cnn", (1, 28, 28), global_pool=True).eval()
    assert [type(layer).__name__ for layer in model][-3:] == ["AdaptiveAvgPool2d", "Flatten", "Linear"]
    images = torch.rand(3, 1, 40, 40)
    torch.testing.assert_close(model(images), model[-1](model[:-3](images).mean((2, 3))))
    assert as_config({"model": {"global_pool": True}}).model.hidden == ()
    assert as_config({"model": {"global_pool": False}}).model.hidden == (128,)


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        ({"name": "alexnet"}, (1, 14, 28), "alexnet's pool 3: the output would be empty: .*= 0; use"),
        ({"name": "alexnet"}, (3, 65, 62), None),
        ({"name": "allconv"}, (1, 8, 8), "allconv's convolution 7: the output would be empty"),
        ({"groups": 3}, (1, 8, 8), "model: groups must divide each of the channels, but got groups=3 and channels 16$"),
        ({"groups": 3, "channels": [4]}, (1, 8, 8), None),
        ({"dilation": 5, "padding": "valid"}, (1, 8, 8), r"block 1 \(with dilation its window spans 11 pixels\): the"),
        (
            {"padding_mode": "reflect", "padding": 8},
            (1, 8, 8),
            "reflect needs more pixels than it adds, but it adds 8 t",
        ),
        ({"padding_mode": "mirror"}, (1, 8, 8), "model.padding_mode: 'mirror' is not allowed; it must be 'zeros' or "),
        ({"pool_size": 9}, (1, 8, 8), r"the pool of block 1: the output would be empty: .*\(8 - 9 \+ 2\*0\)/9 \+ 1"),
        ({"kernel_size": 4, "stride": 2}, (1, 8, 8), "padding same with stride 2 needs an odd kernel_size"),
        ({"kernel_size": 4, "stride": 2, "dilation": 2, "channels": [4]}, (1, 8, 8), None),
        (
            {"global_pool": True, "hidden": [5]},
            (1, 8, 8),
            "model: global_pool is in place of the hidden layers; set mo",
        ),
        ({"init_std": 0.0, "init": "normal"}, (1, 8, 8), "model.init_std: 0.0 is not allowed; it must be greater than"),
        (
            {"name": "inception", "kernel_sizes": [1, 2, 3]},
            (1, 8, 8),
            "model.kernel_sizes.1: 2 is not allowed; it must",
        ),
        ({"name": "inception", "width": 3}, (1, 8, 8), "model.width: 3 is not allowed"),
        ({"name": "vgg12"}, (1, 8, 8), "model.name: 'vgg12' is unknown"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(model: dict[str, Any], shape: Shape, message: str | None) -> None:
    name = model.pop("name", "cnn")
    with torch.device("meta"):
        if message is None:
            network(name, shape, **model)
            return
        with pytest.raises(BadInput, match=message) as caught:
            network(name, shape, **model)
    assert "\n" not in str(caught.value)
