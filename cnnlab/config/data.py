"""The datasets, the tasks and the augmentations by name, and the settings of data and task."""

import re
from dataclasses import dataclass, replace
from math import inf
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from cnnlab.config.section import NameIn, Section
from cnnlab.metrics import ACCURACY, LOSS, MEAN_IOU, PIXEL_ACCURACY, Metric

PositiveInt = Annotated[int, Field(ge=1, lt=2**31)]


@dataclass(frozen=True)
class TaskEntry:
    """The config's knowledge of a task. The entries of datasets, models and losses name their tasks."""

    model: str
    """The default model."""
    loss: str
    """The default loss."""
    optimizer: str
    """The default optimizer."""
    metrics: tuple[Metric, ...]
    """Its metrics, the loss first."""
    score: Metric
    """The metric that chooses the best epoch and the best trial, unless task.score names another."""


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


@dataclass(frozen=True)
class DatasetEntry:
    """The config's knowledge of a dataset."""

    task: str = "classification"
    """Its task."""
    root: Literal["unread", "cache", "own"] = "cache"
    """The meaning of `data.root`: none (it is built in), the folder of its files, or the user's own images."""
    models: tuple[str, ...] = ()
    """Of points, the models that take them, the default first; empty for images."""
    shape: tuple[int, ...] | None = None
    """(C, H, W) of its images, (2,) of points; None if only its files tell."""
    classes: int = 0
    """The number of its classes, if its shape is known."""

    @property
    def samples(self) -> str:
        """The word for them."""
        return "points" if self.models else "images"


POINTS = DatasetEntry(root="unread", shape=(2,), classes=2, models=("mlp", "perceptron"))
"""A generated dataset of points: two float inputs for each sample."""


DATASETS = {
    "digits": DatasetEntry(root="unread", shape=(1, 8, 8), classes=10),
    "mnist": DatasetEntry(shape=(1, 28, 28), classes=10),
    "fashion_mnist": DatasetEntry(shape=(1, 28, 28), classes=10),
    "kmnist": DatasetEntry(shape=(1, 28, 28), classes=10),
    "cifar10": DatasetEntry(shape=(3, 32, 32), classes=10),
    "cifar100": DatasetEntry(shape=(3, 32, 32), classes=100),
    "svhn": DatasetEntry(shape=(3, 32, 32), classes=10),
    "folder": DatasetEntry(root="own"),
    "shapes": DatasetEntry(root="unread", shape=(3, 32, 32), classes=6),
    "shapes_masks": DatasetEntry(task="segmentation", root="unread", shape=(3, 32, 32), classes=7),
    "mask_folder": DatasetEntry(task="segmentation", root="own"),
    "voc2012": DatasetEntry(task="segmentation"),
    "xor": POINTS,
    "and": POINTS,
    "or": POINTS,
    "moons": POINTS,
    "spirals": POINTS,
    "blobs": replace(POINTS, classes=3),
}

VOID = 255
"""In a mask: a pixel of no class, which is not counted (Everingham et al. 2010, section 3.4)."""

VOID_NAME = "void"
"""In `data.colours`: the name of the colour of such pixels."""

MIXUP = "mixup"
AUGMENTATIONS = ("flip", "crop", "cutout", "rotate", "jitter", "erase", MIXUP)

DEFAULT_BATCH_SIZE = 64
BATCH_SIZES = (16, 32, 64, 128, 256)
"""The default choices of a sweep."""


