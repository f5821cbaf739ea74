"""A network's layers in the order of the forward pass: volumes, receptive field, parameters, multiply-adds.

Not in the face of the package: PyTorch's counter takes half a second to import, which no training needs.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakTensorKeyDictionary

from cnnlab.models.sizes import groups_checked

Sides = tuple[float, ...]
"""Height and width; empty for points."""
aten = torch.ops.aten


class Window(NamedTuple):
    """Pixels for height and width."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


class Layer(NamedTuple):
    """A module without modules inside; shapes are of one sample."""

    name: str
    kind: str
    """The module's class."""
    input: tuple[int, ...]
    window: Window | None
    output: tuple[int, ...]
    field: tuple[int, ...]
    """Height and width of the receptive field in pixels of the image, as if the image had no end."""
    parameters: int
    multiply_adds: int
    """Of the forward pass, per sample, without biases."""
    kept: int
    """Values of the output, per sample; 0 if the layer returns its input, changed in place or reshaped."""


def layers_of(model: nn.Module, shape: tuple[int, ...]) -> tuple[list[Layer], int]:
    """The layers, one more each time that a module is called, and the multiply-adds of all operations.

    Only shapes are computed: `model` is on the device "meta", and so its weights need no memory.

    Args:
        shape: of one sample: (C, H, W), or (2,) for points.

    Raises:
        BadInput: as of `groups_checked`.
    """
    layers: list[Layer] = []
    fields, counter = FieldMode(), FlopCounterMode(display=False)
    before = 0

    def start(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal before
        before = counter.get_total_flops()

    def end(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def note(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            result: Tensor = output[0] if isinstance(output, tuple) else output
            same = isinstance(layer, nn.Flatten) or result is inputs[0]
            layers.append(
                Layer(
                    name,
                    kind=type(layer).__name__,
                    input=tuple(inputs[0].shape[1:]),
                    window=_window_of(layer),
                    output=tuple(result.shape[1:]),
                    field=tuple(math.ceil(side) for side in fields.fields[result].size),
                    parameters=sum(weight.numel() for weight in layer.parameters()),
                    multiply_adds=(counter.get_total_flops() - before) // 2,
                    kept=0 if same else result[0].numel(),
                )
            )

        return note

    for name, module in model.named_modules():
        # an attention is a layer with a layer inside that it does not call
        if isinstance(module, nn.MultiheadAttention) or not (isinstance(module, nn.Identity) or any(module.children())):
            module.register_forward_pre_hook(start)
            module.register_forward_hook(end(name))
        module.training = isinstance(module, nn.Dropout | nn.Dropout2d)  # in evaluation mode they return their input
    image = torch.zeros(1, *shape, device="meta")
    fields.fields[image] = Field((1.0,) * len(shape[1:]), (1.0,) * len(shape[1:]), shape[1:])
    with groups_checked(), torch.no_grad(), counter, fields:
        model(image)
    return layers, counter.get_total_flops() // 2


def _window_of(layer: Any) -> Window | None:
    """None for a layer without a window, and for one whose padding has no number of pixels."""
    if not hasattr(layer, "kernel_size") or isinstance(getattr(layer, "padding", 0), str):
        return None
    values = (layer.kernel_size, layer.stride, layer.padding)
    return Window(*((value, value) if isinstance(value, int) else value for value in values))


class Field(NamedTuple):
    """What a value of a tensor depends on, in pixels of the image; height and width."""

    size: Sides
    jump: Sides
    """From a value to its neighbour."""
    positions: tuple[int, ...]
    """The number of values beside each other."""


class FieldMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the receptive field through each operation, by the formula of Araujo et al. 2019 (Distill, equation 2).

    A window of k values at stride s makes r + (k - 1) * j of the field r, and s * j of the jump j. A fully connected
    layer is a window over all positions, and so is attention. Where branches meet, the largest field counts. All other
    operations keep the field.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fields = WeakTensorKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        inputs = [each for arg in args for each in (arg if isinstance(arg, list | tuple) else [arg])]
        met = [self.fields[each] for each in inputs if isinstance(each, Tensor) and each in self.fields]
        results = output if isinstance(output, list | tuple) else [output]
        if met:
            field = max(met, key=lambda each: each.positions)  # one value for all positions has no jump
            field = field._replace(size=tuple(map(max, zip(*(each.size for each in met), strict=True))))
            if window := _window(func.overloadpacket, args, field.positions, results[0]):
                field = _through(field, *window)
            self.fields.update((result, field) for result in results if isinstance(result, Tensor))
        return output


def _through(field: Field, kernel: Sides, stride: Sides, positions: tuple[int, ...]) -> Field:
    grown = (r + (k - 1) * j for r, k, j in zip(field.size, kernel, field.jump, strict=True))
    return Field(tuple(grown), tuple(s * j for s, j in zip(stride, field.jump, strict=True)), positions)


def _window(
    operation: Any, args: Sequence[Any], positions: tuple[int, ...], output: Tensor
) -> tuple[Sides, Sides, tuple[int, ...]] | None:
    """An operation's kernel, stride and positions of its output; None if each value stays where it is."""
    after = tuple(output.shape[2:])
    if operation is aten.convolution:
        kernel, stride, dilation, transposed = args[1].shape[2:], args[3], args[5], args[6]
        if transposed:
            return tuple(-(-k // s) for k, s in zip(kernel, stride, strict=True)), tuple(1 / s for s in stride), after
        return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)), tuple(stride), after
    if operation in (aten.max_pool2d_with_indices, aten.avg_pool2d):
        return tuple(args[1]), tuple(args[2] if len(args) > 2 and args[2] else args[1]), after
    if operation is aten._adaptive_avg_pool2d or (operation is aten.mean and len(after) == 2):
        before = args[0].shape[2:]
        stride = tuple(n // m for n, m in zip(before, after, strict=True))
        return tuple(n - (m - 1) * s for n, m, s in zip(before, after, stride, strict=True)), stride, after
    if operation is aten.slice and len(after) == 2 and args[1] >= 2:
        step = args[4] if len(args) > 4 else 1
        return (1, 1), (step, 1) if args[1] == 2 else (1, step), after
    # more rows than the one sample are tokens, and each is alone
    if operation is aten.bmm or (operation in (aten.mm, aten.addmm) and len(output) == 1):
        return positions, (1,) * len(positions), (1,) * len(positions)
    return None
