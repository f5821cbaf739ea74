"""The tasks: what is wanted of a network on a dataset."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from cnnlab.config.section import NameIn, Section
from cnnlab.metrics import ACCURACY, LOSS, MEAN_IOU, PIXEL_ACCURACY, Metric


@dataclass(frozen=True)
class TaskEntry:
    """What the config knows of a task. A dataset's entry says its task; a model's and a loss's say theirs."""

    model: str
    """The model that is trained if nobody said which."""
    loss: str
    """The loss, likewise."""
    optimizer: str
    """The optimizer, likewise."""
    metrics: tuple[Metric, ...]
    """What it measures, the loss first."""
    score: Metric
    """What the best epoch and the best trial are chosen by, if nobody said what."""


TASKS = {
    "classification": TaskEntry(
        model="cnn", loss="cross_entropy", optimizer="sgd", metrics=(LOSS, ACCURACY), score=ACCURACY
    ),
    "segmentation": TaskEntry(
        model="unet",
        loss="cross_entropy",
        optimizer="adam",
        metrics=(LOSS, MEAN_IOU, PIXEL_ACCURACY),
        score=MEAN_IOU,
    ),
}


class TaskConfig(Section):
    name: Annotated[str, NameIn(TASKS)] = Field(
        "classification", description="what is wanted of the network [default: the dataset's own]"
    )
    score: str | None = Field(
        None, description="the metric that the best epoch and the best trial are chosen by [default: the task's own]"
    )

    @field_validator("score")
    @classmethod
    def _the_task_has_it(cls, score: str | None, info: ValidationInfo) -> str | None:
        if score is not None and "name" in info.data:  # it is not there if it was refused
            known = [metric.name for metric in TASKS[info.data["name"]].metrics]
            if score.lower() not in known:
                raise ValueError(
                    f"{score!r} is not measured by {info.data['name']}; it must be one of {', '.join(known)}"
                )
            return score.lower()
        return score

    @property
    def metric(self) -> Metric:
        """What is to be as good as possible."""
        return next((m for m in TASKS[self.name].metrics if m.name == self.score), TASKS[self.name].score)