class DataConfig(Section):
    dataset: Annotated[str, NameIn(DATASETS)] = Field("digits", description="which images, or which points")
    root: str | None = Field(
        None,
        description="folder of the data; for `folder` and `mask_folder` the images themselves "
        "[default: $CNNLAB_DATA or ~/.cache/cnnlab]",
    )
    batch_size: PositiveInt | Literal["full", "auto"] = Field(
        "auto", description="images per step; full is the whole training split, auto is 64, or full if that is less"
    )
    val_fraction: float = Field(0.1, gt=0, lt=1, description="share of the training images held out for validation")
    train_size: PositiveInt | None = Field(None, description="train on this number of images only")
    resize: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="side in pixels to which images are resized [default: as they are; image files: 64]"
    )
    augment: Annotated[tuple[Annotated[str, NameIn(AUGMENTATIONS)], ...], Field(strict=False)] = Field(
        (), description="random changes of each training image"
    )
    mixup_alpha: float = Field(
        0.2, gt=0, le=100, description="mixup: an image's share is drawn from Beta(alpha, alpha), for each batch"
    )
    rendering: Annotated[tuple[float, float, Annotated[int, Field(ge=0, le=255)]], Field(strict=False)] | None = Field(
        None,
        description="the values that become 0 and 255 in images of more than 8 bits, and the grey level below "
        "transparent parts, as in [0,4095,255] [default: of the whole set's values]",
    )
    skip_broken: bool = Field(False, description="image files: skip and count files that cannot be read as an image")
    allow_conflicting_labels: bool = Field(
        False, description="your own images: train on images that have several labels"
    )
    depth: Annotated[int, Field(ge=1, le=16)] = Field(
        1, description="folder: the level of the class folders; 1 is directly below the root"
    )
    pattern: str | None = Field(
        None, description="folder: a regular expression whose group is the class in a file's name, as in ([a-z]+)_"
    )
    colours: dict[str, str] | None = Field(
        None,
        description='mask_folder: the classes by their colours in the masks, as in `{road: "#804080", sky: "#4682b4"}`;'
        " `void` is the colour of pixels of no class",
    )

    @field_validator("rendering")
    @classmethod
    def _check_rendering(cls, rendering: tuple[float, float, int] | None) -> tuple[float, float, int] | None:
        if rendering and not 0 < rendering[1] - rendering[0] < inf:
            raise ValueError(f"low < high must hold, but got low={rendering[0]:g}, high={rendering[1]:g}")
        return rendering

    @field_validator("colours", mode="before")
    @classmethod
    def _check_colours(cls, colours: Any) -> Any:
        if not isinstance(colours, dict):
            return colours
        for name, code in colours.items():
            if not isinstance(code, str) or not re.fullmatch("#[0-9a-fA-F]{6}", code):
                raise ValueError(f'{name}: {code!r} is not allowed; it must be a colour in quotes, as "#804080"')
        if len(colours.keys() - {VOID_NAME}) < 2:
            raise ValueError(f"{', '.join(colours) or 'no class'} is not enough; name 2 classes or more")
        if len({code.lower() for code in colours.values()}) < len(colours):
            raise ValueError("two names have one colour; give each its own")
        return colours

    def images_per_step(self, images: int) -> int:
        """The batch size on a training split of this number of images."""
        if self.batch_size == "full":
            return images
        return min(DEFAULT_BATCH_SIZE if self.batch_size == "auto" else self.batch_size, images)


class TaskConfig(Section):
    name: Annotated[str, NameIn(TASKS)] = Field(
        "classification", description="what the network has to do [default: the dataset's task]"
    )
    score: str | None = Field(
        None, description="the metric that chooses the best epoch and the best trial [default: the task's]"
    )

    @field_validator("score")
    @classmethod
    def _check_score(cls, score: str | None, info: ValidationInfo) -> str | None:
        if score is not None and "name" in info.data:  # a refused name is not in it
            known = [metric.name for metric in TASKS[info.data["name"]].metrics]
            if score.lower() not in known:
                raise ValueError(
                    f"{score!r} is not measured by {info.data['name']}; it must be one of {', '.join(known)}"
                )
            return score.lower()
        return score

    @property
    def metric(self) -> Metric:
        """The score."""
        return next((m for m in TASKS[self.name].metrics if m.name == self.score), TASKS[self.name].score)
