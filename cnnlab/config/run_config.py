"""The settings of a run: `RunConfig` and its sections. Each field has its default, bounds and help here."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo

from cnnlab.config.data import DATASETS, MIXUP, TASKS, DataConfig, PositiveInt, TaskConfig
from cnnlab.config.losses import LOSSES, CrossEntropy, LossConfig
from cnnlab.config.models import CNN, MODELS, ModelConfig
from cnnlab.config.optimizers import OPTIMIZERS, SGD, OptimizerConfig, Perceptron
from cnnlab.config.schedules import SCHEDULES, Cosine, ScheduleConfig
from cnnlab.config.section import Entry, NameIn, OneOf, Section, tag_of

QUESTIONS = ("search", "compare")
"""Sections that ask for many runs; they are not settings of a run."""

PLACE = "place"
"""The section that says where a run happens. It is not part of a run's identity: it may differ when a run or a study
is resumed, and it cannot be searched or compared."""

FLAGS = {
    "dataset": "data.dataset",
    "data_root": "data.root",
    "model": "model.name",
    "optimizer": "optimizer.name",
    "lr": "optimizer.lr",
    "batch_size": "data.batch_size",
    "momentum": "optimizer.momentum",
    "weight_decay": "optimizer.weight_decay",
    "dropout": "model.dropout",
    "epochs": "training.epochs",
    "schedule": "schedule.name",
    "seed": "training.seed",
    "device": "place.device",
    "precision": "training.precision",
    "checkpoint_every": "training.checkpoint_every",
}
"""Flag -> the setting that it sets."""


OWN = tuple(name for name, entry in DATASETS.items() if entry.root == "own")

NEEDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "data.mixup_alpha": ("data.augment", lambda names: MIXUP in names),
    **dict.fromkeys(("data.depth", "data.pattern"), ("data.dataset", lambda name: name == "folder")),
    "data.colours": ("data.dataset", lambda name: name == "mask_folder"),
    **dict.fromkeys(("data.skip_broken", "data.allow_conflicting_labels"), ("data.dataset", lambda name: name in OWN)),
    "model.init_std": ("model.init", lambda name: name == "normal"),
    **dict.fromkeys(("model.pool_size", "model.pool_stride"), ("model.pool", lambda name: name != "none")),
    "model.padding_mode": ("model.padding", lambda padding: padding not in ("valid", 0)),
    "model.dilation": ("model.kernel_size", lambda side: side > 1),
    "model.groups": ("model.channels", lambda channels: len(channels) > 1),
    **dict.fromkeys(("model.hidden_norm", "model.dropout"), ("model.hidden", bool)),
    "optimizer.dampening": ("optimizer.momentum", bool),
}
"""Setting -> the one on whose value it depends whether it has an effect, if their sections have both."""


class TrainingConfig(Section):
    epochs: PositiveInt = Field(10, description="passes over the training images")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of all random numbers")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto is bf16 if the device computes it natively, else fp32"
    )
    clip_norm: float | None = Field(None, gt=0, allow_inf_nan=False, description="largest norm of the gradient")
    accumulate: int = Field(1, ge=1, le=65536, description="batches whose gradients are averaged into one step")
    patience: PositiveInt | None = Field(None, description="stop after N epochs without a better validation")
    checkpoint_every: PositiveInt | None = Field(
        None, description="save a checkpoint after every N steps too, not only at the end of an epoch"
    )
    record_norms: bool = Field(
        False,
        description="record each layer's gradient and weight norms and dead units, at step 1 and after epochs, at "
        "least 50 steps apart",
    )


class PenaltyConfig(Section):
    """Added to the gradient, whatever the optimizer; not in the losses that are reported."""

    l1: float = Field(0.0, ge=0, allow_inf_nan=False, description="adds l1 * sum |w| to what is minimised")
    l2: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="adds l2 / 2 * sum w^2 to what is minimised; with l1, elastic net"
    )


class PlaceConfig(Section):
    """Where a run happens; not part of its identity."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda|cuda:\d+|mps)$", description="auto, cpu, cuda, cuda:N or mps")
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="CPU threads; another number gives other bits [default: 1 if the step is small, else one per core]",
    )
    workers: int = Field(2, ge=0, le=256, description="processes that prepare batches when streaming")
    residence: Literal["auto", "device", "stream"] = Field(
        "auto", description="whole on the device, or streamed to it batch by batch"
    )


