"""What a trained network computes: its layers, attributions, exciting inputs, errors and embeddings, as numbers.

Networks are called in float32. Layers are found by their type with forward hooks, so every network can be inspected.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnlab.config.data import VOID
from cnnlab.data import Split
from cnnlab.errors import BadInput, quoted
from cnnlab.tasks import Task
from cnnlab.training.network import PIXELS_PER_CHUNK
from cnnlab.training.optimizer import avoid_dynamo

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
OCCLUDED = 7
"""A patch that occludes a part of an image has a side of 1/7 of the image's."""
INTEGRATION_STEPS = 32
SYNTHESIS_STEPS, SYNTHESIS_RATE = 100, 0.1
"""Steps of Adam, and its learning rate on the logit of a pixel's value."""
SMOOTHNESS = 0.5
"""The weight of the total variation of values in 0..1, mean per pixel."""


Hook = Callable[[nn.Module, Any, Tensor], None]
"""module, inputs, output -> None"""


class Layer(NamedTuple):
    """A layer with weights, and the shape of its output for one image."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]

    @property
    def has_maps(self) -> bool:
        """Whether its output is (channels, height, width) with more than one pixel."""
        return len(self.shape) == 3 and self.shape[1] * self.shape[2] > 1


def layers_of(network: nn.Module, images: Tensor) -> list[Layer]:
    """The convolutions and fully connected layers, in the order of the forward pass; each once.

    Args:
        images: (N, C, H, W), what the network takes.
    """
    return [
        Layer(name, network.get_submodule(name), tuple(output.shape[1:]))
        for name, output in outputs_of(network, images[:1]).items()
    ]


def keep_outputs(network: nn.Module) -> None:
    """Let no activation write over the output of the layer before it."""
    for module in network.modules():
        if getattr(module, "inplace", False):
            setattr(module, "inplace", False)  # noqa: B010 - for the type checker


def outputs_of(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The outputs of all convolutions and fully connected layers, before their activation: name -> (N, ...).

    Args:
        network: with `keep_outputs`.
    """
    outputs: dict[str, Tensor] = {}

    def noting(name: str) -> Hook:
        def note(module: nn.Module, inputs: object, output: Tensor) -> None:
            outputs[name] = output.detach()

        return note

    with _hooked([(m, noting(name)) for name, m in network.named_modules() if isinstance(m, LAYERS)]), torch.no_grad():
        network(images)
    return outputs


@contextmanager
def _hooked(hooks: Sequence[tuple[nn.Module, Hook]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def chosen_layer(layers: Sequence[Layer], name: str | None) -> Layer:
    """The layer of this name; by default the last convolution with maps, else the last layer before the outputs.

    Raises BadInput if no layer has this name.
    """
    if name is not None:
        if layer := next((layer for layer in layers if layer.name == name), None):
            return layer
        raise BadInput(f"--layer {quoted(name)}: no such layer; there are {', '.join(layer.name for layer in layers)}")
    hidden = layers[:-1] or layers
    return next((layer for layer in reversed(hidden) if layer.has_maps), hidden[-1])


def deepest(network: nn.Module, images: Tensor) -> nn.Module | None:
    """The module that takes the smallest maps with more than one pixel, the last of several; None without maps.

    In a classifier it is the one that makes a vector of the last maps.
    """
    takes: list[tuple[int, nn.Module]] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if inputs and inputs[0].dim() == 4 and inputs[0][0, 0].numel() > 1:
            takes.append((inputs[0][0, 0].numel(), module))

    leaves = [module for module in network.modules() if not list(module.children())]
    with _hooked([(module, note) for module in leaves]), torch.no_grad():
        network(images[:1])
    has_convolution = any(isinstance(module, nn.Conv2d) for module in leaves)
    return min(reversed(takes), key=lambda taken: taken[0])[1] if has_convolution else None


class Answers(NamedTuple):
    """A network's answers on a split."""

    predicted: Tensor
    """(N,) int64, or masks (N, H, W) uint8"""
    probability: Tensor
    """(N,) of the predicted class; of masks, the mean over the pixels"""
    badness: Tensor
    """(N,) the loss of each image in nats; of masks, 1 - its mean IoU over the classes in truth or prediction"""
    hidden: Tensor
    """(M, D) the input of the network's last layer for the first images; of masks, at random pixels"""
    hidden_classes: Tensor
    """(M,) int64, the true class of each row of `hidden`"""


@torch.inference_mode()
def answers_on(model: nn.Module, task: Task, split: Split, last_layer: nn.Module, embedded: int) -> Answers:
    """The answers on a split.

    Args:
        model: takes (N, C, H, W) uint8.
        last_layer: whose inputs are embedded.
        embedded: the number of rows of `hidden`, at most.
    """
    inputs: list[Tensor] = []
    seen: list[tuple[Tensor, ...]] = []
    handle = last_layer.register_forward_pre_hook(lambda module, given: inputs.append(given[0].detach()))
    rows, size = 0, _chunk(split.inputs)
    try:
        for images, targets in zip(torch.split(split.inputs, size), torch.split(split.targets, size), strict=True):
            outputs = model(images)
            hidden, classes = _rows(inputs.pop(), targets)
            hidden, classes = hidden[: embedded - rows].clone(), classes[: embedded - rows]
            rows += len(hidden)
            probability = outputs.softmax(1).amax(1)
            predicted = task.answer(outputs)
            if targets.dim() == 1:
                badness = F.cross_entropy(outputs, targets, reduction="none")
            else:
                badness = 1 - image_iou(predicted, targets, outputs.shape[1])
                probability = probability.flatten(1).mean(1)
            seen.append((predicted, probability, badness, hidden, classes))
    finally:
        handle.remove()
    return Answers(*(torch.cat(parts) for parts in zip(*seen, strict=True)))


def _rows(features: Tensor, targets: Tensor, pixels: int = 20) -> tuple[Tensor, Tensor]:
    """Features (N, D) and classes (N,); of feature maps (N, D, h, w) those of `pixels` random pixels per image."""
    if targets.dim() == 1:
        return features.flatten(1), targets
    small = F.interpolate(targets[:, None].float(), features.shape[2:], mode="nearest").long().flatten()
    kept = torch.nonzero(small != VOID)[:, 0]
    drawn = torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))[: pixels * len(targets)]
    kept = kept[drawn]
    return features.movedim(1, -1).flatten(0, 2)[kept], small[kept]


