"""A trained network's predictions for pictures: the most probable classes, or each class's share of the pixels."""

import io
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.data import Split
from cnnlab.data.load import resize
from cnnlab.data.pictures import Picture, Rendering, decode_like, on_disk
from cnnlab.data.tree import Tree
from cnnlab.errors import BadInput, shortened
from cnnlab.reading.trained import Trained
from cnnlab.records import RunStarted
from cnnlab.result import Result
from cnnlab.training import Network, answered

MOST_AT_ONCE = 256
"""Pictures that are decoded and answered together."""


def find_pictures(words: Sequence[str]) -> list[Picture]:
    """The pictures that a command names: files, folders at any depth, and - for one on stdin.

    Raises BadInput if a folder has none or cannot be read.
    """
    pictures: list[Picture] = []
    for word in words:
        if word == "-":
            pictures.append(Picture("-", partial(io.BytesIO, sys.stdin.buffer.read())))
        elif (path := Path(word)).is_dir():
            if not (inside := Tree().pictures(path)[0]):
                raise BadInput(f"{shortened(word)}: this folder has no images; give images, or a folder with some")
            pictures += map(on_disk, inside)
        else:
            pictures.append(on_disk(path))
    return pictures


def read_like(started: RunStarted, pictures: Sequence[Picture]) -> tuple[Tensor, dict[int, str]]:
    """Pictures as the run's images were read: (N, C, H, W) uint8, and index -> why one cannot be read.

    Raises BadInput if the run was trained on points.
    """
    if started.has_points:
        raise BadInput(
            f"{pictures[0].name}: this network takes no images but points, as {started.dataset} has; from Python, "
            "cnnlab.load(run).predict takes a tensor of points (N, 2) float32"
        )
    channels, height, _ = started.image_shape
    images, broken = decode_like(pictures, (channels, *started.stored_size), Rendering(*started.rendering))
    stored = torch.from_numpy(images)
    return (stored if started.stored_size == started.image_shape[1:] else resize(stored, height)), broken


def predict(trained: Trained, pictures: Iterable[Picture], top: int = 5, device: str = "auto") -> Iterator[Result]:
    """What `cnnlab predict --json` prints, a line per picture, in their order.

    Yields:
        `image`, its name, and `predictions` as of `answers_of`; or `image` and `error`, why it cannot be read.

    Raises:
        BadInput: this machine does not have the device.
    """
    network, waiting = trained.on(device), iter(pictures)
    while some := list(islice(waiting, MOST_AT_ONCE)):
        images, broken = read_like(trained.started, some)
        answers = answers_of(network, images[[index for index in range(len(some)) if index not in broken]], top)
        for index, picture in enumerate(some):
            answer = {"error": broken[index]} if index in broken else {"predictions": next(answers)}
            yield Result({"image": picture.name, **answer})


def answers_of(network: Network, images: Tensor, top: int = 5) -> Iterator[list[dict[str, Any]]]:
    """For each image its most probable classes, as {"class": name, "probability": p}, the best first.

    If the network answers with masks, its most frequent classes, as {"class": name, "share": share of the pixels}.

    Args:
        images: (N, C, H, W) uint8
    """
    classes = network.task.classes
    with torch.inference_mode():
        for outputs, _ in answered(network, Split(images, torch.zeros(len(images)))):
            shares, key = outputs.softmax(1), "probability"
            if outputs.dim() > 2:
                key = "share"
                shares = F.one_hot(outputs.argmax(1), len(classes)).double().mean((1, 2))
            values, indices = (found.tolist() for found in shares.topk(min(top, len(classes))))
            for best, numbers in zip(values, indices, strict=True):
                yield [{"class": classes[i], key: value} for value, i in zip(best, numbers, strict=True)]


class LoadedNetwork(nn.Sequential):
    """A run's network in evaluation mode, with its `classes`; it takes (N, C, H, W) uint8, or points (N, 2) float32."""

    def __init__(self, trained: Trained) -> None:
        super().__init__(OrderedDict(trained.model.named_children()))
        self.classes = trained.started.classes
        self._trained = trained
        self.eval()

    def predict(self, images: Tensor | str | Path | Sequence[str | Path], top: int = 5) -> list[Result]:
        """What `cnnlab predict --json` prints, for a tensor that it takes, or for files and folders of images.

        Raises:
            BadInput: a folder has no images, or the tensor has a shape or type that the network does not take.
        """
        if isinstance(images, Tensor):
            started, dtype = self._trained.started, str(images.dtype).removeprefix("torch.")
            if dtype != started.input_dtype or not self._takes(images):
                shape = ", ".join(map(str, started.image_shape))
                raise BadInput(
                    f"images: {tuple(images.shape)} {dtype} is not allowed; this network takes (N, {shape}) "
                    f"{started.input_dtype}"
                )
            answers = answers_of(self._trained.on("cpu"), images, top)
            return [Result({"image": index, "predictions": answer}) for index, answer in enumerate(answers)]
        words = [images] if isinstance(images, str | Path) else images
        return list(predict(self._trained, find_pictures(list(map(str, words))), top))

    def _takes(self, images: Tensor) -> bool:
        """Whether they have the size of the training's, or the network takes others too, as with model.global_pool."""
        shape = self._trained.started.image_shape
        if images.shape[1:] == shape or images.dim() != len(shape) + 1 or images.shape[1] != shape[0]:
            return images.shape[1:] == shape
        try:
            with torch.inference_mode():
                self(images[:1])
        except RuntimeError:  # a hidden layer of another size, or nothing left to convolve
            return False
        return True
