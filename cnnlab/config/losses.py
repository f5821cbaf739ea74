"""The losses, one class each, with what can be set of them."""

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
    """The multi-class support vector machine's."""

    name: Literal["hinge"] = "hinge"
    margin: float = Field(1.0, gt=0, allow_inf_nan=False, description="by how much the true class is to lead")
    squared: bool = Field(False, description="square what is lacking (L2-SVM)")


class Dice(LossConfig):
    """How little the predicted and the true areas of the classes overlap."""

    name: Literal["dice"] = "dice"


class CrossEntropyDice(LossConfig):
    """Both, weighted."""

    name: Literal["cross_entropy_dice"] = "cross_entropy_dice"
    label_smoothing: LabelSmoothing = 0.0
    dice_weight: float = Field(0.5, ge=0, le=1, description="share of the Dice loss; cross-entropy has the rest")


LOSSES = {
    "cross_entropy": Entry(config=CrossEntropy, tasks=CLASSIFICATION + SEGMENTATION),
    "hinge": Entry(config=Hinge, tasks=CLASSIFICATION),
    "dice": Entry(config=Dice, tasks=SEGMENTATION),
    "cross_entropy_dice": Entry(config=CrossEntropyDice, tasks=SEGMENTATION),
}
