"""The configurable convolutional network: blocks of conv, norm, activation, pool; hidden layers; the classes."""

from torch import nn

from cnnlab.config.models import CNN
from cnnlab.errors import BadInput
from cnnlab.models.blocks import ACTIVATIONS, NON_DECREASING, NORMS, POOLS, ReflectionPad
from cnnlab.models.classic import fully_connected
from cnnlab.models.sizes import window_output


def cnn(config: CNN, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """One block per channel count, then the hidden layers or the average over the image, then the classes' logits.

    Raises:
        BadInput: a layer would have an empty output.
    """
    inputs, *sides = shape
    height, width = (_output_side(config, side) for side in sides)
    layers: list[nn.Module] = []
    for outputs in config.channels:
        layers += _block(config, inputs, outputs, config.groups if layers else 1)
        inputs = outputs
    if config.global_pool:
        layers.append(nn.AdaptiveAvgPool2d(1))
        height = width = 1
    hidden = fully_connected(inputs * height * width, config.hidden, classes, config)
    return nn.Sequential(*layers, nn.Flatten(), *hidden)


def _block(config: CNN, inputs: int, outputs: int, groups: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    before, after = _padding(config)
    padding = before if before == after and config.padding_mode == "zeros" else 0
    if config.padding_mode == "reflect":
        layers.append(ReflectionPad(before, after))
    elif before != after:  # an even kernel; PyTorch's "same" does this too, with a warning
        layers.append(nn.ZeroPad2d((before, after, before, after)))
    layers.append(
        nn.Conv2d(
            inputs,
            outputs,
            config.kernel_size,
            stride=config.stride,
            padding=padding,
            dilation=config.dilation,
            groups=groups,
        )
    )
    if config.norm != "none":
        layers.append(NORMS[config.norm](outputs))
    tail = [ACTIVATIONS[config.activation]()]
    if config.pool != "none":
        tail.append(POOLS[config.pool](config.pool_size, config.pool_stride))
    if config.pool == "max" and config.activation in NON_DECREASING:
        tail.reverse()  # max(activation(x)) = activation(max(x)): the same values, a quarter of the work
    if config.conv_dropout > 0:
        tail.append(nn.Dropout2d(config.conv_dropout))
    return layers + tail


def _padding(config: CNN) -> tuple[int, int]:
    """Pixels before (above, left of) and after (below, right of) the image."""
    if config.padding == "same":
        return (config.window - 1) // 2, config.window // 2
    pixels = 0 if config.padding == "valid" else config.padding
    return pixels, pixels


def _output_side(config: CNN, side: int) -> int:
    before, after = _padding(config)
    for number in range(1, len(config.channels) + 1):
        # the extra pixel after the image (of an even kernel) counts as part of the image
        if config.padding_mode == "reflect" and after >= side:
            raise BadInput(
                f"model.padding_mode: reflect needs more pixels than it adds, but it adds {after} to the {side} pixels "
                f"before the convolution of block {number}; use zeros, a smaller kernel_size or fewer channels"
            )
        span = f" (with dilation its window spans {config.window} pixels)" if config.dilation > 1 else ""
        layer = f"model.kernel_size: the convolution of block {number}{span}"
        side = window_output(side + after - before, config.window, before, config.stride, layer)
        if config.pool != "none":
            stride = config.pool_stride or config.pool_size
            side = window_output(side, config.pool_size, 0, stride, f"model.channels: the pool of block {number}")
    return side
