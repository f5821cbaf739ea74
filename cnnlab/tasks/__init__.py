"""Tasks. A task owns its networks, their forward pass, their loss and the measurement of a split."""

from cnnlab.config import RunConfig
from cnnlab.tasks.classification import Classification
from cnnlab.tasks.segmentation import Segmentation
from cnnlab.tasks.task import Task

__all__ = ["Task", "make_task"]

TASKS: dict[str, type[Task]] = {"classification": Classification, "segmentation": Segmentation}


def make_task(config: RunConfig, classes: tuple[str, ...], image_shape: tuple[int, ...]) -> Task:
    """The task that a config names, for images of this shape, (C, H, W), or points, (2,)."""
    return TASKS[config.task.name](config, classes, image_shape)
