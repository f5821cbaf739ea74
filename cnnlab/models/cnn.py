"""The configurable convolutional network: blocks of conv, norm, activation, pool; hidden layers; the classes."""

from torch import nn

from cnnlab.config.models import CNN
from cnnlab.models.blocks import ACTIVATIONS, NORMS, POOLS
from cnnlab.models.classic import fully_connected
from cnnlab.models.sizes import window_output


def cnn(config: CNN, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """One block for each channel count, then the hidden layers with dropout, then the classes' logits.

    Raises:
        BadInput: where a layer would come out empty.
    """
    inputs, height, width = shape
    for side in (height, width):
        _output_side(config, side)
    layers: list[nn.Module] = []
    for outputs in config.channels:
        layers += _block(config, inputs, outputs)
        inputs = outputs
    features = inputs * _output_side(config, height) * _output_side(config, width)
    return nn.Sequential(*layers, nn.Flatten(), *fully_connected(features, config.hidden, classes, config))


def _block(config: CNN, inputs: int, outputs: int) -> list[nn.Module]:
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, config.kernel_size, stride=config.stride, padding=_torch_padding(config))
    ]
    if config.norm != "none":
        layers.append(NORMS[config.norm](outputs))
    layers.append(ACTIVATIONS[config.activation]())
    if config.pool != "none":
        layers.append(POOLS[config.pool]())
    return layers


def _torch_padding(config: CNN) -> int | str:
    # Conv2d refuses "same" with a stride; (k - 1) / 2 pixels on each side are the same for an odd kernel
    if config.padding == "same" and config.kernel_size % 2 == 1:
        return (config.kernel_size - 1) // 2
    return config.padding


def _output_side(config: CNN, side: int) -> int:
    for number in range(1, len(config.channels) + 1):
        side = _conv_side(config, side, number)
        if config.pool != "none":
            side = window_output(side, 2, 0, 2, f"model.channels: the pool of block {number}")
    return side


def _conv_side(config: CNN, side: int, number: int) -> int:
    if config.padding == "same" and config.kernel_size % 2 == 0:
        return side
    padding = _torch_padding(config)
    pixels = padding if isinstance(padding, int) else 0
    layer = f"model.kernel_size: the convolution of block {number}"
    return window_output(side, config.kernel_size, pixels, config.stride, layer)
