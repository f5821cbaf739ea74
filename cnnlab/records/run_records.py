"""The records of one training.

Losses are means per sample, fractions lie in [0, 1], times are seconds since 1970, durations seconds. A *step* is one
update of the weights; `step` counts the updates made so far, `epoch` the epochs completed.
"""

import json
from collections.abc import Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic.dataclasses import dataclass

from cnnlab.metrics import ACCURACY, LOSS, Metric
from cnnlab.records.record import CONFIG, Ended, MetricRow, Record, as_text, milliseconds, named, rows, running

SECTIONS_OF_MANY_RUNS = ("search", "compare")
"""Sections of a config for many runs; they are no parameters of one run."""
LONGEST_SCHEMA = 1_000_000
"""Characters that MLflow takes for a dataset's schema, a little less."""


@dataclass(frozen=True, config=CONFIG)
class RunCreated(Record):
    """The first line of each journal: which run it is, and its place in MLflow."""

    begins: ClassVar[bool] = True
    record: Literal["run_created"] = field(default="run_created", kw_only=True)
    run_id: str
    time: float
    experiment: str
    tracking_uri: str
    """MLflow's URI as resolved when the run was created; "none" if nothing is delivered before a sync."""
    config: dict[str, Any]
    tags: dict[str, str]
    """Git commit, versions, hardware, command line."""
    parent: str | None = None
    """The run id of the sweep whose trial this is, or of the comparison whose part this is."""

    @property
    def title(self) -> str:
        """Its name in MLflow: what it is, its learning rate and the local time, as `digits-cnn lr 0.05 · 0639`."""
        kind, trial = self.tags.get("kind"), self.tags.get("trial")
        what = self.config.get("name") or f"{self.config['data']['dataset']}-{self.config['model']['name']}"
        if kind in ("sweep", "comparison"):
            what = f"{kind} {self.tags['study']}"
        else:
            what = f"{f'trial {trial}' if trial else what} lr {self.config['optimizer'].get('lr', 0):.3g}"
        return f"{what} · {datetime.fromtimestamp(self.time):%H%M}"

    def mlflow_params(self) -> dict[str, str]:
        """The flat config: `optimizer.lr` -> "0.05"."""
        flat: dict[str, Any] = {}
        for section, values in self.config.items():
            if isinstance(values, dict) and section not in SECTIONS_OF_MANY_RUNS:
                flat.update({f"{section}.{key}": value for key, value in values.items()})
        return {key: as_text(value if isinstance(value, str) else json.dumps(value)) for key, value in flat.items()}

    def mlflow_tags(self) -> dict[str, str]:
        tags = {key if key.startswith("mlflow.") else f"cnnlab.{key}": as_text(tag) for key, tag in self.tags.items()}
        return {**tags, **named({"run_id": self.run_id, "status": "running"})}

    def death(self, records: Sequence[Record], at: float, word: str) -> "RunEnded":
        steps = [record.last for record in records if isinstance(record, Steps)]
        epochs = [record.epoch for record in records if isinstance(record, Epoch)]
        of = [f" of {record.epochs}" for record in records if isinstance(record, RunStarted)]
        epoch = epochs[-1] if epochs else 0
        reason = f"its process died after epoch {epoch}{of[-1] if of else ''}; cnnlab train --resume {word} goes on"
        return RunEnded(at, "died", reason, steps[-1] if steps else 0, epoch)


