"""A run's network measured again: intervals over images, metrics per class, calibration, confusion matrix."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cnnlab.config import read_config
from cnnlab.config.data import DATASETS, TASKS, VOID
from cnnlab.data import Dataset, Split, load
from cnnlab.data.load import resize_split
from cnnlab.data.pictures import Rendering, to_grey
from cnnlab.errors import BadInput, quoted
from cnnlab.look import new_figure, saved
from cnnlab.reading.run_figures import confusion_figure
from cnnlab.reading.trained import Trained
from cnnlab.records import RunStarted
from cnnlab.result import Result
from cnnlab.seeds import derive
from cnnlab.tasks.classification import Classification
from cnnlab.training import answered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]

BINS = 15
"""Of the calibration error, as in Guo et al. 2017."""
RESAMPLES = 2000
"""Of the bootstrap."""


def load_for(trained: Trained, settings: Mapping[str, Any] | None = None) -> tuple[Dataset, list[str]]:
    """The run's dataset, or other data read as the run's were; and doubts about measuring the network on it.

    Other data have the size, the channels and, if the run's needed a rule for deep values or transparent parts, the
    rendering of the run's, unless `settings` says otherwise.

    Args:
        settings: of `data`, as dotted path -> value. If only data.root is given, it is a `folder` (`mask_folder`).

    Raises:
        BadInput: the dataset is unknown, its task or classes differ from the run's, or the network does not take it.
    """
    started, given, settings = trained.started, trained.config.data, settings or {}
    kept = given.model_dump()
    if others := not settings.keys().isdisjoint({"data.dataset", "data.root"}):
        own = "mask_folder" if trained.task.output_shape[1:] else "folder"
        default = given.dataset if DATASETS[given.dataset].root == "own" else own
        name, (height, width) = settings.get("data.dataset", default), started.stored_size
        kept = kept if name == given.dataset else {}
        kept |= {"dataset": name, "root": None, "train_size": None, "batch_size": 1}
        points = started.has_points or (name in DATASETS and bool(DATASETS[name].models))
        kept |= {"resize": height if height == width and not points else None}
        kept |= {"rendering": started.rendering if started.rendering != Rendering() else None}
    data = read_config(None, {**{f"data.{key}": value for key, value in kept.items()}, **settings})[0].data
    if (task := DATASETS[data.dataset].task) != started.task:
        raise BadInput(f"data.dataset: {data.dataset} is not allowed; it is for {task}, and the run for {started.task}")
    found = load(data, trained.config.training.seed)
    _check_classes(found.classes, started.classes)
    doubts = []
    if not settings and found.digest != started.dataset_digest:
        doubts.append(f"the images or labels of {found.name} are not those of the training: they were changed since")
    if found.rendering != started.rendering and "data.rendering" not in settings:
        doubts.append(
            f"images of more than 8 bits, or with transparent parts, are shown by these images' own rule, "
            f"data.rendering={[*found.rendering]}; cnnlab predict shows them by {[*started.rendering]}"
        )
    if others and len(found.image_shape) == len(started.image_shape) == 3:
        side = None if "data.resize" in settings else started.image_shape[1]
        train, val, test = (_fitted(split, started, side) for split in found.splits.values())
        found = replace(found, train=train, val=val, test=test)
    same = found.image_shape == started.image_shape
    if not same and not ("data.resize" in settings and trained.takes(found.train.inputs)):
        theirs, ours = ("x".join(map(str, shape)) for shape in (found.image_shape, started.image_shape))
        raise BadInput(f"data.dataset: {found.name} has samples of {theirs}, but the network takes {ours}; give others")
    return found, doubts


def _fitted(split: Split, started: RunStarted, side: int | None) -> Split:
    """Images with the run's channels, and with this side if they have the size that the run's had before resizing."""
    images, channels = split.inputs, started.image_shape[0]
    if channels < images.shape[1]:
        images = torch.stack([torch.from_numpy(to_grey(image.numpy()).copy()) for image in images])
    split = replace(split, inputs=images.expand(-1, channels, -1, -1))
    return resize_split(split, side) if side and images.shape[2:] == started.stored_size else split


def _check_classes(theirs: tuple[str, ...], ours: tuple[str, ...]) -> None:
    """Raises BadInput with the difference if these are not the run's classes."""
    if theirs == ours:
        return
    differences = [
        f"{what} {', '.join(map(quoted, names[:5]))}{', ...' if len(names) > 5 else ''}"
        for what, names in (
            ("it lacks", [name for name in ours if name not in theirs]),
            ("it alone has", [name for name in theirs if name not in ours]),
        )
        if names
    ]
    why = "; ".join(differences) or f"their order is {', '.join(theirs[:5])}, the run's {', '.join(ours[:5])}"
    raise BadInput(f"data.dataset: its classes are not those of the run: {why}; give data with the run's classes")


