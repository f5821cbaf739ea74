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


def read_like(
    started: RunStarted, pictures: Sequence[Picture], side: int | None = None
) -> tuple[Tensor, dict[int, str]]:
    """Pictures as the run's images were read: (N, C, H, W) uint8, and index -> why one cannot be read.

    side: other than that of the run's images.

    Raises BadInput if the run was trained on points.
    """
    if started.has_points:
        raise BadInput(
            f"{pictures[0].name}: this network takes no images but points, as {started.dataset} has; from Python, "
            "cnnlab.load(run).predict takes a tensor of points (N, 2) float32"
        )
    channels, height, _ = started.image_shape
    size = (side, side) if side else started.stored_size
    images, broken = decode_like(pictures, (channels, *size), Rendering(*started.rendering))
    stored = torch.from_numpy(images)
    return (stored if side or size == started.image_shape[1:] else resize(stored, height)), broken


def predict(
    trained: Trained, pictures: Iterable[Picture], top: int = 5, device: str = "auto", side: int | None = None
) -> Iterator[Result]:
    """What `cnnlab predict --json` prints, a line per picture, in their order.

    side: in pixels, other than that of the run's images, for a network that takes any.

    Yields:
        `image`, its name, and `predictions` as of `answers_of`; or `image` and `error`, why it cannot be read.

    Raises:
        BadInput: this machine does not have the device, or the network does not take images of this side.
    """
    shape = trained.started.image_shape
    if side and not trained.takes(torch.zeros(1, shape[0], side, side, dtype=torch.uint8)):
        raise BadInput(
            f"--resize: {side} is not allowed; this network takes {'x'.join(map(str, shape))}; one with "
            "model.global_pool takes other sizes too"
        )
    network, waiting = trained.on(device), iter(pictures)
    while some := list(islice(waiting, MOST_AT_ONCE)):
        images, broken = read_like(trained.started, some, side)
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
            if dtype != started.input_dtype or not self._trained.takes(images):
                shape = ", ".join(map(str, started.image_shape))
                raise BadInput(
                    f"images: {tuple(images.shape)} {dtype} is not allowed; this network takes (N, {shape}) "
                    f"{started.input_dtype}"
                )
            answers = answers_of(self._trained.on("cpu"), images, top)
            return [Result({"image": index, "predictions": answer}) for index, answer in enumerate(answers)]
        words = [images] if isinstance(images, str | Path) else images
        return list(predict(self._trained, find_pictures(list(map(str, words))), top))