class RunConfig(Section):
    """All settings of a run. Frozen: a changed config is a new one."""

    name: str | None = Field(None, description="a name for people; the run id begins with the time")
    task: TaskConfig = TaskConfig()
    data: DataConfig = DataConfig()
    model: Annotated[ModelConfig, OneOf(MODELS, "cnn")] = CNN()
    optimizer: Annotated[OptimizerConfig, OneOf(OPTIMIZERS, "sgd")] = SGD()
    schedule: Annotated[ScheduleConfig, OneOf(SCHEDULES, "cosine")] = Cosine()
    loss: Annotated[LossConfig, OneOf(LOSSES, "cross_entropy")] = CrossEntropy()
    penalty: PenaltyConfig = PenaltyConfig()
    training: TrainingConfig = TrainingConfig()
    place: PlaceConfig = PlaceConfig()
    search: dict[str, Any] | None = Field(None, description="ranges that `cnnlab sweep` searches")
    compare: Annotated[list[str], Field(min_length=1)] | dict[str, Any] | None = Field(
        None, description="optimizers that `cnnlab compare` compares"
    )

    @model_validator(mode="before")
    @classmethod
    def _choose_by_the_dataset(cls, values: Any) -> Any:
        """The dataset determines the task, and the task the model, the loss and the optimizer that are not named.

        Points determine the model, and the optimizer perceptron the loss.

        All names are put into small letters before.
        """
        if not isinstance(values, dict):
            return values
        values = as_named(values)
        dataset = DATASETS.get(str(_value(values, "data", "dataset") or "digits"))
        task = TASKS.get(str(_value(values, "task", "name") or (dataset and dataset.task)))
        if dataset is None or task is None:
            return values
        model = next(iter(dataset.models), task.model)
        loss = "perceptron" if _value(values, "optimizer", "name") == "perceptron" else task.loss
        chosen = {"task": dataset.task, "model": model, "loss": loss, "optimizer": task.optimizer}
        for section, name in chosen.items():
            given = values.get(section, {})
            if isinstance(given, dict) and "name" not in given and name != cls.model_fields[section].default.name:
                values = {**values, section: {**given, "name": name}}
        return values

    @model_validator(mode="after")
    def _check_sections_together(self) -> "RunConfig":
        task, dataset, sgd = self.task.name, self.data.dataset, self.optimizer
        if DATASETS[dataset].task != task:
            raise ValueError(f"data.dataset: {dataset} is for {DATASETS[dataset].task}, but task.name is {task}")
        for section, registry, name in (("model", MODELS, self.model.name), ("loss", LOSSES, self.loss.name)):
            tasks = registry[tag_of(registry, name)].tasks
            if tasks and task not in tasks:
                known = [other for other, entry in registry.items() if entry.tasks is None or task in entry.tasks]
                raise ValueError(f"{section}.name: {name!r} is not for {task}; it must be one of {', '.join(known)}")
        if MIXUP in self.data.augment and task != "classification":
            raise ValueError(f"data.augment: {MIXUP} is not for {task}: it mixes the classes of images; leave it out")
        if self.schedule.warmup_epochs > self.training.epochs:
            raise ValueError(
                f"schedule.warmup_epochs <= training.epochs must hold, "
                f"but got {self.schedule.warmup_epochs:g} > {self.training.epochs}"
            )
        if isinstance(sgd, SGD) and sgd.nesterov and (sgd.momentum == 0 or sgd.dampening != 0):
            raise ValueError(
                "optimizer.nesterov needs momentum > 0 and dampening = 0, "
                f"but got momentum={sgd.momentum:g}, dampening={sgd.dampening:g}"
            )
        return self

    @model_validator(mode="after")
    def _check_points(self) -> "RunConfig":
        dataset, models = self.data.dataset, DATASETS[self.data.dataset].models
        if models and self.model.name not in models:
            raise ValueError(
                f"model.name: {self.model.name!r} is not for {dataset}, which has points and no images; it must be one "
                f"of {', '.join(models)}"
            )
        for key in ("resize", "augment"):
            if models and getattr(self.data, key):
                raise ValueError(f"data.{key} is for images, but {dataset} has points; leave it out")
        return self

    @model_validator(mode="after")
    def _check_rule(self) -> "RunConfig":
        for section in ("model", "loss"):
            name = getattr(self, section).name
            if isinstance(self.optimizer, Perceptron) and name != "perceptron":
                raise ValueError(
                    f"{section}.name: {name!r} is not for the optimizer perceptron, Rosenblatt's rule; it must be "
                    "perceptron"
                )
        return self

    @property
    def label(self) -> str:
        """Its name; without one, its dataset and model."""
        return self.name or f"{self.data.dataset}-{self.model.name.split('/')[-1]}"


