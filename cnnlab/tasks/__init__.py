"""What is wanted of a network on a dataset: outputs, loss, what is counted, metrics."""

from cnnlab.config import RunConfig
from cnnlab.tasks.classification import Classification
from cnnlab.tasks.segmentation import Segmentation
from cnnlab.tasks.task import Task

__all__ = ["Task", "make_task"]

TASKS: dict[str, type[Classification] | type[Segmentation]] = {
    "classification": Classification,
    "segmentation": Segmentation,
}


def make_task(config: RunConfig, classes: tuple[str, ...], image_shape: tuple[int, int, int]) -> Task:
    """The task that a config names, on data with these classes and images of this shape, (C, H, W)."""
    kind = TASKS[config.task.name]
    return kind(kind.losses[type(config.loss)](config.loss), classes, image_shape)
