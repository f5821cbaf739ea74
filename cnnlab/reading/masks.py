"""The figure of a segmentation: images, their true and their predicted masks side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnlab.config.data import VOID
from cnnlab.reading.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

HATCH = "////"
"""Over what is void."""


def masks_figure(examples: Path, classes: Sequence[str], title: str) -> "Figure":
    """Two samples a row, each as image, truth and prediction; a legend of the classes that are seen.

    Args:
        examples: safetensors with inputs (N, C, H, W) uint8, targets and answers (N, H, W) uint8.
    """
    from safetensors.numpy import load_file

    found = load_file(examples)
    samples = list(zip(found["inputs"], found["targets"], found["answers"], strict=True))
    rows = -(-len(samples) // 2)
    figure = new_figure(11, 1.9 * rows + 1)
    figure.suptitle(title)
    grid = figure.subplots(rows, 6, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    colours = palette(len(classes))
    for index, (image, truth, answer) in enumerate(samples):
        row, left = divmod(index, 2)
        shown, true, predicted = grid[row, 3 * left : 3 * left + 3]
        shown.imshow(image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255)
        _draw_mask(true, truth, colours)
        _draw_mask(predicted, answer, colours)
        if row == 0:
            for axes, word in zip((shown, true, predicted), ("image", "truth", "prediction"), strict=True):
                axes.set_title(word, fontsize=10)
    _draw_legend(figure, {int(v) for _, *masks in samples for mask in masks for v in mask.flat}, classes, colours)
    return figure


def palette(classes: int) -> "Colormap":
    """A colour for each class, light grey for the first, which is most often the ground."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    others = max(classes - 1, 1)
    named = next((name for name, size in (("tab10", 10), ("tab20", 20)) if others <= size), "nipy_spectral")
    steps = range(others) if named != "nipy_spectral" else [(i + 0.5) / others for i in range(others)]
    return ListedColormap([(0.88, 0.88, 0.88, 1.0), *(colormaps[named](step) for step in steps)])


def _draw_mask(axes: "Axes", mask: Any, colours: "Colormap") -> None:
    import numpy as np

    void = mask == VOID
    axes.imshow(np.ma.masked_array(mask, void), cmap=colours, vmin=-0.5, vmax=colours.N - 0.5, interpolation="nearest")
    if void.any():
        axes.contourf(void, levels=[0.5, 1.5], colors="none", hatches=[HATCH])


def _draw_legend(figure: "Figure", seen: set[int], classes: Sequence[str], colours: "Colormap") -> None:
    from matplotlib.patches import Patch

    known = [Patch(color=colours(number), label=classes[number]) for number in sorted(seen - {VOID})]
    void = [Patch(facecolor="white", edgecolor="black", hatch=HATCH, label="void")] if VOID in seen else []
    figure.legend(handles=[*known, *void], loc="outside lower center", ncols=8, fontsize=9, frameon=False)