def evaluate(trained: Trained, dataset: Dataset, split: str = "test", device: str = "auto") -> Result:
    """What `cnnlab evaluate --json` prints.

    `metrics`: the task's, each with its value and its 95 % interval by the percentile bootstrap over images. `classes`:
    precision, recall, F1 and, for masks, IoU of each class; None if undefined. `ece` and `reliability`: the expected
    calibration error over 15 bins of equal width, and the bins (Guo et al. 2017, section 2). `confusion`: images, or
    pixels that are not void, by [true class][predicted class].

    Args:
        split: train, val, test, or all for the three together.

    Raises:
        BadInput: this machine does not have the device.
    """
    parts = list(dataset.splits.values()) if split == "all" else [dataset.splits[split]]
    samples = Split(torch.cat([part.inputs for part in parts]), torch.cat([part.targets for part in parts]))
    count, masks = len(dataset.classes), samples.targets.dim() > 1
    table, bins, confusion = _tables(trained, samples, device)
    names = [metric.name for metric in TASKS[trained.started.task].metrics]
    values = _overall(table.sum(0), len(samples), masks)
    lows, highs = _intervals(table, masks)
    right, true, predicted = table[:, 1:].sum(0).reshape(3, count)
    with np.errstate(invalid="ignore"):  # NaN for a class that does not occur
        shares = {"precision": right / predicted, "recall": right / true, "f1": 2 * right / (true + predicted)}
        shares |= {"iou": right / (true + predicted - right)} if masks else {}
    weight, sure, hits = bins
    return Result(
        {
            "run_id": trained.run.run_id,
            "dataset": dataset.name,
            "split": split,
            "images": len(samples),
            "metrics": {
                name: {"value": float(value), "ci_low": float(low), "ci_high": float(high)}
                for name, value, low, high in zip(names, values, lows, highs, strict=True)
            },
            "classes": [
                {
                    "class": name,
                    "pixels" if masks else "images": int(true[i]),
                    **{key: None if np.isnan(share[i]) else float(share[i]) for key, share in shares.items()},
                }
                for i, name in enumerate(dataset.classes)
            ],
            "ece": float(np.abs(hits - sure).sum() / weight.sum()),
            "reliability": [
                {"low": i / BINS, "count": int(n), "confidence": float(s / n), "right": float(h / n)}
                for i, (n, s, h) in enumerate(zip(weight, sure, hits, strict=True))
                if n
            ],
            "confusion": confusion,
        }
    )


