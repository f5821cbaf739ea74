"""Any classification network of timm, by timm's name."""

from typing import Any

from torch import nn

from cnnlab.config.messages import nearest
from cnnlab.config.models import TimmModel
from cnnlab.errors import BadInput, quoted
from cnnlab.models.torchvision_model import try_on


def timm_model(config: TimmModel, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """timm's network with random weights, `classes` outputs, and a first convolution for the data's channels.

    Raises:
        BadInput: timm is not installed or has no such network, or the images do not fit it.
    """
    timm, name = import_timm(), config.name.removeprefix("timm/")
    try:
        model: nn.Module = timm.create_model(name, num_classes=classes, in_chans=shape[0])
    except (RuntimeError, TypeError) as error:  # no such network or tag; one that takes no in_chans
        hint = nearest(config.name, [f"timm/{other}" for other in timm.list_models()])
        raise BadInput(
            f"model.name: timm cannot make {quoted(name)} ({str(error).splitlines()[0]}); "
            f"it has, for example, resnet18{hint}"
        ) from None
    try_on(model, shape, config.name)
    return model


def import_timm() -> Any:
    """The library, which takes seconds to import. Raises BadInput if it is not installed."""
    try:
        import timm
    except ModuleNotFoundError:
        raise BadInput("model.name: timm/NAME needs timm, which is not installed; pip install cnnlab[timm]") from None
    return timm
