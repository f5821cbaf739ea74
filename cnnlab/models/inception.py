"""GoogLeNet: modules of parallel convolutions with windows of several sizes (Szegedy et al. 2015)."""

import torch
from torch import Tensor, nn

from cnnlab.config.models import Inception
from cnnlab.models.blocks import ACTIVATIONS
from cnnlab.models.sizes import is_small

MODULES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        *((192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64)),
        *((112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128)),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""The modules between two pools, each as the channels of #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5 and pool proj:
table 1 of the paper."""


def inception(config: Inception, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """GoogLeNet without auxiliary heads, with batch normalisation, as in torchvision.

    The small form has a first convolution of 3x3 pixels with stride 1, no pool before the first module, and a quarter
    of the channels.
    """
    small = is_small(shape)
    width = config.width or (16 if small else 64)
    kernel, stride = (3, 1) if small else (7, 2)
    pool = [] if small else [_pool(2)]
    layers: list[nn.Module] = [
        *[_convolution(config, shape[0], width, kernel, stride), *pool],
        *[_convolution(config, width, width, 1), _convolution(config, width, 3 * width, 3), *pool],
    ]
    inputs = 3 * width
    for number, modules in enumerate(MODULES):
        layers += [_pool(2)] if number else []
        for channels in modules:
            module = Branches(config, inputs, [count * width // 64 for count in channels])
            layers.append(module)
            inputs = module.outputs
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(config.dropout), nn.Linear(inputs, classes)
    )


class Branches(nn.Module):
    """Three branches of convolutions and one of a pool, whose outputs are concatenated (figure 2b of the paper).

    Args:
        channels: as in `MODULES`.
    """

    def __init__(self, config: Inception, inputs: int, channels: list[int]) -> None:
        super().__init__()
        one, three_in, three, five_in, five, pooled = channels
        first, second, third = config.kernel_sizes
        self.branches = nn.ModuleList(
            [
                _convolution(config, inputs, one, first),
                nn.Sequential(_convolution(config, inputs, three_in, 1), _convolution(config, three_in, three, second)),
                nn.Sequential(_convolution(config, inputs, five_in, 1), _convolution(config, five_in, five, third)),
                nn.Sequential(_pool(1), _convolution(config, inputs, pooled, 1)),
            ]
        )
        self.outputs = one + three + five + pooled

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, inputs, H, W) -> (N, outputs, H, W)."""
        return torch.cat([branch(x) for branch in self.branches], 1)


def _convolution(config: Inception, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        ACTIVATIONS[config.activation](),
    )


def _pool(stride: int) -> nn.Module:
    return nn.MaxPool2d(3, stride, padding=1)
