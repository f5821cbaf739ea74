"""What `describe` says of a network before it is trained: its layers, totals, the kind of weight decay; its figure."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from cnnlab.config import RunConfig, flat
from cnnlab.config.data import DATASETS
from cnnlab.config.optimizers import AdamW, Muon, TorchOptimizer
from cnnlab.data import load
from cnnlab.errors import BadInput
from cnnlab.look import new_figure, saved
from cnnlab.models.layers import Layer, layers_of
from cnnlab.records import RunStarted
from cnnlab.result import Result
from cnnlab.run import config_of
from cnnlab.tasks import make_task
from cnnlab.tracking import RunDir, last, read
from cnnlab.training import make_optimizer

BYTES = 4
"""Of an activation in fp32."""


class Samples(NamedTuple):
    """What a network has to know of its data."""

    shape: tuple[int, ...]
    """(C, H, W); of points (2,)"""
    classes: int
    batch_size: int


def samples_of(config: RunConfig) -> Samples:
    """Of the dataset that a config names; it is loaded only if its entry and the config do not say all of it.

    Raises BadInput and RunFailed as `load`.
    """
    data = config.data
    entry = DATASETS[data.dataset]
    if entry.shape is None or data.batch_size == "full":
        dataset = load(data, config.training.seed)
        return Samples(dataset.image_shape, len(dataset.classes), data.images_per_step(len(dataset.train)))
    shape = (entry.shape[0], data.resize, data.resize) if data.resize else entry.shape
    return Samples(shape, entry.classes, data.images_per_step(data.train_size or 2**31))


def of_run(run: RunDir) -> tuple[RunConfig, Samples]:
    """The config of a run and its samples, from its journal. Raises BadInput if it had no data yet."""
    started = last(read(run.journal_file)[0], RunStarted)
    if started is None:
        raise BadInput(f"{run.run_id}: this run did not begin to train, so its images are not known")
    config = config_of(run)
    batch_size = config.data.images_per_step(started.train_size)
    return config, Samples(started.image_shape, len(started.classes), batch_size)


def describe(config: RunConfig, samples: Samples) -> Result:
    """What `cnnlab describe --json` prints.

    Raises:
        BadInput: a layer would have an empty output, or a library has no such network or optimizer.
    """
    with torch.device("meta"):  # neither memory nor time for the weights
        network = make_task(config, tuple(map(str, range(samples.classes))), samples.shape).build(seed=0)
    layers, multiply_adds = layers_of(network, samples.shape)
    rows = [_row(layer, samples.batch_size) for layer in layers]
    return Result(
        model=config.model.name,
        image_shape=samples.shape,
        classes=samples.classes,
        batch_size=samples.batch_size,
        layers=rows,
        parameters=sum(weight.numel() for weight in network.parameters()),
        multiply_adds=multiply_adds,
        activation_bytes=sum(row["activation_bytes"] for row in rows),
        weight_decay=weight_decay_of(config),
    )


def _row(layer: Layer, batch_size: int) -> dict[str, Any]:
    kernel, stride, padding = layer.window or (None, None, None)
    return {
        "name": layer.name,
        "kind": layer.kind,
        "input": layer.input,
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "output": layer.output,
        "receptive_field": layer.field,
        "parameters": layer.parameters,
        "multiply_adds": layer.multiply_adds,
        "activation_bytes": layer.kept * batch_size * BYTES,
    }


def weight_decay_of(config: RunConfig) -> list[dict[str, Any]]:
    """The settings that draw the weights to 0, with their values and kinds; empty if none does.

    A "penalty", L1 or L2, is a part of the gradient. A "decoupled" decay takes lr times the value off each weight and
    leaves the gradient alone (Loshchilov and Hutter 2019).
    """
    optimizer, values = config.optimizer, flat(config)
    decoupled = isinstance(optimizer, AdamW | Muon)
    if isinstance(optimizer, TorchOptimizer):
        defaults = make_optimizer(optimizer, [nn.Parameter(torch.zeros(2, 2))]).defaults
        values["optimizer.weight_decay"] = defaults.get("weight_decay", 0.0)
        decoupled = defaults.get("decoupled_weight_decay", False) or optimizer.name == "torch.optim.Adafactor"
    kinds = {
        "penalty.l1": "L1 penalty",
        "penalty.l2": "L2 penalty",
        "optimizer.weight_decay": "decoupled" if decoupled else "L2 penalty",
        "optimizer.decoupled_decay": "decoupled",
    }
    return [{"setting": path, "value": values[path], "kind": kind} for path, kind in kinds.items() if values.get(path)]


def draw_description(result: Result, into: Path) -> Path:
    """Write describe.png: the layers with multiply-adds or windows, and what each needs; returns its path.

    Raises BadInput if the folder cannot be made.
    """
    layers = [layer for layer in result.layers if layer["multiply_adds"] or layer["kernel"]]
    panels = {
        "parameters": [layer["parameters"] for layer in layers],
        "multiply-adds": [layer["multiply_adds"] for layer in layers],
        f"activations, MB, batch of {result.batch_size}": [layer["activation_bytes"] / 1e6 for layer in layers],
        "receptive field, pixels": [max(layer["receptive_field"], default=0) for layer in layers],
    }
    figure = new_figure(11, 1.2 + 0.17 * len(layers))
    figure.suptitle(f"{result.model} on {' x '.join(map(str, result.image_shape))}", fontsize=10)
    every = figure.subplots(1, len(panels), sharey=True)
    for axes, (title, values) in zip(every, panels.items(), strict=True):
        axes.barh(range(len(layers)), values, color="C0")
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
    every[0].set_yticks(range(len(layers)), [f"{layer['kind']} {layer['name']}" for layer in layers])
    every[0].margins(y=0.01)
    every[0].invert_yaxis()
    return saved({"describe.png": figure}, into)[0]
