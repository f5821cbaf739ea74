"""The losses, one class each, with what can be set of them."""

from typing import Literal

from pydantic import Field

from cnnlab.config.section import CLASSIFICATION, Entry, Section


class LossConfig(Section):
    """Any of them."""

    name: str


class CrossEntropy(LossConfig):
    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")


class Hinge(LossConfig):
    """The multi-class support vector machine's."""

    name: Literal["hinge"] = "hinge"
    margin: float = Field(1.0, gt=0, allow_inf_nan=False, description="by how much the true class is to lead")
    squared: bool = Field(False, description="square what is lacking (L2-SVM)")


LOSSES = {
    "cross_entropy": Entry(config=CrossEntropy, tasks=CLASSIFICATION),
    "hinge": Entry(config=Hinge, tasks=CLASSIFICATION),
}