def _value(values: dict[str, Any], section: str, key: str) -> Any:
    """A setting in values that are not validated yet; None if it is missing."""
    given = values.get(section)
    return given.get(key) if isinstance(given, dict) else getattr(given, key, None)


REGISTRIES: dict[str, Mapping[str, Entry]] = {
    section: mark.registry
    for section, field in RunConfig.model_fields.items()
    for mark in field.metadata
    if isinstance(mark, OneOf)
}
"""Section -> its registry, if it is one of several kinds."""


def classes_of(section: str) -> list[type[Section]]:
    """The classes that the section of this name can have."""
    if section in REGISTRIES:
        return list(dict.fromkeys(entry.config for entry in REGISTRIES[section].values()))
    annotation = RunConfig.model_fields[section].annotation if section in RunConfig.model_fields else None
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, Section) else []


def is_place(path: str) -> bool:
    """Whether a setting says where a run happens."""
    return path.partition(".")[0] == PLACE


def path_of(name: str) -> str:
    """The dotted path of a setting that is named by its path or by its flag."""
    return FLAGS.get(name.replace("-", "_"), name)


def as_named(values: dict[str, Any]) -> dict[str, Any]:
    """Plain values of a config with its names in small letters."""
    return {
        section: {key: name_in(f"{section}.{key}", value) for key, value in given.items()}
        if isinstance(given, dict) and section not in QUESTIONS
        else given
        for section, given in values.items()
    }


def name_in(path: str, value: Any) -> Any:
    """A value of the setting `path`, in which each name that the setting takes is put into small letters."""
    if isinstance(value, list | tuple):
        return [name_in(path, item) for item in value]
    return value.lower() if isinstance(value, str) and value.lower() in _names(path) else value


@cache
def _names(path: str) -> frozenset[str]:
    """The names that a setting takes; all are in small letters."""
    return frozenset(name for field in fields_of(path) for name in names_of(field))


def fields_of(path: str) -> list[FieldInfo]:
    """The fields of the setting `path`: one of each class of its section that has it, the default class first."""
    section, _, key = path.partition(".")
    field = RunConfig.model_fields.get(section)
    classes = dict.fromkeys([*([type(field.default)] if field else []), *classes_of(section)])
    return [kind.model_fields[key] for kind in classes if key in getattr(kind, "model_fields", {})]


def names_of(field: FieldInfo) -> list[str]:
    """The names that a field takes."""
    return [part for part in _parts((field.annotation, *field.metadata)) if isinstance(part, str)]


def types_of(field: FieldInfo) -> set[type]:
    """The plain types that a field takes."""
    return {part for part in _parts([field.annotation]) if isinstance(part, type)}


def _parts(annotations: Iterable[Any]) -> Iterator[Any]:
    """The plain types, names and bounds of which annotations are made."""
    for annotation in annotations:
        inner = annotation.names if isinstance(annotation, NameIn) else get_args(annotation)
        yield from _parts(inner) if inner else [annotation]