def image_iou(predicted: Tensor, true: Tensor, classes: int) -> Tensor:
    """(N,) the mean IoU of each image over the classes that occur in its truth or prediction; void does not count.

    Args:
        predicted, true: (N, H, W) uint8.
    """
    valid = true != VOID
    ious, present = [], []
    for number in range(classes):
        p, t = (predicted == number) & valid, true == number
        union = (p | t).flatten(1).sum(1)
        ious.append((p & t).flatten(1).sum(1) / union.clamp(min=1))
        present.append(union > 0)
    return torch.stack(ious).sum(0) / torch.stack(present).sum(0).clamp(min=1)


def confused_pairs(counts: Sequence[Sequence[int]], most: int) -> list[tuple[int, int, int]]:
    """(true class, predicted class, count) of the most frequent errors, the most frequent first."""
    cells = [(t, p, n) for t, row in enumerate(counts) for p, n in enumerate(row) if n and t != p]
    return sorted(cells, key=lambda cell: -cell[2])[:most]


def worst_of(answers: Answers, targets: Tensor, most: int) -> list[int]:
    """Indices of the images with the worst answers, the worst first; of classes, only those with a wrong answer."""
    order = answers.badness.argsort(descending=True, stable=True)
    if targets.dim() == 1:
        order = order[(answers.predicted != targets)[order]]
    return order[:most].tolist()


