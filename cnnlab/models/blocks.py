"""Names in the config -> PyTorch's layers and initialisations; blocks that several models use."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from cnnlab.config.models import FCN, UNet


class Step(nn.Module):
    """1 for positive inputs, else 0. Its gradient is the straight-through one of the identity, without a factor.

    Bengio, Léonard and Courville 2013, arXiv 1308.3432.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Of any shape."""
        return (inputs > 0).to(inputs.dtype) + (inputs - inputs.detach())  # what is added is 0


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(inplace=True),
    "elu": lambda: nn.ELU(inplace=True),
    "gelu": nn.GELU,
    "silu": lambda: nn.SiLU(inplace=True),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "step": Step,
    "identity": nn.Identity,
}

NON_DECREASING = {"relu", "leaky_relu", "elu", "tanh", "sigmoid", "softplus", "identity"}
"""Activations that keep the order of their inputs."""

POOLS: dict[str, type[nn.MaxPool2d | nn.AvgPool2d]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "group": lambda channels: nn.GroupNorm(math.gcd(8, channels), channels),
}

HIDDEN_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "group": lambda units: nn.GroupNorm(math.gcd(8, units, units // 8 or 1), units),  # of one unit, all values are 0
}

INITS: dict[str, Callable[..., Tensor]] = {
    "he_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),  # He et al. 2015, section 2.2
    "he_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "xavier_normal": nn.init.xavier_normal_,  # Glorot and Bengio 2010, section 4.2
    "xavier_uniform": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,  # Saxe et al. 2013
    "normal": nn.init.normal_,
    "zeros": nn.init.zeros_,
}


def initialise(module: nn.Module, name: str, std: float) -> None:
    """Fill the weights of convolutions (transposed ones too), fully connected layers and attention; biases become 0.

    "default" keeps the network's own initialisation. Draws from torch's global generator.

    Args:
        std: the standard deviation of "normal".
    """
    if name == "default":
        return
    fill = partial(INITS[name], std=std) if name == "normal" else INITS[name]
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fill(layer.weight.data)
        elif isinstance(layer, nn.ConvTranspose2d):
            _fill_up(layer.weight.data, fill)
        elif isinstance(layer, nn.MultiheadAttention):
            for weight in layer.in_proj_weight.data.chunk(3):  # of the queries, the keys and the values
                fill(weight)
            nn.init.zeros_(layer.in_proj_bias)
            continue
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _fill_up(weight: Tensor, fill: Callable[[Tensor], Tensor]) -> None:
    """weight: (inputs, outputs, k, k). The windows do not overlap, so each output pixel has its own weights."""
    inputs, *others = weight.shape
    weight.copy_(fill(torch.empty(math.prod(others), inputs)).T.view_as(weight))


class ReflectionPad(nn.Module):
    """nn.ReflectionPad2d((before, after, before, after)), whose gradient on a GPU has other bits each time."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) -> (N, C, before + H + after, before + W + after)."""
        for dim, size in ((2, x.shape[2]), (3, x.shape[3])):
            first, last = x.narrow(dim, 1, self.before), x.narrow(dim, size - 1 - self.after, self.after)
            x = torch.cat([first.flip(dim), x, last.flip(dim)], dim)
        return x


def two_convolutions(config: FCN | UNet, inputs: int, outputs: int, kernel_size: int) -> list[nn.Module]:
    """Twice: convolution that keeps the size (its kernel is odd), normalisation, activation."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers.append(nn.Conv2d(channels, outputs, kernel_size, padding=kernel_size // 2))
        layers += [NORMS[config.norm](outputs)] if config.norm != "none" else []
        layers.append(ACTIVATIONS[config.activation]())
    return layers


class Normalize(nn.Module):
    """Stored images -> a network's input: (x - mean) / std per channel. Of points, per coordinate.

    It is the first layer of each trained model, so that a saved model takes plain uint8 images.

    Args:
        mean, std: (C,) on the scale 0..255.
        sides: the number of dimensions of the inputs after the channels: 2, or 0 for points.
    """

    def __init__(self, mean: Tensor, std: Tensor, sides: int = 2) -> None:
        super().__init__()
        shape = (1, -1, *(1,) * sides)
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", (1 / std).float().view(shape))
        self.register_buffer("shift", (-mean / std).float().view(shape))

    def forward(self, images: Tensor) -> Tensor:
        """images: (N, C, H, W) uint8 or float in 0..255, or points (N, 2) -> float32 of the same shape."""
        return torch.addcmul(self.shift, images.float(), self.scale)

    @classmethod
    def of(cls, images: Tensor) -> "Normalize":
        """With the statistics of `images`, (N, C, H, W) uint8. A channel without contrast is only shifted.

        Computed from exact counts of the 256 values, so that the bits do not depend on the number of threads. Points,
        (N, 2) float32, are few.
        """
        if images.is_floating_point():
            values = images.double()
            return cls(values.mean(0), values.std(0, correction=0), sides=0)
        counts = [torch.zeros(256, dtype=torch.int64) for _ in range(images.shape[1])]
        for chunk in torch.split(images, 4096):  # bincount converts its input to int64
            for channel, count in enumerate(counts):
                count += torch.bincount(chunk[:, channel].flatten(), minlength=256)
        values = torch.arange(256, dtype=torch.float64)
        shares = torch.stack(counts).double() / (images.numel() / images.shape[1])
        mean = shares @ values
        std = ((values - mean[:, None]) ** 2 * shares).sum(1).sqrt()
        return cls(mean.float(), torch.where(std > 0, std, 1.0).float())
