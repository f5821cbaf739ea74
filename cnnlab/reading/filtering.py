"""A convolution over a picture: the output, the numbers of one patch, and both pictures side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.data.builtin import shapes_with_masks
from cnnlab.data.pictures import Rendering, decode_each, decode_like, on_disk, to_grey, upright_size
from cnnlab.errors import BadInput
from cnnlab.look import WHITE_ON, new_figure, saved
from cnnlab.models.sizes import window_output
from cnnlab.result import Result

DRAWN, RING = 400, 280
"""The number of shapes that are drawn, and the one that is shown: a bright ring on dark ground."""


class Filtered(NamedTuple):
    """A picture before and after a convolution."""

    image: Tensor
    """(H, W) float32, 0 to 255"""
    kernel: Tensor
    """(h, w) float32"""
    stride: int
    padding: tuple[int, int]
    """Rows of zeros above and below, columns left and right."""
    output: Tensor
    """(H', W') float32"""
    at: tuple[int, int]
    """Row and column of the output whose patch is shown."""

    def result(self) -> Result:
        """What `cnnlab filters --json` prints."""
        (above, left), (row, column) = self.padding, (self.stride * place for place in self.at)
        height, width = self.kernel.shape
        patch = F.pad(self.image, (left, left, above, above))[row : row + height, column : column + width]
        return Result(
            image_size=tuple(self.image.shape),
            kernel=self.kernel.tolist(),
            stride=self.stride,
            padding=self.padding,
            output_size=tuple(self.output.shape),
            lowest=float(self.output.min()),
            highest=float(self.output.max()),
            at=self.at,
            patch=patch.tolist(),
            products=(patch * self.kernel).tolist(),
            value=float(self.output[self.at]),
        )


def read_grey(path: Path | None) -> Tensor:
    """(H, W) uint8, the grey values of a picture; without one, of a ring that is built in.

    Raises BadInput if the file is not an image.
    """
    if path is None:
        images = to_grey(shapes_with_masks(DRAWN)[0][RING].numpy())
        return torch.from_numpy(images[0].copy())
    picture = on_disk(path)
    sizes, broken = decode_each([picture], [0], lambda _: upright_size(picture))
    if not broken:
        images, unread = decode_like([picture], (1, *sizes[0]), Rendering())
        broken |= unread
    if broken:
        raise BadInput(f"{path} is not an image that can be read ({broken[0] or 'a text file'}); name another file")
    return torch.from_numpy(images[0, 0])


def apply(
    image: Tensor,
    kernel: Sequence[Sequence[float]],
    stride: int = 1,
    padding: int | None = None,
    at: tuple[int, int] | None = None,
) -> Filtered:
    """Slide a kernel over a picture, as a layer of a CNN does: it is not flipped.

    Args:
        image: (H, W), of any type.
        kernel: rows of equal length.
        padding: zeros on each side; None for (size of the kernel - 1) / 2, rounded down.
        at: row and column of the output whose patch is kept; None for the largest value.

    Raises:
        BadInput: the output would be empty, or `at` is outside of it.
    """
    image, weights = image.float(), torch.tensor(kernel, dtype=torch.float32)
    above, left = ((side - 1) // 2 if padding is None else padding for side in weights.shape)
    for size, side, pixels in zip(image.shape, weights.shape, (above, left), strict=True):
        window_output(size, side, pixels, stride, "--kernel")
    output = F.conv2d(image[None, None], weights[None, None], stride=stride, padding=(above, left))[0, 0]
    rows, columns = output.shape
    if at is None:
        row, column = divmod(int(output.argmax()), columns)
    else:
        row, column = at
        if row >= rows or column >= columns:
            raise BadInput(
                f"--at {row},{column}: is outside of the output, whose rows are 0 to {rows - 1} and whose columns are "
                f"0 to {columns - 1}"
            )
    return Filtered(image, weights, stride, (above, left), output, (row, column))


def draw_filtered(filtered: Filtered, title: str, into: Path) -> Path:
    """Write filters.png: the input, the kernel and the output, with a frame around the patch and its value.

    Raises BadInput if the folder cannot be made.
    """
    from matplotlib.patches import Rectangle

    figure = new_figure(9, 3.4)
    figure.suptitle(title, fontsize=9)
    before, kernel, after = figure.subplots(1, 3, width_ratios=(4, 2, 4))
    before.imshow(filtered.image.numpy(), cmap="gray", vmin=0, vmax=255)
    most = float(filtered.kernel.abs().max()) or 1.0
    kernel.imshow(filtered.kernel.numpy(), cmap=WHITE_ON, vmin=-2 * most, vmax=2 * most)
    if filtered.kernel.numel() <= 49:
        for row, values in enumerate(filtered.kernel.tolist()):
            for column, value in enumerate(values):
                kernel.text(column, row, f"{value:.3g}", ha="center", va="center", color="white", fontsize=8)
    after.imshow(filtered.output.numpy(), cmap="gray")
    (row, column), (height, width) = filtered.at, filtered.kernel.shape
    corner = (column * filtered.stride - filtered.padding[1] - 0.5, row * filtered.stride - filtered.padding[0] - 0.5)
    for axes, place, sides in ((before, corner, (width, height)), (after, (column - 0.5, row - 0.5), (1, 1))):
        axes.add_patch(Rectangle(place, *sides, fill=False, edgecolor="tab:red"))
    for axes, pixels in ((before, filtered.image), (kernel, filtered.kernel), (after, filtered.output)):
        axes.set_title(f"{pixels.shape[0]} x {pixels.shape[1]}, {pixels.min():.4g} to {pixels.max():.4g}", fontsize=8)
        axes.axis("off")
    return saved({"filters.png": figure}, into)[0]
