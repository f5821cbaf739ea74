"""Starting from trained weights: reading them, fitting them to a network, and freezing a part of it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cnnlab.config.models import IMAGENET, ModelConfig, TimmModel, TorchvisionModel
from cnnlab.errors import BadInput, one_line, quoted
from cnnlab.models import Normalize, imagenet_file, imagenet_statistics
from cnnlab.tasks import Task
from cnnlab.training.checkpoint import below

OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""In torchvision's files of densenet; its networks have no dot there."""


def head_of(task: Task, network: nn.Module) -> set[str]:
    """The names of the weights whose shape depends on the number of classes."""
    more = type(task)(task.config, (*task.classes, ""), task.image_shape).build(seed=0)
    shapes = {name: weight.shape for name, weight in more.named_parameters()}
    return {name for name, weight in network.named_parameters() if shapes[name] != weight.shape}


def start_from(config: ModelConfig, model: nn.Module, head: set[str]) -> dict[str, Tensor]:
    """Put the weights that `config.weights` names into the model; returns them as they were in their file.

    The weights of the last layer stay as they are if the file's are for another number of classes. Those of the first
    convolution are summed over the channels and shared out among the data's channels, if there are more or fewer. The
    normalisation is that with which the weights were trained: the file's; without one, the library's for a network of
    a library, and else the one that the model has.

    Args:
        config: with a file or imagenet as its weights.
        model: in its trained form.
        head: the names of the last layer's weights.

    Raises:
        BadInput: the file cannot be read, or is of another network.
    """
    given = _read(config)
    weights = below("network.", given) or {OLD_DENSENET.sub(r"\1\2", name): given[name] for name in given}
    statistics = below("normalize.", given)
    if not statistics and isinstance(config, TorchvisionModel | TimmModel):
        statistics = Normalize(*imagenet_statistics(config)).state_dict()
    network, normalize = model.network, model.normalize
    assert isinstance(network, nn.Module)
    assert isinstance(normalize, Normalize)
    channels = normalize.scale.shape[1]
    own = network.state_dict()
    if strange := [name for name in weights if name not in own and not name.lower().startswith("aux")]:
        raise _other_network(config, f"it has {strange[0]}, which {config.name} does not have")
    for name, tensor in own.items():
        if name not in weights and name.endswith("num_batches_tracked"):  # files of old versions have none
            continue
        if name not in weights:
            raise _other_network(config, f"it has no {name}")
        weight = weights[name]
        if weight.shape != tensor.shape and name in head:
            continue
        if weight.dim() > 2 and weight.shape != tensor.shape == (len(weight), channels, *weight.shape[2:]):
            weight = weight.sum(1, keepdim=True) / channels  # broadcast; an image in grey gives the same as before
        elif weight.shape != tensor.shape:
            theirs, ours = tuple(weight.shape), tuple(tensor.shape)
            raise _other_network(config, f"its {name} is {theirs}, and that of {config.name} on these images {ours}")
        tensor.copy_(weight)
    for name, tensor in normalize.state_dict().items() if statistics else ():
        values = statistics.get(name, torch.empty(0))
        if values.dim() != tensor.dim() or values.shape[1] != values.numel():
            raise _other_network(config, f"its normalize.{name} has not one value per channel")
        tensor.copy_(values if values.shape == tensor.shape else values.mean(1, keepdim=True))
    return given


def _read(config: ModelConfig) -> dict[str, Tensor]:
    """Names -> tensors on the CPU. No code in the file is executed."""
    assert config.weights
    if config.weights == IMAGENET and isinstance(config, TorchvisionModel | TimmModel):
        path = imagenet_file(config)
    else:
        path = Path(config.weights)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError, LookupError) as error:
        raise BadInput(
            f"model.weights: {path} cannot be read ({one_line(str(error)).split('. ')[0]}); it must be a .safetensors "
            "file, or a state_dict that torch.save wrote"
        ) from None
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in weights.items()
    ):
        raise BadInput(
            f"model.weights: {path} has more than weights; it must be a state_dict: "
            "torch.save(network.state_dict(), FILE)"
        )
    return dict(weights)


def _other_network(config: ModelConfig, difference: str) -> BadInput:
    return BadInput(
        f"model.weights: {config.weights} does not fit {config.name}: {difference}; use the network, with the "
        "settings, that the weights were trained with"
    )


def freeze(how: int | str, network: nn.Module, head: set[str]) -> list[nn.Module]:
    """Exclude blocks from training; returns the modules that are to stay in evaluation mode.

    In evaluation mode, batch normalisation keeps its statistics and dropout does nothing. A block is one of `blocks`.

    Args:
        how: `model.freeze`.
        head: the names of the last layer's weights, which are never frozen.

    Raises:
        BadInput: there are not so many blocks before the last layer.
    """
    last = {weight for name, weight in network.named_parameters() if name in head}
    body = [block for block in blocks(network) if not any(last & set(module.parameters()) for module in block)]
    if isinstance(how, int) and how > len(body):
        raise BadInput(
            f"model.freeze: {quoted(how)} is not allowed; this network has {len(body)} blocks before its last layer; "
            f"it must be from 0 to {len(body)}, all or none"
        )
    count = {"none": 0, "all": len(body)}.get(str(how), how)
    frozen = [module for block in body[: int(count)] for module in block]
    weights = [weight for module in frozen for weight in module.parameters()]
    if how == "all":
        weights = [weight for weight in network.parameters() if weight not in last]
    for weight in weights:
        weight.requires_grad_(False)
    return frozen


def blocks(network: nn.Module) -> list[list[nn.Module]]:
    """The network's blocks, in the order in which it lists them, each as its modules.

    A block is a convolution, a fully connected layer, or a module of several such as a residual block. The
    normalisation that follows belongs to it.
    """
    found: list[list[nn.Module]] = []
    for module in _opened(network):
        dimensions = [weight.dim() for weight in module.parameters()]
        if not dimensions:
            continue
        if found and max(dimensions) < 2:
            found[-1].append(module)
        else:
            found.append([module])
    return found


def _opened(module: nn.Module) -> Iterator[nn.Module]:
    """Its parts; sequences are opened."""
    for child in module.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from _opened(child)
        else:
            yield child
