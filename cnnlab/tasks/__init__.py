"""What is wanted of a network on a dataset: outputs, loss, what is counted, metrics."""

from collections.abc import Callable

from cnnlab.config import RunConfig
from cnnlab.tasks.classification import Classification
from cnnlab.tasks.losses import Loss, make_loss
from cnnlab.tasks.task import Task

__all__ = ["Task", "make_task"]

TASKS: dict[str, Callable[[Loss, tuple[str, ...]], Task]] = {"classification": Classification}


def make_task(config: RunConfig, classes: tuple[str, ...]) -> Task:
    """The task that a config names, on data with these classes."""
    return TASKS[config.task.name](make_loss(config.loss), classes)
