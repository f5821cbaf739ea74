"""A network as it is trained, saved and measured, on its device and in its precision."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.data import Split
from cnnlab.models import Normalize, SizedLayer
from cnnlab.tasks import Task


def trained_form(network: nn.Module, normalize: Normalize) -> nn.Module:
    """What is trained and saved: normalisation, then the network. It takes (N, C, H, W) uint8."""
    model = nn.Sequential()
    model.add_module("normalize", normalize)
    model.add_module("network", network)
    return model


class Network:
    """A task's model that answers in float32, whatever precision it computes in.

    Args:
        model: in its trained form; moved to the device, in memory that convolutions like.
        precision: fp32 or bf16 (autocast).
    """

    def __init__(self, task: Task, model: nn.Module, device: torch.device, precision: str) -> None:
        self.task = task
        self.model: nn.Module = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self.precision = precision

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """inputs: (N, C, H, W) uint8 on the device -> the task's outputs, float32."""
        if self.precision == "fp32":
            return self._forward(inputs, targets)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            return self._forward(inputs, targets).float()

    def _forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        model = self.model
        return self.task.forward(model.network, model.normalize(inputs), targets)  # type: ignore[arg-type, operator]


def keep_in_fp32(layers: Iterable[SizedLayer]) -> None:
    """Have convolutions with idle taps compute in fp32 inside bf16 autocast on a CPU.

    Of taps that only ever meet padding, oneDNN's bf16 weight gradient is whatever the memory held before (torch 2.11 to
    2.15; 3x3 at stride 2 on 1x1 pixels, for example): NaN at worst, and finite but wrong otherwise.
    """
    for sized in layers:
        if sized.has_idle_taps:
            sized.layer.forward = partial(_forward_in_fp32, sized.layer)  # type: ignore[method-assign]


def _forward_in_fp32(layer: nn.Module, inputs: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return type(layer).forward(layer, inputs.float())  # type: ignore[no-any-return]


PIXELS_PER_CHUNK = 400_000
"""Beyond, activations outgrow the memory that is kept (docs/performance.md)."""


@torch.inference_mode()
def measure_part(network: Network, split: Split, rank: int = 0, count: int = 1) -> Any:
    """What rank `rank` of `count` measures, in evaluation mode: each `count`th chunk of the split.

    Returns:
        What the task's `metrics` takes. It waits for the device once, at the end.
    """
    network.model.eval()
    return network.task.measure(_answered(network, _chunks(split)[rank::count]))


@torch.inference_mode()
def answers(network: Network, split: Split) -> Tensor:
    """The network's answer for each sample, on the CPU."""
    network.model.eval()
    return torch.cat([network.task.answer(outputs).cpu() for outputs, _ in _answered(network, _chunks(split))])


def _answered(network: Network, chunks: Sequence[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs and targets of each chunk, on the device."""
    for inputs, targets in chunks:
        wanted = targets.to(network.device, non_blocking=True)
        yield network(inputs.to(network.device, non_blocking=True), wanted), wanted


def _chunks(split: Split) -> list[tuple[Tensor, Tensor]]:
    height, width = split.inputs.shape[2:]
    size = max(16, min(1024, PIXELS_PER_CHUNK // (height * width)))
    return list(zip(torch.split(split.inputs, size), torch.split(split.targets, size), strict=True))
