"""Residual networks (He et al. 2016), for small images and for ImageNet's, and the same without shortcuts."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.config.models import CifarResNet, ResNet
from cnnlab.models.blocks import ACTIVATIONS
from cnnlab.models.sizes import is_small

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
"""The number of blocks in each stage: table 1 of the paper."""


def cifar_resnet(config: CifarResNet, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """3 stages of n blocks, 6n + 2 layers, with parameter-free shortcuts (section 4.2, option A); plain: without them.

    With 20 layers and width 16 it has 0.27 M parameters.
    """
    activation, shortcuts = ACTIVATIONS[config.activation], config.name.startswith("resnet")

    def block(inputs: int, channels: int, stride: int) -> nn.Module:
        first, second = _convolution(inputs, channels, 3, stride), _convolution(channels, channels, 3)
        residual = nn.Sequential(*first, activation(), *second)
        return Residual(residual, Subsample(stride, channels - inputs) if shortcuts else None, activation())

    widths = [config.width, 2 * config.width, 4 * config.width]
    blocks = _stages(block, config.width, widths, (int(config.name[-2:]) // 6,) * 3)  # the first to draw its weights
    stem = [*_convolution(shape[0], config.width, 3), activation()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))


def resnet(config: ResNet, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """4 stages of blocks of two convolutions, or, with 50 layers, of bottlenecks of three (table 1).

    A shortcut between different shapes is a convolution (option B). A bottleneck's stride is in its second convolution,
    as in torchvision. The small form has a first convolution of 3x3 pixels with stride 1, and no pool.
    """
    activation, bottleneck = ACTIVATIONS[config.activation], config.name == "resnet50"
    expansion, small = 4 if bottleneck else 1, is_small(shape)

    def block(inputs: int, channels: int, stride: int) -> nn.Module:
        outputs = expansion * channels
        if bottleneck:
            first = [*_convolution(inputs, channels, 1), activation(), *_convolution(channels, channels, 3, stride)]
            residual = nn.Sequential(*first, activation(), *_convolution(channels, outputs, 1))
        else:
            first = _convolution(inputs, channels, 3, stride)
            residual = nn.Sequential(*first, activation(), *_convolution(channels, outputs, 3))
        same = stride == 1 and inputs == outputs
        shortcut = nn.Identity() if same else nn.Sequential(*_convolution(inputs, outputs, 1, stride))
        return Residual(residual, shortcut, activation())

    widths = [config.width * times for times in (1, 2, 4, 8)]
    stem = [*_convolution(shape[0], config.width, *((3, 1) if small else (7, 2))), activation()]
    stem += [] if small else [nn.MaxPool2d(3, 2, padding=1)]
    blocks = _stages(block, config.width, widths, BLOCKS[config.name], expansion)
    head = nn.Linear(expansion * widths[-1], classes)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


def _stages(
    block: Callable[[int, int, int], nn.Module],
    inputs: int,
    widths: list[int],
    counts: tuple[int, ...],
    expansion: int = 1,
) -> list[nn.Module]:
    """The blocks, made of (inputs, channels, stride); from the second stage on, the first one halves the image."""
    blocks: list[nn.Module] = []
    for stage, (width, count) in enumerate(zip(widths, counts, strict=True)):
        for number in range(count):
            blocks.append(block(inputs, width, 2 if stage > 0 and number == 0 else 1))
            inputs = expansion * width
    return blocks


class Residual(nn.Module):
    """activation(residual(x) + shortcut(x)); without a shortcut, activation(residual(x))."""

    def __init__(self, residual: nn.Module, shortcut: nn.Module | None, activation: nn.Module) -> None:
        super().__init__()
        self.residual, self.shortcut, self.activation = residual, shortcut, activation

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, inputs, H, W) -> (N, outputs, ceil(H/stride), ceil(W/stride))."""
        out: Tensor = self.residual(x)
        if self.shortcut is not None:
            out = out.add_(self.shortcut(x))
        activated: Tensor = self.activation(out)
        return activated


class Subsample(nn.Module):
    """A shortcut without parameters: if the shape changes, x is subsampled and padded with channels of zeros."""

    def __init__(self, stride: int, new_channels: int) -> None:
        super().__init__()
        self.stride, self.new_channels = stride, new_channels

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, inputs, H, W) -> (N, inputs + new_channels, ceil(H/stride), ceil(W/stride))."""
        if self.stride == 1 and self.new_channels == 0:
            return x
        half = self.new_channels // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.new_channels - half))
