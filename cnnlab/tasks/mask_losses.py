"""Losses over samples that have a mask each: of each image over its pixels that are not void, then over the images.

So an image with much void counts as much as another, and a batch's loss is the mean of its images' losses. An image
that is all void has the loss 0; `cnnlab.data` gives none, as it would make that mean too small.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.config.data import VOID
from cnnlab.config.losses import CrossEntropy, CrossEntropyDice, Dice
from cnnlab.tasks.losses import Function, Loss, Losses


def cross_entropy(config: CrossEntropy) -> Loss:
    """Softmax cross-entropy, nats a pixel. outputs: (N, K, H, W) logits; targets: (N, H, W) uint8."""
    smoothing = config.label_smoothing
    return _over_images(lambda outputs, targets: _cross_entropy(outputs, targets, smoothing), _cross_entropy)


def dice(config: Dice) -> Loss:
    """1 - the mean soft Dice coefficient of the classes that an image has. Shapes as above."""
    return _over_images(_dice, _dice)


def cross_entropy_dice(config: CrossEntropyDice) -> Loss:
    """Both, weighted. Shapes as above."""
    share, smoothing = config.dice_weight, config.label_smoothing

    def trained(outputs: Tensor, targets: Tensor) -> Tensor:
        return (1 - share) * _cross_entropy(outputs, targets, smoothing) + share * _dice(outputs, targets)

    def measured(outputs: Tensor, targets: Tensor) -> Tensor:
        return (1 - share) * _cross_entropy(outputs, targets) + share * _dice(outputs, targets)

    return _over_images(trained, measured)


def _over_images(trained: Function, measured: Function) -> Loss:
    """Of functions that give (N,), a loss for each image."""
    return Loss(
        mean=lambda outputs, targets: trained(outputs, targets).mean(),
        total=lambda outputs, targets: measured(outputs, targets).sum(),
    )


def _cross_entropy(outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """(N,)"""
    pixels = F.cross_entropy(outputs, targets.long(), ignore_index=VOID, reduction="none", label_smoothing=smoothing)
    return pixels.flatten(1).sum(1) / (targets != VOID).flatten(1).sum(1).clamp(min=1)


def _dice(outputs: Tensor, targets: Tensor) -> Tensor:
    """(N,); of each class 2 |P T| / (|P| + |T|), P being its probabilities and T its pixels.

    Milletari et al. 2016, section 3, with the plain sums of Sudre et al. 2017, section 2, in the denominator.
    """
    classes = torch.arange(outputs.shape[1], device=outputs.device).view(-1, 1, 1)
    true = targets[:, None] == classes  # nowhere where it is void
    shares = outputs.softmax(1) * (targets != VOID)[:, None]
    sizes = true.sum((2, 3))
    coefficients = 2 * (shares * true).sum((2, 3)) / (shares.sum((2, 3)) + sizes).clamp(min=1)
    present = sizes > 0
    count = present.sum(1)
    return (count - (coefficients * present).sum(1)) / count.clamp(min=1)


MASK_LOSSES: Losses = {CrossEntropy: cross_entropy, Dice: dice, CrossEntropyDice: cross_entropy_dice}
