"""A network in the form in which it is trained, saved and measured, on its device and in its precision."""

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.data import Split
from cnnlab.models import Normalize, SizedLayer
from cnnlab.tasks import Task


def trained_form(network: nn.Module, normalize: Normalize) -> nn.Module:
    """The module that is trained and saved: normalisation, then the network. It takes (N, C, H, W) uint8."""
    return nn.Sequential(OrderedDict(normalize=normalize, network=network))


class Network:
    """A task's model on a device. It computes in its precision and returns float32.

    Args:
        model: in its trained form; it is moved to the device, in channels_last, which convolutions need to be fast.
        precision: fp32 or bf16 (autocast).
        frozen: modules that stay in evaluation mode.
    """

    def __init__(
        self, task: Task, model: nn.Module, device: torch.device, precision: str, frozen: Sequence[nn.Module] = ()
    ) -> None:
        self.task = task
        self.frozen = frozen
        self.model: nn.Module = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self.precision = precision

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """inputs: (N, C, H, W) uint8 on the device -> the task's outputs, float32."""
        if self.precision == "fp32":
            return self._forward(inputs, targets)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            return self._forward(inputs, targets).float()

    def train(self) -> None:
        """Put all layers but the frozen ones into training mode."""
        self.model.train()
        for module in self.frozen:
            module.eval()

    def _forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        model = self.model
        return self.task.forward(model.network, model.normalize(inputs), targets)  # type: ignore[arg-type, operator]


def keep_in_fp32(layers: Iterable[SizedLayer]) -> None:
    """Let convolutions with idle taps compute in fp32 inside bf16 autocast on a CPU.

    For taps that only meet padding (3x3 at stride 2 on 1x1 pixels, for example), oneDNN's bf16 weight gradient is
    uninitialised memory (torch 2.11 to 2.15): NaN, or finite but wrong.
    """
    for sized in layers:
        if sized.has_idle_taps:
            sized.layer.forward = partial(_forward_in_fp32, sized.layer)  # type: ignore[method-assign]


def _forward_in_fp32(layer: nn.Module, inputs: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return type(layer).forward(layer, inputs.float())  # type: ignore[no-any-return]


PIXELS_PER_CHUNK = 400_000
"""A chunk with more pixels needs more memory for activations than glibc keeps (docs/performance.md)."""


@torch.inference_mode()
def measure_part(network: Network, split: Split, rank: int = 0, count: int = 1) -> Any:
    """The result of the task's `measure` for every `count`th chunk of the split, from chunk `rank` on.

    It waits for the device once, at the end.
    """
    return network.task.measure(answered(network, split, rank, count))


@torch.inference_mode()
def answers(network: Network, split: Split) -> Tensor:
    """The network's answer for each sample, on the CPU."""
    return torch.cat([network.task.answer(outputs).cpu() for outputs, _ in answered(network, split)])


def answered(network: Network, split: Split, rank: int = 0, count: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs and targets of every `count`th chunk, from chunk `rank` on, on the device, in evaluation mode."""
    network.model.eval()
    size = max(16, min(1024, PIXELS_PER_CHUNK // math.prod(split.inputs.shape[2:])))
    chunks = zip(torch.split(split.inputs, size), torch.split(split.targets, size), strict=True)
    for inputs, targets in islice(chunks, rank, None, count):
        targets = targets.to(network.device, non_blocking=True)
        yield network(inputs.to(network.device, non_blocking=True), targets), targets
