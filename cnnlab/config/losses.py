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


LOSSES = {
    "cross_entropy": Entry(config=CrossEntropy, tasks=CLASSIFICATION),
}
