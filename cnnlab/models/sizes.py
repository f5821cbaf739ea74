"""The shapes of a layer's input and output, and its multiply-adds; the formula for the size of a window's output."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cnnlab.errors import BadInput

SMALL = 64
"""Images whose shorter side has at most so many pixels get the small form of a network that was made for ImageNet."""


class SizedLayer(NamedTuple):
    """A layer with weights, and the shapes of its input and output for one sample."""

    layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def multiply_adds(self) -> int:
        """Of the forward pass of one sample, without the bias."""
        weight = self.layer.weight
        # a transposed convolution multiplies each input value with its whole slice of the weight
        values = self.input_shape if isinstance(self.layer, nn.ConvTranspose2d) else self.output_shape
        return math.prod(values) * weight[0].numel()

    @property
    def has_idle_taps(self) -> bool:
        """Whether a row or column of a convolution's kernel meets only padding, so that its gradient is 0."""
        if not isinstance(self.layer, nn.Conv2d) or isinstance(self.layer.padding, str):
            return False
        conv = self.layer
        settings = zip(conv.kernel_size, conv.stride, self.layer.padding, conv.dilation, strict=True)
        sides = zip(self.input_shape[-2:], self.output_shape[-2:], strict=True)
        return any(
            all(not 0 <= at * stride - padding + tap * dilation < size for at in range(outputs))
            for (size, outputs), (kernel, stride, padding, dilation) in zip(sides, settings, strict=True)
            for tap in range(kernel)
        )


@contextmanager
def groups_checked() -> Iterator[None]:
    """Within the context one sample goes through a model.

    Raises:
        BadInput: a group normalisation has groups of one value: PyTorch refuses them for one sample only.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise BadInput(
            f"model: a group normalisation has groups of one value, which it makes 0 ({str(error).splitlines()[0]}); "
            "use another norm, more channels or neurons, or larger images"
        ) from None


@torch.no_grad()
def sized_layers(model: nn.Module, forward: Callable[[], object]) -> list[SizedLayer]:
    """The layers with weights in the order of the forward pass; puts the model into evaluation mode.

    Args:
        forward: calls the model on one sample.

    Raises:
        BadInput: a group normalisation has groups of one value.
    """
    sized: list[SizedLayer] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        sized.append(SizedLayer(layer, tuple(inputs[0].shape[1:]), tuple(output.shape[1:])))

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    model.eval()
    with groups_checked():
        forward()
    for hook in hooks:
        hook.remove()
    return sized


def is_small(shape: tuple[int, int, int]) -> bool:
    """Whether images of this shape (C, H, W) get the small form."""
    return min(shape[1:]) <= SMALL


def window_output(size: int, kernel: int, padding: int, stride: int, layer: str) -> int:
    """Side of the output of a convolution or pooling window over an input of `size` pixels.

    OutputSize = (InputSize - KernelSize + 2*Padding)/Stride + 1, rounded down (Dumoulin and Visin 2016,
    relationship 6).

    Raises:
        BadInput: the output would be empty; the message has the formula with its numbers, and names `layer`.
    """
    output = (size - kernel + 2 * padding) // stride + 1
    if output < 1:
        raise BadInput(
            f"{layer}: the output would be empty: OutputSize = (InputSize - KernelSize + 2*Padding)/Stride + 1 = "
            f"({size} - {kernel} + 2*{padding})/{stride} + 1 = {output}; "
            "use fewer or smaller windows, more padding, or larger images (data.resize)"
        )
    return output