def scores_of(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """A function that gives (N, K), a score for each class. Of masks, it is the mean of the class's logits over the
    pixels for which the network answers this class."""

    def scores(images: Tensor) -> Tensor:
        outputs: Tensor = network(images)
        if outputs.dim() == 2:
            return outputs
        answered = F.one_hot(outputs.detach().argmax(1), outputs.shape[1]).movedim(-1, 1)
        return (outputs * answered).sum((2, 3)) / answered.sum((2, 3)).clamp(min=1)

    return scores


def explained_classes(outputs: Tensor) -> Tensor:
    """(N,) the class whose score is explained: the predicted one; of masks, the largest but the first (background)."""
    predicted = outputs.argmax(1)
    if predicted.dim() == 1:
        return predicted
    sizes = F.one_hot(predicted, outputs.shape[1]).sum((1, 2))
    return torch.where(sizes[:, 1:].sum(1) > 0, sizes[:, 1:].argmax(1) + 1, 0)


def attributions(network: nn.Module, images: Tensor, classes: Tensor) -> dict[str, Tensor]:
    """The pixels that the score of a class depends on, by Captum: method -> (N, H, W).

    - saliency: the largest absolute gradient over the channels (Simonyan et al. 2014).
    - Grad-CAM: of the smallest maps, enlarged (Selvaraju et al. 2017); none without convolutions.
    - integrated gradients: from the mean colour to the image, summed over channels (Sundararajan et al. 2017).
    - occlusion: the fall of the score if a patch has the mean colour (Zeiler and Fergus 2014).

    Args:
        images: (N, C, H, W) float32, normalised, so that 0 is the mean colour.
        classes: (N,) int64, whose scores are explained.
    """
    from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion, Saliency

    scores = scores_of(network)
    height, width = images.shape[2:]
    size = (images.shape[1], -(-height // OCCLUDED), -(-width // OCCLUDED))
    strides = (images.shape[1], max(1, size[1] // 2), max(1, size[2] // 2))
    images = images.clone().requires_grad_()
    found = {"saliency": Saliency(scores).attribute(images, target=classes).amax(1)}
    if taker := deepest(network, images):
        maps = LayerGradCam(scores, taker).attribute(
            images, target=classes, relu_attributions=True, attribute_to_layer_input=True
        )
        found["Grad-CAM"] = LayerAttribution.interpolate(maps, (height, width), "bilinear")[:, 0]
    integrated = IntegratedGradients(scores).attribute(
        images, target=classes, n_steps=INTEGRATION_STEPS, internal_batch_size=max(len(images), 16)
    )
    found["integrated gradients"] = integrated.sum(1)
    with torch.no_grad():
        occluded = Occlusion(scores).attribute(images, size, strides=strides, target=classes, perturbations_per_eval=16)
    found["occlusion"] = occluded.mean(1)
    return {method: values.detach() for method, values in found.items()}


def excited_by(network: nn.Module, normalize: nn.Module, layer: Layer, inputs: Tensor) -> Tensor:
    """(N, units) how much each image excites each unit: of maps, the mean of what is positive."""
    parts = torch.split(inputs, _chunk(inputs))
    return torch.cat([_units(outputs_of(network, normalize(part))[layer.name]) for part in parts])


def _chunk(inputs: Tensor) -> int:
    """The number of images that are measured together."""
    return max(16, min(1024, PIXELS_PER_CHUNK // inputs[0, 0].numel()))


def _units(output: Tensor, slope: float = 0.0) -> Tensor:
    """(N, units): channels are units of maps, else the last dimension. Negative values of maps count `slope` times."""
    if output.dim() == 4:
        return F.leaky_relu(output, slope).mean((2, 3))
    return output if output.dim() == 2 else output.flatten(1, -2).mean(1)


def synthesised(
    network: nn.Module, normalize: nn.Module, layer: Layer, units: Sequence[int], scales: Tensor, shape: Sequence[int]
) -> Tensor:
    """For each unit an image that excites it much: (units, C, H, W), values in 0..255.

    Gradient ascent from grey noise (Olah et al. 2017). Two penalties keep it from patterns that no picture has: each
    step sees the image moved by a few pixels (jitter), and its total variation is subtracted.

    Args:
        scales: (units,) an activation of each unit that counts as large, for the weight of the total variation.
    """
    generator = torch.Generator().manual_seed(0)
    logits = (0.5 * torch.randn(len(scales), *shape, generator=generator)).requires_grad_()
    avoid_dynamo()
    adam = torch.optim.Adam([logits], lr=SYNTHESIS_RATE)
    far = max(1, min(shape[1:]) // 16)
    caught: list[Tensor] = []
    with _hooked([(layer.module, lambda module, inputs, output: caught.append(output))]):
        for _ in range(SYNTHESIS_STEPS):
            images = logits.sigmoid()
            shifts = torch.randint(-far, far + 1, (2,), generator=generator).tolist()
            network(normalize(255 * images.roll(shifts, (2, 3))))
            activation = _units(caught.pop(), slope=0.3)[:, list(units)].diagonal()
            variation = images.diff(dim=2).abs().mean((1, 2, 3)) + images.diff(dim=3).abs().mean((1, 2, 3))
            loss = (SMOOTHNESS * variation - activation / scales.abs().clamp(min=1e-3)).sum()
            (logits.grad,) = torch.autograd.grad(loss, logits)
            adam.step()
    return 255 * logits.detach().sigmoid()


class Embedding(NamedTuple):
    """Points in two dimensions, (M, 2) each."""

    pca: NDArray[np.float64]
    explained: float
    """The share of the variance that the two principal components have."""
    tsne: NDArray[np.float32]


def embedding(hidden: Tensor) -> Embedding | None:
    """`hidden` (M, D) in two dimensions: by PCA, and by t-SNE (van der Maaten and Hinton 2008) from the PCA.

    None for fewer than 4 points or fewer than 2 dimensions.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    points = hidden.float().numpy()
    if len(points) < 4 or points.shape[1] < 2:
        return None
    pca = PCA(2, random_state=0)
    flat = pca.fit_transform(points)
    near = TSNE(2, perplexity=min(30, (len(points) - 1) / 3), random_state=0).fit_transform(points)
    return Embedding(flat, float(pca.explained_variance_ratio_.sum()), near)