@dataclass(frozen=True, config=CONFIG)
class RunStarted(Record):
    """The loop begins; again after each resume, then with `step` > 0."""

    begins: ClassVar[bool] = True
    record: Literal["run_started"] = field(default="run_started", kw_only=True)
    time: float
    step: int
    epoch: int
    epochs: int
    steps_per_epoch: int
    dataset: str
    dataset_digest: str
    dataset_source: str
    image_shape: tuple[int, ...]
    """(C, H, W); of points (2,)"""
    train_size: int
    model: str
    parameters: int
    optimizer: str
    device: str
    precision: str
    seed: int
    cpu_threads: int = 1
    """The number of CPU threads that share a step."""
    task: str = "classification"
    score: Metric = ACCURACY
    """The metric by which the best epoch is chosen."""
    measured: tuple[Metric, ...] = (LOSS, ACCURACY)
    """The task's metrics, the loss first. A network may be measured by more, for example by the IoU of each class."""
    classes: tuple[str, ...] = ()
    """In the order of the targets; empty if the task has none."""
    val_size: int = 0
    test_size: int = 0
    output_shape: tuple[int, ...] = ()
    """Of one sample's output."""
    rendering: tuple[float, float, int] = (0.0, 65535.0, 255)
    """The values of images with more than 8 bits that became 0 and 255, and the grey level below transparent parts."""
    stored_size: tuple[int, int] = (0, 0)
    """(H, W) to which a picture is decoded; `data.resize` comes after it."""
    counts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Split -> how many samples each class has, in the order of `classes`; empty if samples have no class."""
    skipped_images: int = 0
    """The number of images that could not be read and were left out."""
    notes: tuple[str, ...] = ()
    """Lines about the data: the splits, the images per class, which files were skipped and why."""
    initial_sha256: str = ""
    """The digest of the weights that the run started from; empty if they are random."""

    @property
    def has_points(self) -> bool:
        return len(self.image_shape) == 1

    @property
    def samples(self) -> str:
        """The word for them."""
        return "points" if self.has_points else "images"

    @property
    def input_dtype(self) -> str:
        """NumPy's name."""
        return "float32" if self.has_points else "uint8"

    def mlflow_tags(self) -> dict[str, str]:
        description = (
            "dataset",
            "task",
            "model",
            "parameters",
            "optimizer",
            "device",
            "precision",
            "cpu_threads",
            "seed",
            *(("initial_sha256",) if self.initial_sha256 else ()),
        )
        return running(self, *description)

    def dataset_fields(self) -> dict[str, str]:
        """The fields of MLflow's Dataset entity."""
        sizes = {"train_images": self.train_size, "val_images": self.val_size, "test_images": self.test_size}
        image = {"dtype": self.input_dtype, "shape": list(self.image_shape)}
        schema = json.dumps({"image": image, "classes": list(self.classes)})
        if len(schema) > LONGEST_SCHEMA:
            schema = json.dumps({"image": image, "classes": len(self.classes)})
        return {
            "name": self.dataset,
            "digest": self.dataset_digest[:36],  # MLflow's limit
            "source_type": "local",
            "source": json.dumps({"uri": self.dataset_source}),
            "schema": schema,
            "profile": json.dumps({**sizes, **({"images_per_class": self.counts} if self.counts else {})}),
        }


@dataclass(frozen=True, config=CONFIG)
class Steps(Record):
    """The training losses of consecutive steps, read from the device together."""

    record: Literal["steps"] = field(default="steps", kw_only=True)
    first: int
    """The number of the first step, counted from 1 over the whole run."""
    losses: tuple[float, ...]
    times: tuple[float, ...]
    """When each step was given to the device."""

    @property
    def last(self) -> int:
        return self.first + len(self.losses) - 1

    def after(self, step: int) -> Record | None:
        cut = max(0, step + 1 - self.first)
        if cut >= len(self.losses):
            return None
        return replace(self, first=self.first + cut, losses=self.losses[cut:], times=self.times[cut:])

    def mlflow_metrics(self) -> list[MetricRow]:
        numbered = enumerate(zip(self.losses, self.times, strict=True), start=self.first)
        return [MetricRow("train/loss", loss, milliseconds(time), step) for step, (loss, time) in numbered]


@dataclass(frozen=True, config=CONFIG)
class Norms(Record):
    """The layers after a step, if `training.record_norms` asks for them. A layer is named by its path and its class."""

    record: Literal["norms"] = field(default="norms", kw_only=True)
    time: float
    step: int
    gradients: dict[str, float]
    """Layer -> the norm of its weights' gradient, as it was applied: after `training.clip_norm`, with `penalty`."""
    weights: dict[str, float]
    """Layer -> the norm of its weights."""
    dead: dict[str, float]
    """Activation -> the share of its units whose output is the same for all images of a probe."""

    @property
    def last(self) -> int:
        return self.step

    def after(self, step: int) -> Record | None:
        return self if self.step > step else None

    def mlflow_metrics(self) -> list[MetricRow]:
        kinds = {"gradient_norm": self.gradients, "weight_norm": self.weights, "dead_units": self.dead}
        values = {f"{kind}/{layer}": value for kind, layers in kinds.items() for layer, value in layers.items()}
        return rows(values, self.time, self.step)


