"""The trained network of a finished run, without its data and its optimizer."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from cnnlab.config import RunConfig
from cnnlab.errors import BadInput, RunFailed
from cnnlab.models import Normalize, sized_layers
from cnnlab.records import RunEnded, RunStarted
from cnnlab.run import config_of
from cnnlab.tasks import Task, make_task
from cnnlab.tracking import RunDir, last, read
from cnnlab.training import (
    Network,
    below,
    keep_in_fp32,
    load_latest,
    load_weights,
    resolve_device,
    resolve_precision,
    trained_form,
    weights_digest,
)

log = logging.getLogger("cnnlab")


@dataclass(frozen=True)
class Trained:
    """A finished run and its network with the weights of the best epoch, in evaluation mode."""

    run: RunDir
    config: RunConfig
    started: RunStarted
    ended: RunEnded
    task: Task
    model: nn.Module
    """It takes (N, C, H, W) uint8, or points (N, 2) float32.

    It returns its task's outputs: (N, classes) or (N, classes, H, W).
    """

    def takes(self, samples: torch.Tensor) -> bool:
        """Whether they have the training's shape, or the network takes others too, as with model.global_pool."""
        shape = self.started.image_shape
        if samples.shape[1:] == shape or samples.dim() != len(shape) + 1 or samples.shape[1] != shape[0]:
            return samples.shape[1:] == shape
        try:
            with torch.inference_mode():
                self.model(samples[:1])
        except RuntimeError:  # a hidden layer of another size, or nothing left to convolve
            return False
        return True

    def on(self, device: str) -> Network:
        """The network on a device, in the precision that its config has there: that of the training's measurements.

        Raises BadInput if this machine does not have the device.
        """
        place = resolve_device(device)
        precision = resolve_precision(self.config.training.precision, place)
        if precision == "bf16" and place.type == "cpu":
            image = torch.zeros(1, *self.started.image_shape)
            keep_in_fp32(sized_layers(self.model, lambda: self.model(image)))
        return Network(self.task, self.model, place, precision)


def load_trained(path: Path) -> Trained:
    """The network of the run in this directory.

    Raises:
        BadInput: the run has not finished.
        RunFailed: the weights are damaged.
    """
    run = RunDir(path)
    records = read(run.journal_file)[0]
    started, ended = last(records, RunStarted), last(records, RunEnded)
    if started is None or ended is None or ended.weights_file is None:
        raise BadInput(f"{run.run_id}: this run has no trained network; it did not finish")
    config = config_of(run)
    task = make_task(config, started.classes, started.image_shape)
    return Trained(run, config, started, ended, task, with_weights(task, _best_weights(run, ended)))


def with_weights(task: Task, weights: dict[str, torch.Tensor]) -> nn.Module:
    """The task's network in its trained form, in evaluation mode."""
    channels, *sides = task.image_shape
    model = trained_form(task.build(seed=0), Normalize(torch.zeros(channels), torch.ones(channels), len(sides)))
    model.load_state_dict(weights)
    return model.eval()


def _best_weights(run: RunDir, ended: RunEnded) -> dict[str, torch.Tensor]:
    """The weights with the journal's digest, from their file; if it is damaged, from the last checkpoint.

    Raises:
        RunFailed: both are damaged.
    """
    try:
        return load_weights(run.path / str(ended.weights_file), ended.weights_sha256)
    except RunFailed as damage:
        checkpoint = load_latest(run.checkpoints, ended.step)
        best = below("best.", checkpoint.tensors) if checkpoint else {}
        if weights_digest(best) != ended.weights_sha256:
            command = f"cnnlab train {run.config_file}"
            raise RunFailed(
                f"{damage}; the last checkpoint does not have them either; train again: {command}"
            ) from None
        log.warning("%s; the last checkpoint's copy is used", damage)
        return best
