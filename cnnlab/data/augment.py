"""Random changes of a whole batch at once, with a draw for each image.

Each function takes images (N, C, H, W) uint8 and draws (N, k) uniform in [0, 1), and returns changed images of the same
shape and type. The change of an image depends only on its draws and its mask. A mask (N, 1, H, W) is moved as its image
is. Its pixels are void where those of the image come from outside or are hidden, since nothing shows their class. Only
`mixup` is another kind of function, of a whole batch.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.config.data import VOID
from cnnlab.data.dataset import has_masks

PAD = 4
"""Pixels of zeros on each side from which `crop` cuts (He et al. 2016, section 4.2)."""
DEGREES = 15.0
"""The largest angle of `rotate`, either way."""
STRENGTH = 0.4
"""How far from 1 the factors of `jitter` may be."""
LUMINANCE = (0.299, 0.587, 0.114)
"""The shares of red, green and blue in the grey of a pixel (ITU-R BT.601)."""
AREAS, RATIOS = (0.02, 0.4), (0.3, 1 / 0.3)
"""Of the rectangle of `erase`: its share of the image, height / width."""


def flip(images: Tensor, draws: Tensor) -> Tensor:
    """Left to right, half of the images on average."""
    return torch.where(draws[:, 0].view(-1, 1, 1, 1) < 0.5, images.flip(3), images)


def crop(images: Tensor, draws: Tensor, outside: int = 0) -> Tensor:
    """Shifted by up to 4 pixels each way; pixels from outside are zero."""
    count, channels, height, width = images.shape
    padded = F.pad(images, (PAD, PAD, PAD, PAD), value=outside)
    top, left = (draws * (2 * PAD + 1)).long().unbind(1)
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = left[:, None] + torch.arange(width, device=images.device)
    flat = rows[:, :, None] * (width + 2 * PAD) + columns[:, None, :]
    index = flat.view(count, 1, -1).expand(-1, channels, -1)
    return padded.flatten(2).gather(2, index).view_as(images)


def cutout(images: Tensor, draws: Tensor, hidden: int = 0) -> Tensor:
    """A square of half the shorter side is zero, its centre anywhere in the image (DeVries and Taylor 2017)."""
    height, width = images.shape[2:]
    side = min(height, width) // 2
    top = (draws[:, 0] * height).long()[:, None] - side // 2
    left = (draws[:, 1] * width).long()[:, None] - side // 2
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    hidden_rows = (rows >= top) & (rows < top + side)
    hidden_columns = (columns >= left) & (columns < left + side)
    return images.masked_fill((hidden_rows[:, :, None] & hidden_columns[:, None, :])[:, None], hidden)


def erase(images: Tensor, draws: Tensor) -> Tensor:
    """In half of the images on average, a rectangle is of one random grey level (Zhong et al. 2020, algorithm 1).

    Two things differ from the paper: its pixels are of different levels, and a rectangle that is too high or too wide
    is drawn again; here it is cut.
    """
    level = (draws[:, 5] * 256).to(images.dtype).view(-1, 1, 1, 1)
    return torch.where(_erased(images, draws), level, images)


def erase_masks(masks: Tensor, draws: Tensor) -> Tensor:
    """Void where `erase` hides the image."""
    return masks.masked_fill(_erased(masks, draws), VOID)


def _erased(images: Tensor, draws: Tensor) -> Tensor:
    """(N, 1, H, W) bool: a rectangle, its area, ratio and position drawn evenly, if the first draw is below 0.5."""
    height, width = images.shape[2:]
    area = (AREAS[0] + draws[:, 1] * (AREAS[1] - AREAS[0])) * height * width
    ratio = RATIOS[0] + draws[:, 2] * (RATIOS[1] - RATIOS[0])
    high, wide = (area * ratio).sqrt().round().clamp(max=height), (area / ratio).sqrt().round().clamp(max=width)
    top, left = (draws[:, 3] * (height - high + 1)).floor(), (draws[:, 4] * (width - wide + 1)).floor()
    top, left, high, wide = (value[:, None] for value in (top, left, high, wide))
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    inside = ((rows >= top) & (rows < top + high))[:, :, None] & ((columns >= left) & (columns < left + wide))[:, None]
    return (inside & (draws[:, 0] < 0.5)[:, None, None])[:, None]


def jitter(images: Tensor, draws: Tensor) -> Tensor:
    """Brightness, then contrast, then saturation times a factor between 0.6 and 1.4.

    Contrast is the distance from the image's mean grey, saturation that from a pixel's grey. Images of one channel are
    grey; of a number of channels other than 3, the grey is the mean.
    """
    brightness, contrast, saturation = draws.mul(2).sub(1).mul(STRENGTH).add(1).T.view(3, -1, 1, 1, 1).unbind()
    channels = images.shape[1]
    shares = torch.tensor(LUMINANCE if channels == 3 else channels * [1 / channels], device=images.device)

    def grey(pixels: Tensor) -> Tensor:
        return (pixels * shares.view(-1, 1, 1)).sum(1, keepdim=True)

    bright = (images * brightness).clamp(0, 255)
    mean = grey(bright).mean((2, 3), keepdim=True)
    contrasted = (mean + contrast * (bright - mean)).clamp(0, 255)
    pale = grey(contrasted)
    return (pale + saturation * (contrasted - pale)).clamp(0, 255).round().byte()


def rotate(images: Tensor, draws: Tensor) -> Tensor:
    """Turned about the centre by up to 15 degrees either way, bilinear; pixels from outside are zero."""
    turned = F.grid_sample(images.float(), _turned_grid(images, draws), align_corners=False)
    return turned.round_().clamp_(0, 255).byte()


def rotate_masks(masks: Tensor, draws: Tensor) -> Tensor:
    """As `rotate`, but each pixel takes the value of the nearest."""
    inverse = (VOID - masks).float()  # since grid_sample gives zero for pixels from outside
    turned = F.grid_sample(inverse, _turned_grid(masks, draws), mode="nearest", align_corners=False)
    return VOID - turned.byte()


def _turned_grid(images: Tensor, draws: Tensor) -> Tensor:
    count, _, height, width = images.shape
    angle = (2 * draws[:, 0] - 1) * math.radians(DEGREES)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # grid_sample's coordinates run from -1 to 1 along either side, so an oblong image needs the ratio of its sides
    ratio = height / width
    matrix = torch.stack([cos, sin * ratio, zero, -sin / ratio, cos, zero], 1).view(count, 2, 3)
    return F.affine_grid(matrix, list(images.shape), align_corners=False)


class Change(NamedTuple):
    """An augmentation; draws: the numbers that it needs per image."""

    draws: int
    of_images: Callable[[Tensor, Tensor], Tensor]
    of_masks: Callable[[Tensor, Tensor], Tensor]


AUGMENTATIONS = {
    "flip": Change(1, flip, flip),
    "crop": Change(2, crop, partial(crop, outside=VOID)),
    "cutout": Change(2, cutout, partial(cutout, hidden=VOID)),
    "rotate": Change(1, rotate, rotate_masks),
    "jitter": Change(3, jitter, lambda masks, draws: masks),
    "erase": Change(6, erase, erase_masks),
}


def draws_needed(names: Sequence[str]) -> int:
    """The uniform numbers that an image needs for all of these."""
    return sum(AUGMENTATIONS[name].draws for name in names)


def augment(images: Tensor, targets: Tensor, names: Sequence[str], draws: Tensor) -> tuple[Tensor, Tensor]:
    """The named changes one after the other, of targets too if they are masks; draws: (N, draws_needed(names)).

    An image whose mask would become all void is not changed: its loss would be undefined.
    """
    original, masks = images, targets[:, None] if has_masks(targets) else None
    start = 0
    for name in names:
        change = AUGMENTATIONS[name]
        some = draws[:, start : (start := start + change.draws)]
        images = change.of_images(images, some)
        masks = None if masks is None else change.of_masks(masks, some)
    if masks is None:
        return images, targets
    labelled = (masks != VOID).flatten(1).any(1).view(-1, 1, 1, 1)
    return torch.where(labelled, images, original), torch.where(labelled[:, 0], masks[:, 0], targets)


def mixup(images: Tensor, classes: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Each image mixed with another of the batch (Zhang et al. 2018, section 2): the first with the last, and so on.

    Args:
        images: (N, C, H, W) uint8, in random order.
        classes: (N,) int64
        weight: of the image itself, between 0 and 1; the other has the rest.

    Returns:
        Images as before, and (N, 3) float32 with the image's class, the other's class and the weight.
    """
    mixed = images.float().lerp(images.flip(0).float(), 1 - weight).round().to(images.dtype)
    labels = [classes.float(), classes.flip(0).float(), torch.full_like(classes, weight, dtype=torch.float32)]
    return mixed, torch.stack(labels, 1)
