"""Any classification network of torchvision, by torchvision's name."""

import torch
from torch import nn

from cnnlab.config.messages import nearest
from cnnlab.config.models import TorchvisionModel
from cnnlab.errors import BadInput, quoted


def torchvision_model(config: TorchvisionModel, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """torchvision's network with random weights, `classes` outputs, and a first convolution for the data's channels.

    Raises:
        BadInput: torchvision has no such network, or the images are too small for it.
    """
    # importing torchvision takes seconds
    from torchvision import models as zoo

    name = config.name.removeprefix("torchvision/")
    known = zoo.list_models(module=zoo)
    if name not in known:
        raise BadInput(
            f"model.name: torchvision has no classification model {quoted(name)}; "
            f"it has, for example, {', '.join(known[:3])}, resnet18"
            f"{nearest(config.name, [f'torchvision/{other}' for other in known])}"
        )
    # with auxiliary heads, these two would return a tuple
    extra = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = zoo.get_model(name, weights=None, num_classes=classes, **extra)
    _fit_channels(model, shape[0])
    try_on(model, shape, config.name)
    return model


def try_on(model: nn.Module, shape: tuple[int, int, int], name: str) -> None:
    """Raises BadInput if images of this shape are too small for the network."""
    model.eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, *shape))
    except (RuntimeError, AssertionError, ValueError) as error:
        channels, height, width = shape
        raise BadInput(
            f"model.name: {name} cannot take images of {height}x{width}x{channels} "
            f"({str(error).splitlines()[0]}); try larger ones (data.resize=224)"
        ) from None


def _fit_channels(model: nn.Module, channels: int) -> None:
    path, conv = next((path, m) for path, m in model.named_modules() if isinstance(m, nn.Conv2d))
    if conv.in_channels == channels:
        return
    replacement = nn.Conv2d(
        channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    parent, _, last = path.rpartition(".")
    setattr(model.get_submodule(parent), last, replacement)