def _tables(trained: Trained, samples: Split, device: str) -> tuple[Array, Array, list[list[int]]]:
    """What the network's answers are counted as.

    Returns:
        (N, 1 + 3 K) of each image the loss, and of each class the pixels (or 1 image) that are right, true, predicted;
        (3, BINS) the number of answers, the sums of their confidences, the number of right ones; the confusion matrix.
    """
    network, task = trained.on(device), trained.task
    assert isinstance(task, Classification)  # segmentation too
    count = len(task.classes)
    rows, bins, cells = [], torch.zeros(3, BINS, dtype=torch.float64), torch.zeros(count**2, dtype=torch.int64)
    with torch.inference_mode():
        for outputs, targets in answered(network, samples):
            cells += task.count(outputs.argmax(1), targets).cpu()
            losses = [
                task.total_loss(*one) for one in zip(torch.split(outputs, 1), torch.split(targets, 1), strict=True)
            ]
            sure, answer = (found.cpu().flatten(1) for found in outputs.softmax(1).max(1, keepdim=True))
            true = targets.cpu().long().reshape(len(targets), -1)
            valid = (true != VOID) if targets.dim() > 1 else torch.ones_like(true, dtype=torch.bool)
            right, known = (answer == true) & valid, true * valid
            tallies = [_tally(*one, count) for one in ((known, right), (known, valid), (answer, valid))]
            rows.append(torch.cat([torch.stack(losses).cpu()[:, None].double(), *tallies], 1))
            where = (sure * BINS).ceil().long().clamp(1, BINS).flatten() - 1
            for total, values in zip(bins, (valid.double(), sure * valid, right.double()), strict=True):
                total.index_add_(0, where, values.double().flatten())
    return torch.cat(rows).numpy(), bins.numpy(), cells.reshape(count, count).tolist()


def _tally(labels: Tensor, weights: Tensor, classes: int) -> Tensor:
    """(N, P) labels and weights -> (N, classes), the weights of each class."""
    return torch.zeros(len(labels), classes, dtype=torch.float64).scatter_add_(1, labels, weights.double())


def _overall(sums: Array, images: int, masks: bool) -> Array:
    """(..., 1 + 3 K) sums over images -> (M, ...) the loss, and the accuracy or mean IoU and pixel accuracy."""
    right, true, predicted = np.moveaxis(sums[..., 1:].reshape(*sums.shape[:-1], 3, -1), -2, 0)
    with np.errstate(invalid="ignore"):
        union = right / (true + predicted - right)  # NaN for a class that does not occur
    share = right.sum(-1) / true.sum(-1)
    return np.stack([sums[..., 0] / images, *([np.nanmean(union, -1)] if masks else []), share])


def _intervals(table: Array, masks: bool) -> tuple[Array, Array]:
    """(M,) the lower and the upper ends of the intervals of `_overall`."""
    from scipy import stats

    images = len(table)

    def measure(chosen: Array, axis: int = -1) -> Array:
        weights = np.stack([np.bincount(row, minlength=images) for row in np.atleast_2d(chosen)])
        measured = _overall(weights @ table, images, masks)
        return measured if chosen.ndim > 1 else measured[:, 0]

    found = stats.bootstrap(
        (np.arange(images),),
        measure,
        n_resamples=RESAMPLES,
        batch=100,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(derive(0, "bootstrap")),
    )
    low, high = found.confidence_interval
    return low, high


def draw_evaluation(result: Result, into: Path) -> list[Path]:
    """Write reliability.png and confusion.png into a folder; returns their paths."""
    title = f"{result.run_id}: {result.split} of {result.dataset}"
    names = [row["class"] for row in result.classes]
    figures = {
        "reliability.png": reliability_figure(result, title),
        "confusion.png": confusion_figure(result.confusion, names, title),
    }
    return saved(figures, into)


def reliability_figure(result: Result, title: str) -> "Figure":
    """Accuracy against confidence in each bin, and the share of the answers in it."""
    figure = new_figure(5, 6)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    total = sum(each["count"] for each in result.reliability)
    left = [each["low"] for each in result.reliability]
    how: dict[str, Any] = {"width": 1 / BINS, "align": "edge", "edgecolor": "none"}
    axes.bar(left, [each["right"] for each in result.reliability], **how)
    axes.plot([0, 1], [0, 1], "--", color="black", linewidth=1)
    axes.set(
        title=f"{title}\ncalibration error {result.ece:.4f}", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1)
    )
    axes.title.set_fontsize(9)
    below.bar(left, [each["count"] / total for each in result.reliability], **how)
    below.set(xlabel="confidence", ylabel="share", ylim=(0, 1))
    return figure
