"""A network as it is trained and saved, on its device and in its precision."""

import torch
from torch import Tensor, nn

from cnnlab.models import Normalize


def trained_form(network: nn.Module, normalize: Normalize) -> nn.Module:
    """What is trained and saved: normalisation, then the network. It takes (N, C, H, W) uint8."""
    model = nn.Sequential()
    model.add_module("normalize", normalize)
    model.add_module("network", network)
    return model


class Network:
    """A model that answers in float32, whatever precision it computes in.

    Args:
        model: moved to the device, in memory that convolutions like.
        precision: fp32 or bf16 (autocast).
    """

    def __init__(self, model: nn.Module, device: torch.device, precision: str) -> None:
        self.model: nn.Module = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        self.precision = precision

    def __call__(self, inputs: Tensor) -> Tensor:
        """inputs: (N, C, H, W) uint8 on the device -> the model's outputs, float32."""
        if self.precision == "fp32":
            return self.model(inputs)  # type: ignore[no-any-return]
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            return self.model(inputs).float()  # type: ignore[no-any-return]
