"""The sizes of the layers' gradients and weights, and the units that have stopped to answer."""

from functools import partial

import torch
from torch import Tensor, nn

from cnnlab.data import Split
from cnnlab.models.blocks import ACTIVATIONS
from cnnlab.training.network import Network

PROBE = 32
"""The number of validation images for which a unit that is not dead gives different outputs."""
ACTIVATION_CLASSES = tuple({type(make()) for make in ACTIVATIONS.values()} - {nn.Identity})


def layers_of(model: nn.Module) -> dict[str, Tensor]:
    """Layer -> its weights; biases and the scales of normalisation layers are left out."""
    named = [(name.rpartition(".")[0], weight) for name, weight in model.named_parameters()]
    return {named_layer(model, path): w for path, w in named if w.ndim > 1 and w.grad is not None}


def named_layer(model: nn.Module, path: str) -> str:
    """`network.0` -> `0.Conv2d`"""
    return f"{path.removeprefix('network.')}.{type(model.get_submodule(path)).__name__}"


@torch.no_grad()
def layer_norms(model: nn.Module) -> tuple[dict[str, float], dict[str, float]]:
    """Layer -> the Euclidean norm of its gradient, from the last backward pass; layer -> that of its weights."""
    layers = layers_of(model)
    gradients = {name: weight.grad for name, weight in layers.items() if weight.grad is not None}
    return _norms(gradients), _norms(layers)


def _norms(tensors: dict[str, Tensor]) -> dict[str, float]:
    """Waits for the device once."""
    norms = torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors.values()])
    return dict(zip(tensors, norms.tolist(), strict=True))


@torch.inference_mode()
def dead_units(network: Network, split: Split) -> dict[str, float]:
    """Activation -> the share of its units, channels of a convolution, with one output for all images and pixels.

    The images are the first PROBE of the split, in evaluation mode. A layer that is used several times counts each use.
    """
    model = network.model
    dead: dict[str, list[Tensor]] = {}

    def note(path: str, layer: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        answers = outputs.movedim(1, -1).flatten(0, -2)  # a view in channels_last; a row per image and pixel
        differ = (answers != answers[0]).sum(0)  # a quarter of the time of amax and amin
        dead.setdefault(named_layer(model, path), []).append((differ == 0).float().mean())

    layers = [(path, layer) for path, layer in model.named_modules() if isinstance(layer, ACTIVATION_CLASSES)]
    hooks = [layer.register_forward_hook(partial(note, path)) for path, layer in layers]
    model.eval()
    network(split.inputs[:PROBE].to(network.device), split.targets[:PROBE].to(network.device))
    network.train()
    for hook in hooks:
        hook.remove()
    return {name: torch.stack(shares).mean().item() for name, shares in dead.items()}
