"""The losses, one class each, with their settings."""

from typing import Annotated, Literal

from pydantic import Field

from cnnlab.config.section import CLASSIFICATION, SEGMENTATION, Entry, Section

LabelSmoothing = Annotated[float, Field(ge=0, lt=1, description="share of the target spread over all classes")]


class LossConfig(Section):
    """Any of them."""

    name: str


class CrossEntropy(LossConfig):
    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: LabelSmoothing = 0.0


class Hinge(LossConfig):
    """The loss of a multi-class support vector machine."""

    name: Literal["hinge"] = "hinge"
    margin: float = Field(1.0, gt=0, allow_inf_nan=False, description="the loss is 0 if the true class leads by it")
    squared: bool = Field(False, description="square the missing lead (L2-SVM)")


class PerceptronLoss(LossConfig):
    """The number of wrong outputs, each class against the rest; its straight-through gradient is Rosenblatt's rule."""

    name: Literal["perceptron"] = "perceptron"


class Dice(LossConfig):
    """1 - overlap of the predicted and the true areas of the classes."""

    name: Literal["dice"] = "dice"


class CrossEntropyDice(LossConfig):
    """The weighted mean of both."""

    name: Literal["cross_entropy_dice"] = "cross_entropy_dice"
    label_smoothing: LabelSmoothing = 0.0
    dice_weight: float = Field(0.5, ge=0, le=1, description="weight of the Dice loss; cross-entropy has the rest")


LOSSES = {
    "cross_entropy": Entry(config=CrossEntropy, tasks=CLASSIFICATION + SEGMENTATION),
    "hinge": Entry(config=Hinge, tasks=CLASSIFICATION),
    "perceptron": Entry(config=PerceptronLoss, tasks=CLASSIFICATION),
    "dice": Entry(config=Dice, tasks=SEGMENTATION),
    "cross_entropy_dice": Entry(config=CrossEntropyDice, tasks=SEGMENTATION),
}
