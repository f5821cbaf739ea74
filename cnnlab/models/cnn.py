"""The configurable convolutional network: blocks of conv, norm, activation, pool; hidden layers; the classes."""

from torch import nn

from cnnlab.config.models import CNN
from cnnlab.models.blocks import ACTIVATIONS, NON_DECREASING, NORMS, POOLS
from cnnlab.models.classic import fully_connected
from cnnlab.models.sizes import window_output


def cnn(config: CNN, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """One block per channel count, then the hidden layers with dropout, then the classes' logits.

    Raises:
        BadInput: a layer would have an empty output.
    """
    inputs, *sides = shape
    height, width = (_output_side(config, side) for side in sides)
    layers: list[nn.Module] = []
    for outputs in config.channels:
        layers += _block(config, inputs, outputs)
        inputs = outputs
    hidden = fully_connected(inputs * height * width, config.hidden, classes, config)
    return nn.Sequential(*layers, nn.Flatten(), *hidden)


def _block(config: CNN, inputs: int, outputs: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    before, after = _padding(config)
    if before != after:  # an even kernel; PyTorch's "same" does this too, with a warning
        layers.append(nn.ZeroPad2d((before, after, before, after)))
    padding = before if before == after else 0
    layers.append(nn.Conv2d(inputs, outputs, config.kernel_size, stride=config.stride, padding=padding))
    if config.norm != "none":
        layers.append(NORMS[config.norm](outputs))
    tail = [ACTIVATIONS[config.activation]()]
    if config.pool != "none":
        tail.append(POOLS[config.pool]())
    if config.pool == "max" and config.activation in NON_DECREASING:
        tail.reverse()  # max(activation(x)) = activation(max(x)): the same values, a quarter of the work
    return layers + tail


def _padding(config: CNN) -> tuple[int, int]:
    """Pixels before (above, left of) and after (below, right of) the image."""
    if config.padding == "same":
        return (config.kernel_size - 1) // 2, config.kernel_size // 2
    pixels = 0 if config.padding == "valid" else config.padding
    return pixels, pixels


def _output_side(config: CNN, side: int) -> int:
    before, after = _padding(config)
    for number in range(1, len(config.channels) + 1):
        # the extra pixel after the image (of an even kernel) counts as part of the image
        layer = f"model.kernel_size: the convolution of block {number}"
        side = window_output(side + after - before, config.kernel_size, before, config.stride, layer)
        if config.pool != "none":
            side = window_output(side, 2, 0, 2, f"model.channels: the pool of block {number}")
    return side
