"""The learner: takes a step, evaluates, gives and takes its state. The loop around it is `fit`."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.config import RunConfig
from cnnlab.config.losses import CrossEntropy
from cnnlab.data import Dataset, Split
from cnnlab.models import Normalize, build
from cnnlab.seeds import derive
from cnnlab.training.device import default_generator, resolve_device, resolve_precision
from cnnlab.training.guard import FiniteGuard
from cnnlab.training.memory import keep_freed_memory
from cnnlab.training.optimizer import make_optimizer
from cnnlab.training.threads import Parts, count_parts, usable_threads
from cnnlab.training.weights import copy_weights


class StepResult(NamedTuple):
    """What a step leaves on the device, each a scalar; nobody has waited for it yet."""

    loss: Tensor
    """Mean nats a sample, label smoothing included."""
    correct: Tensor
    """Images whose class was predicted, before the update."""
    bad: Tensor
    """1 where the loss or the gradient was not finite, so that the update was not applied."""


@dataclass(frozen=True)
class Evaluation:
    loss: float
    """Mean nats a sample, without label smoothing."""
    accuracy: float
    confusion: tuple[tuple[int, ...], ...]
    """Images counted by [true class][predicted class]."""


class Learner:
    """One network and its optimizer on one device.

    Args:
        config: what to train.
        dataset: gives the image shape, the classes and the statistics that images are normalised with.

    Raises:
        BadInput: the device is not here, a layer would come out empty, or the optimizer refuses a parameter.
    """

    def __init__(self, config: RunConfig, dataset: Dataset) -> None:
        self.device = resolve_device(config.training.device)
        keep_freed_memory()
        self.generator = default_generator(self.device)
        self.precision = resolve_precision(config.training.precision, self.device)
        assert isinstance(config.loss, CrossEntropy)
        self.label_smoothing = config.loss.label_smoothing
        self.clip_norm = config.training.clip_norm
        self.micro_batches = config.training.accumulate
        self.model = self._make_model(config, dataset)
        self.parts = self._make_parts(config, dataset)
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = make_optimizer(config.optimizer, self.weights)
        self.guard = FiniteGuard(self.optimizer, self.device)
        if self.device.type == "cuda":
            # the same bits each time on the same machine
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.benchmark = False

    def _make_model(self, config: RunConfig, dataset: Dataset) -> nn.Module:
        network = build(config.model, dataset.image_shape, len(dataset.classes), derive(config.training.seed, "init"))
        model = trained_form(network, Normalize.of(dataset.train.inputs))
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _make_parts(self, config: RunConfig, dataset: Dataset) -> Parts:
        size, side = config.data.batch_size, dataset.image_shape[1:]
        threads = usable_threads(config.training.threads)
        images = len(dataset.train) if size == "full" else size
        return Parts(count_parts(config, self.device, images, side, threads), threads)

    def begin_epoch(self) -> None:
        """Put every layer into training mode, whatever mode anyone has left it in."""
        self.model.train()

    def step(self, images: Tensor, labels: Tensor, lr: float, noise: int) -> StepResult:
        """One update of the weights; `begin_epoch` comes first.

        Args:
            images: (B, C, H, W) uint8 on the device.
            labels: (B,) int64 on the device.
            lr: the learning rate of this step.
            noise: seed of what is random inside the model (dropout).
        """
        self.generator.manual_seed(noise)
        loss, correct = (self._backward if self.parts.count == 1 else self._backward_in_parts)(images, labels)
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.weights, self.clip_norm, norm, foreach=True)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return StepResult(loss, correct, self.guard.step(loss, norm))

    def _backward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the mean loss over the batch, in `micro_batches` parts (their sum, weighted by size)."""
        for weight in self.weights:
            weight.grad = None
        losses, correct = [], []
        for part, targets in zip(images.chunk(self.micro_batches), labels.chunk(self.micro_batches), strict=True):
            logits = self._logits(part)
            loss = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
            if len(part) < len(images):
                loss = loss * (len(part) / len(images))
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            correct.append((logits.detach().argmax(1) == targets).sum())
        if len(losses) == 1:
            return losses[0], correct[0]
        return torch.stack(losses).sum(), torch.stack(correct).sum()

    def _backward_in_parts(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """As `_backward`, a thread a part; summed in the order of the parts, so the bits are the same each time."""
        count = min(self.parts.count, len(images))
        shares = [len(part) / len(images) for part in labels.tensor_split(count)]
        done = self.parts.map(self._gradients, images.tensor_split(count), labels.tensor_split(count), shares)
        for weight, *gradients in zip(self.weights, *(part.gradients for part in done), strict=True):
            weight.grad = _sum_like(weight, [gradient for gradient in gradients if gradient is not None])
        return torch.stack([part.loss for part in done]).sum(), torch.stack([part.correct for part in done]).sum()

    def _gradients(self, images: Tensor, labels: Tensor, share: float) -> "_PartResult":
        """Of a part that is `share` of a batch, without touching what other threads see."""
        logits = self._logits(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing) * share
        gradients = torch.autograd.grad(loss, self.weights, allow_unused=True)
        return _PartResult(loss.detach(), (logits.detach().argmax(1) == labels).sum(), gradients)

    def _logits(self, images: Tensor) -> Tensor:
        """(N, classes) float32"""
        if self.precision == "fp32":
            return self.model(images)  # type: ignore[no-any-return]
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            return self.model(images).float()  # type: ignore[no-any-return]

    def evaluate(self, split: Split) -> Evaluation:
        """Loss and accuracy over a whole split, the model in evaluation mode. Waits for the device once, at the end."""
        self.model.eval()
        done = self.parts.map(self._evaluate_chunk, *zip(*_chunks(split), strict=True))
        classes = done[0].classes
        counts = torch.bincount(torch.cat([chunk.cells for chunk in done]), minlength=classes**2)
        counts = counts.view(classes, classes).cpu()
        return Evaluation(
            loss=torch.stack([chunk.loss_sum for chunk in done]).cpu().double().sum().item() / len(split),
            accuracy=counts.trace().item() / len(split),
            confusion=tuple(tuple(row) for row in counts.tolist()),
        )

    @torch.inference_mode()
    def _evaluate_chunk(self, images: Tensor, labels: Tensor) -> "_ChunkResult":
        targets = labels.to(self.device, non_blocking=True)
        logits = self._logits(images.to(self.device, non_blocking=True))
        classes = logits.shape[1]
        return _ChunkResult(
            F.cross_entropy(logits, targets, reduction="sum"), targets * classes + logits.argmax(1), classes
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that a further step depends on: tensors by name, and plain values."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        optimizer = self.optimizer.state_dict()
        numbers: dict[int, dict[str, Any]] = {}
        for index, state in optimizer["state"].items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{index}.{key}"] = value
                else:
                    numbers.setdefault(index, {})[key] = value
        return tensors, {"optimizer": {"param_groups": optimizer["param_groups"], "state": numbers}}

    def load_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.load_weights(_below("model.", tensors))
        state: dict[int, dict[str, Any]] = {int(index): dict(v) for index, v in values["optimizer"]["state"].items()}
        for name, tensor in _below("optimizer.", tensors).items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = self._like_its_weight(int(index), tensor)
        self.optimizer.load_state_dict({"state": state, "param_groups": values["optimizer"]["param_groups"]})

    def _like_its_weight(self, index: int, tensor: Tensor) -> Tensor:
        # the memory format of the weight: fused kernels walk both in the order of memory
        weight = self.weights[index]
        return torch.empty_like(weight, dtype=tensor.dtype).copy_(tensor) if weight.shape == tensor.shape else tensor

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Put these weights and buffers in place of the present ones."""
        self.model.load_state_dict(weights)

    def weights_copy(self) -> dict[str, Tensor]:
        """The weights and buffers as they are now."""
        return copy_weights(self.model)

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(weight.numel() for weight in self.weights)


class _PartResult(NamedTuple):
    """Of a part of a batch: its share of the mean loss, its images that were right, its share of the gradients."""

    loss: Tensor
    correct: Tensor
    gradients: tuple[Tensor | None, ...]


class _ChunkResult(NamedTuple):
    """Of a part of a split: the sum of its losses, and for each image true class * classes + predicted class."""

    loss_sum: Tensor
    cells: Tensor
    classes: int


def _sum_like(weight: Tensor, gradients: list[Tensor]) -> Tensor | None:
    """Their sum, in the weight's memory format: fused kernels walk both in the order of memory."""
    if not gradients:
        return None
    total = gradients[0]
    if total.stride() != weight.stride():
        total = torch.empty_like(weight).copy_(total)
    for gradient in gradients[1:]:
        total = total.add_(gradient)
    return total


def trained_form(network: nn.Module, normalize: Normalize) -> nn.Module:
    """What is trained and saved: normalisation, then the network; takes (N, C, H, W) uint8, gives (N, classes)."""
    model = nn.Sequential()
    model.add_module("normalize", normalize)
    model.add_module("network", network)
    return model


def _chunks(split: Split) -> list[tuple[Tensor, Tensor]]:
    """Parts as large as pays: beyond, activations outgrow the memory that is kept (docs/performance.md)."""
    height, width = split.inputs.shape[2:]
    size = max(16, min(1024, 400_000 // (height * width)))
    return list(zip(torch.split(split.inputs, size), torch.split(split.targets, size), strict=True))


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
