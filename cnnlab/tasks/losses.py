"""Losses over samples that have a class each: the mean that is trained, and the sum that is measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from cnnlab.config.losses import CrossEntropy, Hinge, LossConfig

Function = Callable[[Tensor, Tensor], Tensor]
"""outputs, targets -> ()"""


@dataclass(frozen=True)
class Loss:
    """A loss over the samples of a batch."""

    mean: Function
    """As it is trained."""
    total: Function
    """The sum over the samples, as it is measured: without label smoothing."""
    additive: bool = True
    """Whether a batch's loss is the mean of its samples' losses."""


def cross_entropy(config: CrossEntropy) -> Loss:
    """Softmax cross-entropy, nats. outputs: (N, K) logits; targets: (N,) int64."""
    smoothing = config.label_smoothing
    return Loss(
        mean=lambda outputs, targets: F.cross_entropy(outputs, targets, label_smoothing=smoothing),
        total=lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="sum"),
    )


def hinge(config: Hinge) -> Loss:
    """The multi-class SVM's: the mean over the classes of max(0, margin - s_y + s_j), j other than y, squared or not.

    Weston and Watkins 1999, as torch.nn.MultiMarginLoss has it. outputs: (N, K) scores; targets: (N,) int64.
    """
    power = 2 if config.squared else 1
    return Loss(
        mean=lambda outputs, targets: F.multi_margin_loss(outputs, targets, p=power, margin=config.margin),
        total=lambda outputs, targets: F.multi_margin_loss(
            outputs, targets, p=power, margin=config.margin, reduction="sum"
        ),
    )


Losses = Mapping[type[LossConfig], Callable[[Any], Loss]]
"""A loss's config -> what makes the loss, for one kind of targets."""

CLASS_LOSSES: Losses = {CrossEntropy: cross_entropy, Hinge: hinge}
