"""The tasks: what is wanted of a network on a dataset."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from cnnlab.config.section import NameIn, Section


@dataclass(frozen=True)
class TaskEntry:
    """What the config knows of a task. A dataset's entry says its task; a model's and a loss's say theirs."""

    model: str
    """The model that is trained if nobody said which."""
    loss: str
    """The loss, likewise."""


TASKS = {
    "classification": TaskEntry(model="cnn", loss="cross_entropy"),
}


class TaskConfig(Section):
    name: Annotated[str, NameIn(TASKS)] = Field(
        "classification", description="what is wanted of the network [default: the dataset's own]"
    )
