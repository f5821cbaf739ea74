"""The pictures of `inspect`, as Matplotlib's figures."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.look import new_figure, signed
from cnnlab.reading.inspection import Embedding
from cnnlab.reading.run_figures import palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_FILTERS, MOST_LAYERS, MOST_CHANNELS = 16, 12, 8
SIDE = 1.1
"""Inches of a small picture."""


def filters_figure(named: Mapping[str, nn.Module], image_shape: Sequence[int], title: str) -> "Figure":
    """The weights of layers: a filter on an image as an image, any other as a row of its channels.

    Args:
        named: layer's name -> a convolution or a fully connected layer, the first one on the image.
    """
    drawn = [_weights(module, image_shape if not number else ()) for number, module in enumerate(named.values())]
    ratios = [0.4 if w.dim() == 2 else w.shape[0] * w.shape[2] / (w.shape[1] * w.shape[3]) for w in drawn]
    figure = new_figure(7, sum(7 * ratio + 0.4 for ratio in ratios) + 0.3)
    figure.suptitle(title, fontsize=9)
    grid = np.ravel(figure.subplots(len(named), height_ratios=ratios))
    for axes, (name, module), weight in zip(grid, named.items(), drawn, strict=True):
        most = float(weight.abs().max()) or 1.0
        axes.axis("off")
        axes.set_title(f"{name}: {_weight_words(module, weight)}", fontsize=8)
        if weight.dim() == 5:
            axes.imshow(_mosaic(0.5 + weight / (2 * most), gap=0.5))
        else:
            tiled = _mosaic(weight, gap=0.0) if weight.dim() == 4 else weight.numpy()
            shape: Any = "equal" if weight.dim() == 4 else "auto"
            axes.imshow(tiled, cmap=signed(), vmin=-most, vmax=most, interpolation="nearest", aspect=shape)
    return figure


def _weights(layer: nn.Module, image_shape: Sequence[int]) -> Tensor:
    """(rows, columns, h, w) filters, (rows, columns, h, w, 3) of colour images, or (outputs, inputs)."""
    weight: Tensor = layer.weight.detach()  # type: ignore[operator]
    if isinstance(layer, nn.ConvTranspose2d):
        weight = weight.movedim(1, 0)
    if weight.dim() == 2 and image_shape and weight.shape[1] == math.prod(image_shape):
        weight = weight.view(-1, *image_shape)
    if weight.dim() == 2:
        return weight
    weight = weight[:MOST_FILTERS, :MOST_FILTERS]
    if image_shape and weight.shape[1] in (1, 3):
        columns = next(n for n in (8, 7, 6, 5, 4, 3, 2, 1) if len(weight) % n == 0)
        weight = weight.view(-1, columns, *weight.shape[1:])
        return weight[:, :, 0] if weight.shape[2] == 1 else weight.movedim(2, -1)
    return weight


def _mosaic(tiles: Tensor, gap: float) -> Any:
    """(rows, columns, h, w, ...) -> one image, with a line of `gap` below and right of each tile."""
    rows, columns, height, width = tiles.shape[:4]
    framed = torch.full((rows, columns, height + 1, width + 1, *tiles.shape[4:]), gap)
    framed[:, :, :height, :width] = tiles
    return framed.transpose(1, 2).flatten(0, 1).flatten(1, 2).numpy()


def _weight_words(layer: nn.Module, weight: Tensor) -> str:
    whole: Tensor = layer.weight  # type: ignore[assignment]
    shape = whole.shape
    if weight.dim() == 2:
        return f"weights of {shape[0]} units (rows) on {shape[1]} inputs (columns)"
    of_all = whole.numel() > weight.numel()
    return f"weights {' x '.join(map(str, shape))}{', the first of them' if of_all else ''}"


def activations_figure(image: Tensor, outputs: Mapping[str, Tensor], title: str) -> "Figure":
    """The outputs of layers for one image, a row per layer: of maps, the channels with the largest values.

    Args:
        image: (C, H, W) uint8.
        outputs: layer's name -> (...), before its activation; red is positive, blue negative.
    """
    names = list(outputs)
    if len(names) > MOST_LAYERS:  # evenly spaced, with the first and the last
        names = [names[round(i * (len(names) - 1) / (MOST_LAYERS - 1))] for i in range(MOST_LAYERS)]
    figure = new_figure(SIDE * (MOST_CHANNELS + 1) + 1.2, SIDE * len(names) + 0.5)
    figure.suptitle(title, fontsize=9)
    grid = figure.add_gridspec(len(names), MOST_CHANNELS + 1)
    first = figure.add_subplot(grid[0, 0])
    draw_image(first, image)
    for row, name in enumerate(names):
        output = outputs[name].float()
        most = float(output.abs().max()) or 1.0
        style: dict[str, Any] = {"cmap": signed(), "vmin": -most, "vmax": most, "interpolation": "nearest"}
        if output.dim() == 3:
            channels = output.amax((1, 2)).argsort(descending=True)[:MOST_CHANNELS].tolist()
            for column, channel in enumerate(channels):
                axes = figure.add_subplot(grid[row, column + 1])
                axes.imshow(output[channel].numpy(), **style)
                axes.set_title(f"{name} · {channel}" if column == 0 else str(channel), fontsize=7, pad=2)
                axes.axis("off")
        else:
            axes = figure.add_subplot(grid[row, 1:])
            axes.imshow(output.reshape(-1, output.shape[-1]).numpy(), aspect="auto", **style)
            axes.set_title(f"{name} · {output.shape[-1]} units", fontsize=7, pad=2, loc="left")
            axes.set_yticks([])
            axes.tick_params(labelsize=6)
    return figure


def draw_image(axes: "Axes", image: Tensor) -> None:
    """image: (C, H, W), values in 0..255."""
    pixels = image.byte().movedim(0, -1).numpy()
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.axis("off")


def attributions_figure(images: Tensor, maps: Mapping[str, Tensor], captions: Sequence[str], title: str) -> "Figure":
    """A row per image: the image, then the map of each method; each map has its own scale.

    Args:
        images: (N, C, H, W) uint8.
        maps: method -> (N, H, W). Red raises the score of the explained class, blue lowers it.
    """
    figure = new_figure(1.5 * (len(maps) + 1), 1.6 * len(images) + 0.4)
    figure.suptitle(title, fontsize=9)
    grid = figure.subplots(len(images), len(maps) + 1, squeeze=False)
    for row, image in enumerate(images):
        draw_image(grid[row, 0], image)
        grid[row, 0].set_title(captions[row], fontsize=7)
        for axes, (method, values) in zip(grid[row, 1:], maps.items(), strict=True):
            most = float(values[row].abs().max()) or 1.0
            axes.imshow(image.float().mean(0).numpy(), cmap="gray", vmin=0, vmax=255)
            axes.imshow(values[row].numpy(), cmap=signed(), vmin=-most, vmax=most)
            axes.axis("off")
            if row == 0:
                axes.set_title(method, fontsize=8)
    return figure


def exciting_figure(units: Mapping[int, tuple[Tensor, Sequence[float]]], title: str) -> "Figure":
    """A row per unit: the synthesised image, then images of the test split; above each, the unit's activation.

    Args:
        units: number -> images (1 + N, C, H, W) and their activations.
    """
    columns = max(len(images) for images, _ in units.values())
    figure = new_figure(SIDE * columns + 0.6, (SIDE + 0.15) * len(units) + 0.4)
    figure.suptitle(title, fontsize=9)
    grid = figure.subplots(len(units), columns, squeeze=False)
    for row, (unit, (images, activations)) in enumerate(units.items()):
        for column, (image, activation) in enumerate(zip(images, activations, strict=True)):
            axes: Any = grid[row, column]
            draw_image(axes, image)
            word = "" if column else f"unit {unit}, made: "
            axes.set_title(f"{word}{activation:.2g}", fontsize=7, pad=2)
    return figure


def images_figure(images: Tensor, captions: Sequence[str], title: str) -> "Figure":
    """Images in rows of six, each with a caption.

    Args:
        images: (N, C, H, W) uint8.
    """
    columns = min(6, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(1.5 * columns + 0.4, 1.8 * rows + 0.4)
    figure.suptitle(title, fontsize=9)
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes in grid:
        axes.axis("off")
    for axes, image, caption in zip(figure.axes, images, captions, strict=False):
        draw_image(axes, image)
        axes.set_title(caption, fontsize=7)
    return figure


def embedding_figure(points: Embedding, classes: Sequence[int], names: Sequence[str], title: str) -> "Figure":
    """Both embeddings, a colour per class.

    Args:
        classes: of each point.
    """
    figure = new_figure(11, 5.2)
    figure.suptitle(title, fontsize=9)
    colours = palette(len(names) + 1)  # whose first, grey, is for backgrounds
    drawn = torch.as_tensor(classes).numpy()
    panels: Any = ((points.pca, f"PCA, {points.explained:.0%} of the variance"), (points.tsne, "t-SNE"))
    for axes, (flat, words) in zip(figure.subplots(1, 2), panels, strict=True):
        for number, name in enumerate(names):
            here = flat[drawn == number]
            axes.scatter(*here.T, s=6, color=colours(number + 1), label=name)
        axes.set(title=words, xticks=[], yticks=[])
    if len(names) <= 20:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=8, markerscale=2)
    return figure
