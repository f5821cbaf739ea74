"""Random changes of a whole batch at once, with a draw for each image.

Each function takes images (N, C, H, W) uint8 and draws (N, k) uniform in [0, 1), and returns changed images of the same
shape and type. What happens to an image depends on its own draws alone.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

PAD = 4
"""Pixels of zeros on each side from which `crop` cuts (He et al. 2016, section 4.2)."""
DEGREES = 15.0
"""`rotate` turns by at most so much either way."""


def flip(images: Tensor, draws: Tensor) -> Tensor:
    """Left to right, every other image on average."""
    return torch.where(draws[:, 0].view(-1, 1, 1, 1) < 0.5, images.flip(3), images)


def crop(images: Tensor, draws: Tensor) -> Tensor:
    """Shifted by up to 4 pixels each way; zeros come in from outside."""
    count, channels, height, width = images.shape
    padded = F.pad(images, (PAD, PAD, PAD, PAD))
    top, left = (draws * (2 * PAD + 1)).long().unbind(1)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    flat = rows[:, :, None] * (width + 2 * PAD) + columns[:, None, :]
    index = flat.view(count, 1, -1).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, index).view_as(images)


def cutout(images: Tensor, draws: Tensor) -> Tensor:
    """A square of half the shorter side is zero, its centre anywhere in the image (DeVries and Taylor 2017)."""
    height, width = images.shape[2:]
    side = min(height, width) // 2
    top = (draws[:, 0] * height).long()[:, None] - side // 2
    left = (draws[:, 1] * width).long()[:, None] - side // 2
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    hidden_rows = (rows >= top) & (rows < top + side)
    hidden_columns = (columns >= left) & (columns < left + side)
    return images.masked_fill((hidden_rows[:, :, None] & hidden_columns[:, None, :])[:, None], 0)


def rotate(images: Tensor, draws: Tensor) -> Tensor:
    """Turned about the centre by up to 15 degrees either way, bilinear; zeros come in from outside."""
    count, _, height, width = images.shape
    angle = (2 * draws[:, 0] - 1) * math.radians(DEGREES)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # grid_sample's coordinates run from -1 to 1 along either side, so an oblong image needs the ratio of its sides
    ratio = height / width
    matrix = torch.stack([cos, sin * ratio, zero, -sin / ratio, cos, zero], 1).view(count, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round_().clamp_(0, 255).byte()


AUGMENTATIONS: dict[str, tuple[int, Callable[[Tensor, Tensor], Tensor]]] = {
    "flip": (1, flip),
    "crop": (2, crop),
    "cutout": (2, cutout),
    "rotate": (1, rotate),
}
"""Name -> draws that it needs for an image, function."""


def draws_needed(names: Sequence[str]) -> int:
    """How many uniform numbers an image needs for all of these."""
    return sum(AUGMENTATIONS[name][0] for name in names)


def augment(images: Tensor, names: Sequence[str], draws: Tensor) -> Tensor:
    """The named changes one after the other; draws: (N, draws_needed(names))."""
    start = 0
    for name in names:
        count, change = AUGMENTATIONS[name]
        images = change(images, draws[:, start : start + count])
        start += count
    return images