@dataclass(frozen=True, config=CONFIG)
class Epoch(Record):
    """An epoch is done and the validation split measured."""

    record: Literal["epoch"] = field(default="epoch", kw_only=True)
    time: float
    epoch: int
    step: int
    train: dict[str, float]
    """Metric -> value over the epoch's batches as they were trained on: with dropout and augmentation, and weights in
    motion."""
    val: dict[str, float]
    """Metric -> value."""
    lr: float
    """The learning rate of the epoch's last step."""
    images_per_second: float
    """Training images over the epoch's seconds, evaluation included."""
    seconds: float
    best: bool
    """The best validation score so far; if two are equal, the one with the lower validation loss."""
    batch_size: int | None = None
    """Images per batch, if the schedule lets it grow."""

    @property
    def last(self) -> int:
        return self.step

    def after(self, step: int) -> Record | None:
        return self if self.step > step else None

    def mlflow_metrics(self) -> list[MetricRow]:
        train = {"epoch_loss" if name == "loss" else name: value for name, value in self.train.items()}
        values: dict[str, float | None] = {
            "epoch": self.epoch,
            **{f"train/{name}": value for name, value in train.items()},
            **{f"val/{name}": value for name, value in self.val.items()},
            "lr": self.lr,
            "batch_size": self.batch_size,
            "images_per_second": self.images_per_second,
        }
        return rows(values, self.time, self.step)


@dataclass(frozen=True, config=CONFIG)
class CheckpointSealed(Record):
    """Everything up to `step` is on disk and synced: a resume starts here."""

    record: Literal["checkpoint_sealed"] = field(default="checkpoint_sealed", kw_only=True)
    time: float
    step: int
    epoch: int
    file: str


@dataclass(frozen=True, config=CONFIG)
class RunEnded(Ended):
    """A training has ended. A value that was not reached is None or empty."""

    record: Literal["run_ended"] = field(default="run_ended", kw_only=True)
    step: int
    epoch: int
    best_epoch: int | None = None
    best: dict[str, float] = field(default_factory=dict)
    """Metric -> value on the validation split after the best epoch."""
    test: dict[str, float] = field(default_factory=dict)
    """Metric -> value on the test split, with the best epoch's weights."""
    score: str = "accuracy"
    """The metric that the best epoch was chosen by."""
    fit_seconds: float | None = None
    images_per_second: float | None = None
    """Training images over `fit_seconds`, evaluation included."""
    weights_sha256: str | None = None
    weights_file: str | None = None
    """The best epoch's weights, relative to the run directory."""
    examples_file: str | None = None
    """Test samples with the network's answers, relative to the run directory, if the task's figure shows some."""
    confusion: tuple[tuple[int, ...], ...] | None = None
    """The number of test images, or of their pixels, per [true class][predicted class]."""
    diverged: bool = False
    """Whether it failed because a loss or gradient was not finite."""

    @property
    def best_score(self) -> float | None:
        return self.best.get(self.score)

    @property
    def test_score(self) -> float | None:
        return self.test.get(self.score)

    def mlflow_metrics(self) -> list[MetricRow]:
        test = {f"test/{name}": value for name, value in self.test.items()}
        return rows({f"best/val_{self.score}": self.best_score, **test}, self.time, self.step)

    @property
    def trial_state(self) -> str:
        """The state of the trial that this run was, if it was one."""
        states = {"finished": "complete", "failed": "infeasible" if self.diverged else "failed"}
        return states.get(self.status, self.status)

    def mlflow_tags(self) -> dict[str, str]:
        return {**super().mlflow_tags(), **named({"weights_sha256": self.weights_sha256 or ""})}
