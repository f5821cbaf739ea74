"""Plain stacks of convolutions from the literature: AlexNet, VGG, the all convolutional net."""

import math

from torch import nn

from cnnlab.config.models import VGG, AlexNet, AllConv
from cnnlab.models.blocks import ACTIVATIONS, NORMS
from cnnlab.models.classic import fully_connected
from cnnlab.models.sizes import is_small, window_output

CONVOLUTIONS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
"""The number of convolutions before each pool: Simonyan and Zisserman 2015, table 1, columns A, B, D and E."""


def alexnet(config: AlexNet, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """AlexNet in one column (Krizhevsky 2014, section 5), without response normalisation, as in torchvision.

    The small form has a first convolution of 5x5 pixels with stride 1, and hidden layers of an eighth of the size.

    Raises:
        BadInput: the images are too small for its pools.
    """
    small = is_small(shape)
    kernel, stride = (5, 1) if small else (11, 4)
    inputs, *sides = shape
    sides = [window_output(side, kernel, 2, stride, "alexnet's convolution 1") for side in sides]
    for number in (1, 2, 3):
        sides = [window_output(side, 3, 0, 2, f"alexnet's pool {number}") for side in sides]
    first, second, third, fourth = (config.width * times for times in (1, 3, 6, 4))
    hidden = config.width * (8 if small else 64)

    def activation() -> nn.Module:
        return ACTIVATIONS[config.activation]()

    return nn.Sequential(
        *[nn.Conv2d(inputs, first, kernel, stride=stride, padding=2), activation(), nn.MaxPool2d(3, 2)],
        *[nn.Conv2d(first, second, 5, padding=2), activation(), nn.MaxPool2d(3, 2)],
        *[nn.Conv2d(second, third, 3, padding=1), activation()],
        *[nn.Conv2d(third, fourth, 3, padding=1), activation()],
        *[nn.Conv2d(fourth, fourth, 3, padding=1), activation(), nn.MaxPool2d(3, 2)],
        nn.Flatten(),
        *fully_connected(fourth * math.prod(sides), (hidden, hidden), classes, config),
    )


def vgg(config: VGG, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Convolutions of 3x3 pixels in five groups, each halved by a pool (Simonyan and Zisserman 2015, table 1).

    A pool rounds up, so that images of any size fit. The small form has hidden layers of an eighth of the size.
    """
    inputs, *sides = shape
    layers: list[nn.Module] = []
    for times, count in zip((1, 2, 4, 8, 8), CONVOLUTIONS[config.name], strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(inputs, times * config.width, 3, padding=1))
            inputs = times * config.width
            layers += [NORMS[config.norm](inputs)] if config.norm != "none" else []
            layers.append(ACTIVATIONS[config.activation]())
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    height, width = (-(-side // 32) for side in sides)
    hidden = config.width * (8 if is_small(shape) else 64)
    return nn.Sequential(
        *layers, nn.Flatten(), *fully_connected(inputs * height * width, (hidden, hidden), classes, config)
    )


def allconv(config: AllConv, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """All-CNN-C: convolutions of stride 2 in place of pools (Springenberg et al. 2015, table 1 and section 3.1).

    Raises:
        BadInput: the images are too small for its convolutions.
    """
    for side in shape[1:]:
        window_output(-(-side // 4), 3, 0, 1, "allconv's convolution 7")
    inputs, narrow, wide = shape[0], config.width, 2 * config.width
    layers: list[nn.Module] = [nn.Dropout(config.input_dropout)]
    for outputs, kernel, stride, padding in (
        *[(narrow, 3, 1, 1), (narrow, 3, 1, 1), (narrow, 3, 2, 1)],
        *[(wide, 3, 1, 1), (wide, 3, 1, 1), (wide, 3, 2, 1)],
        *[(wide, 3, 1, 0), (wide, 1, 1, 0)],
    ):
        layers += [nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding), ACTIVATIONS[config.activation]()]
        layers += [nn.Dropout(config.dropout)] if stride == 2 else []
        inputs = outputs
    return nn.Sequential(*layers, nn.Conv2d(wide, classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
