"""Losses: the mean over the samples, for training, and the sum over the samples, for measurement.

A loss over masks is first the mean over an image's pixels that are not void, then the mean over the images. So an image
with much void counts as much as another, and a batch's loss is the mean of its images' losses. An image that is all
void has the loss 0; `cnnlab.data` gives no such images, as they would make that mean too small.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.config.data import VOID
from cnnlab.config.losses import CrossEntropy, CrossEntropyDice, Dice, Hinge, LossConfig, PerceptronLoss
from cnnlab.models.blocks import Step

Function = Callable[[Tensor, Tensor], Tensor]
"""outputs, targets -> ()"""


class Loss(NamedTuple):
    """A loss over the samples of a batch."""

    mean: Function
    """For training."""
    total: Function
    """The sum over the samples, for measurement: without label smoothing."""


def cross_entropy(config: CrossEntropy) -> Loss:
    """Softmax cross-entropy, nats. outputs: (N, K) logits; targets: (N,) int64."""
    return Loss(
        mean=partial(F.cross_entropy, label_smoothing=config.label_smoothing),
        total=partial(F.cross_entropy, reduction="sum"),
    )


def hinge(config: Hinge) -> Loss:
    """The multi-class SVM's: the mean over the classes of max(0, margin - s_y + s_j), j other than y, squared or not.

    Weston and Watkins 1999, as torch.nn.MultiMarginLoss. outputs: (N, K) scores; targets: (N,) int64.
    """
    mean = partial(F.multi_margin_loss, p=2 if config.squared else 1, margin=config.margin)
    return Loss(mean, total=partial(mean, reduction="sum"))


def perceptron(config: PerceptronLoss) -> Loss:
    """The number of wrong outputs of a sample: the sum over the classes of |y - t|.

    y is 1 if the class's score s is positive, t is 1 for the true class, else 0. The gradient by s is that by y
    (`Step`), which is y - t. So a step of gradient descent is w <- w + lr (t - y) x, the mean over the batch: the
    learning rule of Rosenblatt 1958. outputs: (N, K) scores; targets: (N,) int64.
    """

    def total(outputs: Tensor, targets: Tensor) -> Tensor:
        true = targets[:, None] == torch.arange(outputs.shape[1], device=outputs.device)
        fired: Tensor = Step()(outputs)
        return (fired - true.float()).abs().sum()

    return Loss(mean=lambda outputs, targets: total(outputs, targets) / len(targets), total=total)


def mask_cross_entropy(config: CrossEntropy) -> Loss:
    """Softmax cross-entropy, nats per pixel. outputs: (N, K, H, W) logits; targets: (N, H, W) uint8."""
    return _over_images(partial(_pixel_cross_entropy, smoothing=config.label_smoothing), _pixel_cross_entropy)


def dice(config: Dice) -> Loss:
    """1 - the mean soft Dice coefficient over the classes that an image has. Shapes as of `mask_cross_entropy`."""
    return _over_images(_dice, _dice)


def cross_entropy_dice(config: CrossEntropyDice) -> Loss:
    """The weighted sum of cross-entropy and Dice loss. Shapes as of `mask_cross_entropy`."""
    share = config.dice_weight

    def mixed(outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return (1 - share) * _pixel_cross_entropy(outputs, targets, smoothing) + share * _dice(outputs, targets)

    return _over_images(partial(mixed, smoothing=config.label_smoothing), mixed)


def _over_images(trained: Function, measured: Function) -> Loss:
    """The loss from functions that return (N,), a loss per image."""
    return Loss(
        mean=lambda outputs, targets: trained(outputs, targets).mean(),
        total=lambda outputs, targets: measured(outputs, targets).sum(),
    )


def _pixel_cross_entropy(outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """(N,)"""
    pixels = F.cross_entropy(outputs, targets.long(), ignore_index=VOID, reduction="none", label_smoothing=smoothing)
    return pixels.flatten(1).sum(1) / (targets != VOID).flatten(1).sum(1).clamp(min=1)


def _dice(outputs: Tensor, targets: Tensor) -> Tensor:
    """(N,) from the coefficient of each class, 2 |P T| / (|P| + |T|), with its probabilities P and its pixels T.

    Milletari et al. 2016, section 3, with the plain sums of Sudre et al. 2017, section 2, in the denominator.
    """
    classes = torch.arange(outputs.shape[1], device=outputs.device).view(-1, 1, 1)
    true = targets[:, None] == classes  # False for void pixels
    shares = outputs.softmax(1) * (targets != VOID)[:, None]
    sizes = true.sum((2, 3))
    coefficients = 2 * (shares * true).sum((2, 3)) / (shares.sum((2, 3)) + sizes).clamp(min=1)
    present = sizes > 0
    count = present.sum(1)
    return (count - (coefficients * present).sum(1)) / count.clamp(min=1)


Losses = Mapping[type[LossConfig], Callable[[Any], Loss]]
"""A loss's config -> the function that makes the loss, for one kind of targets."""

CLASS_LOSSES: Losses = {CrossEntropy: cross_entropy, Hinge: hinge, PerceptronLoss: perceptron}
MASK_LOSSES: Losses = {CrossEntropy: mask_cross_entropy, Dice: dice, CrossEntropyDice: cross_entropy_dice}
