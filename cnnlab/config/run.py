"""What one run is: `RunConfig` and its parts. The single place where a setting has its default, bounds and help."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cnnlab.config.models import CNN, ModelConfig
from cnnlab.config.optimizers import SGD, OptimizerConfig
from cnnlab.config.schedules import Cosine, ScheduleConfig
from cnnlab.config.section import Section

DatasetName = Literal["digits", "mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100", "svhn", "folder", "shapes"]
Augmentation = Literal["flip", "crop", "cutout", "rotate"]
PositiveInt = Annotated[int, Field(ge=1, lt=2**31)]


QUESTIONS = ("search", "compare")
"""Sections that ask for many runs; they are no setting of one."""


class DataConfig(Section):
    dataset: DatasetName = Field("digits", description="which images")
    root: str | None = Field(
        None,
        description="folder of the data; for `folder` the images themselves [default: $CNNLAB_DATA or ~/.cache/cnnlab]",
    )
    batch_size: PositiveInt | Literal["full"] = Field(64, description="images a step, or full for the whole split")
    val_fraction: float = Field(0.1, gt=0, lt=1, description="share of the training images held out for validation")
    train_size: PositiveInt | None = Field(None, description="train on so many images only")
    resize: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="side in pixels to which images are resized [default: as they are; image files: 64]"
    )
    augment: Annotated[tuple[Augmentation, ...], Field(strict=False)] = Field(
        (), description="random changes of each training image"
    )
    skip_broken: bool = Field(False, description="folder: skip and count files that are no images")
    depth: Annotated[int, Field(ge=1, le=16)] = Field(
        1, description="folder: how many folders down the folders are that each hold a class"
    )
    pattern: str | None = Field(
        None, description="folder: a regular expression whose group is the class in a file's name, as in ([a-z]+)_"
    )
    residence: Literal["auto", "device", "stream"] = Field(
        "auto", description="whole on the device, or streamed to it batch by batch"
    )
    workers: int = Field(2, ge=0, le=256, description="processes that prepare batches when streaming")


class LossConfig(Section):
    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")


class TrainingConfig(Section):
    epochs: PositiveInt = Field(10, description="passes over the training images")
    seed: int = Field(0, ge=0, lt=2**63, description="of everything random")
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N or mps")
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="CPU threads; another number gives other bits [default: one a core]"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto is bf16 where the device computes it natively, else fp32"
    )
    clip_norm: float | None = Field(None, gt=0, allow_inf_nan=False, description="largest norm of the gradient")
    accumulate: int = Field(1, ge=1, le=65536, description="batches whose gradients are averaged into one step")
    patience: PositiveInt | None = Field(None, description="stop after so many epochs without a better validation")
    checkpoint_every: PositiveInt | None = Field(
        None, description="seal a checkpoint every so many steps too, not only at the end of an epoch"
    )


class RunConfig(Section):
    """One run, whole. Frozen: a changed config is a new one."""

    name: str | None = Field(None, description="a name for people; the run id begins with the time")
    data: DataConfig = DataConfig()
    model: ModelConfig = CNN()
    optimizer: OptimizerConfig = SGD()
    schedule: ScheduleConfig = Cosine()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    search: dict[str, Any] | None = Field(None, description="ranges that `cnnlab sweep` searches")
    compare: Annotated[list[str], Field(min_length=1)] | dict[str, Any] | None = Field(
        None, description="optimizers that `cnnlab compare` compares"
    )

    @property
    def label(self) -> str:
        """What it is called where nobody gave it a name: its data and its model."""
        return self.name or f"{self.data.dataset}-{self.model.name.split('/')[-1]}"

    @model_validator(mode="after")
    def _warmup_leaves_epochs(self) -> "RunConfig":
        if self.schedule.warmup_epochs > self.training.epochs:
            raise ValueError(
                f"schedule.warmup_epochs <= training.epochs must hold, "
                f"but got {self.schedule.warmup_epochs:g} > {self.training.epochs}"
            )
        return self

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "RunConfig":
        sgd = self.optimizer
        if isinstance(sgd, SGD) and sgd.nesterov and (sgd.momentum == 0 or sgd.dampening != 0):
            raise ValueError(
                "optimizer.nesterov needs momentum > 0 and dampening = 0, "
                f"but got momentum={sgd.momentum:g}, dampening={sgd.dampening:g}"
            )
        return self
