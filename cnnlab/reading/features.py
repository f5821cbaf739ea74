"""Representations of images in a layer of a run's network, and what they are worth to another classifier."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.config.messages import nearest
from cnnlab.data import Dataset, Split
from cnnlab.data.pictures import Picture
from cnnlab.errors import BadInput, quoted
from cnnlab.files import written_whole
from cnnlab.reading.predictions import read_like
from cnnlab.reading.trained import Trained
from cnnlab.training import Network, answered

Arrays = Mapping[str, np.ndarray[Any, Any]]
"""Name -> array."""


def features_of(network: Network, images: Tensor, layer: str | None = None) -> Tensor:
    """(N, F) float32, a layer's output for (N, C, H, W) uint8; feature maps are averaged over their pixels.

    Args:
        layer: its name in the network; None for the input of the last convolution or fully connected layer.

    Raises:
        BadInput: the network does not have the layer, or the layer's output is not one tensor per image.
    """
    layers = {name: module for name, module in network.model.network.named_modules() if name}  # type: ignore[union-attr]
    if layer is not None and layer not in layers:
        known = ", ".join(list(layers)[:12]) + (", ..." if len(layers) > 12 else "")
        raise BadInput(f"--layer: {quoted(layer)} is not a layer; it must be one of {known}{nearest(layer, layers)}")
    taken: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        found = inputs[0] if layer is None else output
        if not isinstance(found, Tensor) or found.dim() < 2:
            raise BadInput(f"--layer: {quoted(layer)} has no output of one tensor per image; choose another layer")
        taken.append(found.float().flatten(2).mean(2).cpu() if found.dim() > 2 else found.float().cpu())

    last = [module for module in layers.values() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    handle = (layers[layer] if layer else last).register_forward_hook(keep)
    try:
        with torch.inference_mode():
            for _ in answered(network, Split(images, torch.zeros(len(images)))):
                pass
    finally:
        handle.remove()
    return torch.cat(taken)


def features_of_dataset(trained: Trained, dataset: Dataset, layer: str | None, device: str = "auto") -> Arrays:
    """Of each split (train, val, test) its features (N, F) and `SPLIT_labels` as in the dataset; and `classes`."""
    network = trained.on(device)
    arrays = {"classes": np.array(dataset.classes)}
    for name, split in dataset.splits.items():
        arrays[name] = features_of(network, split.inputs, layer).numpy()
        arrays[f"{name}_labels"] = split.targets.numpy()
    return arrays


def features_of_pictures(
    trained: Trained, pictures: Sequence[Picture], layer: str | None, device: str = "auto"
) -> tuple[Arrays, dict[str, str]]:
    """`features` (N, F) and `names` (N,) of those that can be read; and name -> why another cannot be.

    Raises BadInput if none can be read.
    """
    images, broken = read_like(trained.started, pictures)
    good = [index for index in range(len(pictures)) if index not in broken]
    if not good:
        raise BadInput(f"{pictures[0].name} is not an image that can be read ({broken[0]}), and there is no other")
    features = features_of(trained.on(device), images[good], layer).numpy()
    names = np.array([pictures[index].name for index in good])
    return {"features": features, "names": names}, {pictures[index].name: why for index, why in broken.items()}


def save(arrays: Arrays, path: Path) -> None:
    """Write an .npz file."""
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def fit(arrays: Arrays, kind: str) -> float:
    """The accuracy on the test split of a classifier that was trained on the features of the training split.

    Args:
        kind: logistic regression, a linear support vector machine, or 5 nearest neighbours (scikit-learn), on features
            with mean 0 and standard deviation 1.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    classifiers = {
        "logistic": lambda: LogisticRegression(max_iter=2000),
        "svm": lambda: LinearSVC(random_state=0),
        "knn": lambda: KNeighborsClassifier(),
    }
    model = make_pipeline(StandardScaler(), classifiers[kind]())
    model.fit(arrays["train"], arrays["train_labels"])
    return float(model.score(arrays["test"], arrays["test_labels"]))
