"""The learner: a task's network and its optimizer on one device. It takes steps and measures splits."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cnnlab.config import RunConfig
from cnnlab.config.data import MIXUP
from cnnlab.config.models import TimmModel, TorchvisionModel
from cnnlab.data import Batches, Dataset, Split, mixup, placement
from cnnlab.data.points import GRID, grid_over
from cnnlab.errors import BadInput
from cnnlab.metrics import Measured
from cnnlab.models import Normalize, sized_layers
from cnnlab.seeds import derive
from cnnlab.tasks import make_task
from cnnlab.training.checkpoint import below, weights_digest
from cnnlab.training.gradients import InMicroBatches, OverRanks, has_batch_norm
from cnnlab.training.ledger import Taken, check_schedule
from cnnlab.training.network import Network, answers, keep_in_fp32, measure_part, trained_form
from cnnlab.training.norms import dead_units, layer_norms
from cnnlab.training.optimizer import FiniteGuard, add_penalty, make_optimizer
from cnnlab.training.place import default_generator, resolve_device, resolve_precision
from cnnlab.training.ranks import Ranks, ranks_for_step, threads_for_step
from cnnlab.training.transfer import freeze, head_of, start_from


class StepResult(NamedTuple):
    """Results of a step, which are still being computed on the device."""

    loss: Tensor
    """() the training loss, mean over the samples, label smoothing included."""
    sums: Tensor
    """The task's step sums, from before the update."""
    bad: Tensor
    """() 1 if the update was not applied, because the loss or the gradient was not finite; else 0."""
    size: int
    """The number of samples."""


class Learner:
    """One network and its optimizer on one device.

    Args:
        config: what to train.
        dataset: the data that `config.data` names.

    Raises:
        BadInput: this machine does not have the device, a layer would have an empty output, the optimizer rejects a
            parameter, the network or the loss does not allow such batches, or the warm-up leaves no step.
    """

    def __init__(self, config: RunConfig, dataset: Dataset) -> None:
        self.config = config
        self.dataset = dataset
        self.device = resolve_device(config.place.device)
        self.generator = default_generator(self.device)
        self.batch_size = config.data.images_per_step(len(dataset.train))
        self.task = make_task(config, dataset.classes, dataset.image_shape)
        self.network = self._make_network()
        self.model, self.precision = self.network.model, self.network.precision
        self.weights, body = self._trained_weights()
        self.ranks = Ranks(self._count_ranks())
        self.optimizer = make_optimizer(config.optimizer, self.weights, body)
        self.guard = FiniteGuard(self.optimizer, self.device)
        self.gradients = self._make_gradients()
        self._check_single_samples()
        self.batches = self._make_batches()
        check_schedule(config, self.batch_size, len(self.batches))
        self._epoch: Iterator[tuple[Tensor, Tensor]] = iter(())
        self._pending: list[StepResult] = []
        self.best_weights: dict[str, Tensor] = {}
        """Of the best epoch so far."""

    @property
    def operator_threads(self) -> int:
        """The number of CPU threads that share an operator."""
        return self.threads if self.ranks.count == 1 else 1

    @property
    def parameters(self) -> int:
        """The number of trained parameters."""
        return sum(weight.numel() for weight in self.weights)

    def _make_network(self) -> Network:
        config, dataset = self.config, self.dataset
        seed = derive(config.training.seed, "init")
        network = self.task.build(seed)
        image, target = torch.zeros(1, *dataset.image_shape), dataset.train.targets[:1]
        self.head = self._head(network)
        layers = sized_layers(network, lambda: self.task.forward(network, image, target))
        self.multiply_adds = self.batch_size * sum(sized.multiply_adds for sized in layers)
        self.threads = threads_for_step(self.multiply_adds, config.place.threads)
        precision = resolve_precision(config.training.precision, self.device)
        if precision == "bf16" and self.device.type == "cpu":
            keep_in_fp32(layers)
        model = trained_form(network, Normalize.of(dataset.train.inputs))
        self.initial_sha256 = ""
        if config.model.weights:
            self.initial_sha256 = weights_digest(start_from(config.model, model, self.head))
        return Network(self.task, model, self.device, precision, freeze(config.model.freeze, network, self.head))

    def _head(self, network: nn.Module) -> set[str]:
        """`head_of` the network, if a setting asks which layer is the last one."""
        model = self.config.model
        asked = model.weights or model.freeze != "none" or self.config.optimizer.body_lr_factor != 1
        return head_of(self.task, network) if asked else set()

    def _trained_weights(self) -> tuple[list[nn.Parameter], int]:
        """The weights that are trained, and how many of the first of them have the body's learning rate."""
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        if self.config.optimizer.body_lr_factor == 1:
            return weights, 0
        head = {weight for name, weight in self.model.named_parameters() if name.removeprefix("network.") in self.head}
        body = [weight for weight in weights if weight not in head]
        return [*body, *(weight for weight in weights if weight in head)], len(body)

    def _count_ranks(self) -> int:
        """1 on an accelerator, with micro-batches, or if parts of a batch give other results than the whole."""
        foreign = isinstance(self.config.model, TorchvisionModel | TimmModel)
        whole = has_batch_norm(self.model) or foreign or not self.task.additive
        if whole or self.device.type != "cpu" or self.config.training.accumulate > 1:
            return 1
        return ranks_for_step(self.multiply_adds, self.batch_size, self.threads)

    def _make_gradients(self) -> InMicroBatches | OverRanks:
        common, count = (self.network, self.weights, self.generator), self.config.training.accumulate
        if self.ranks.count > 1:
            largest = self.config.schedule.growth_limit or self.batch_size
            sample = self.dataset.train.take(torch.tensor([0]))
            if MIXUP in self.config.data.augment:
                sample = Split(*mixup(sample.inputs, sample.targets, weight=1.0))
            return OverRanks(*common, self.ranks, sample, min(largest, len(self.dataset.train)))
        if count > 1 and not self.task.additive:
            raise BadInput(
                f"training.accumulate: {count} is not allowed with the loss {self.config.loss.name}: the loss of a "
                "batch is not the mean of its samples' losses; it must be 1"
            )
        return InMicroBatches(*common, count)

    def _make_batches(self) -> Batches:
        data, place, train = self.config.data, self.config.place, self.dataset.train
        return Batches(
            train,
            self._step_size(self.batch_size),
            self.config.training.seed,
            data.augment,
            device=self.device,
            residence=placement(place.residence, train.nbytes, self.device),
            workers=place.workers,
            join_single=has_batch_norm(self.model),
            mixup_alpha=data.mixup_alpha,
        )

    def _step_size(self, batch_size: int) -> int:
        return min(batch_size * self.config.training.accumulate, len(self.dataset.train))

    def _check_single_samples(self) -> None:
        """Raises BadInput for batches of one sample if the network uses batch statistics, undefined for one sample."""
        if self.batch_size > 1 or not has_batch_norm(self.model):
            return
        network = Network(self.task, copy.deepcopy(self.model).train(), self.device, "fp32")
        sample = self.dataset.train.take(torch.tensor([0]))
        try:
            network(sample.inputs.to(self.device), sample.targets.to(self.device))
        except ValueError as error:
            raise BadInput(
                f"data.batch_size: 1 is not allowed for this network: its batch normalisation sees a single value per "
                f"channel ({str(error).splitlines()[0]}); it must be 2 or more"
            ) from None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Within the context, the ranks are running."""
        self.network.train()  # all layers; a rank calls it again only after a measurement
        part = [self.gradients.part] if isinstance(self.gradients, OverRanks) else []
        try:
            with self.ranks.at_work(*part, self._measure_part):
                yield
        finally:
            self._epoch = iter(())  # ends its loader's workers: the garbage collector would wait 5 s for each

    def begin_epoch(self, epoch: int, first: int = 0, batch_size: int | None = None) -> int:
        """Prepare the batches of an epoch, from batch number `first` on, and put all layers into training mode.

        Args:
            batch_size: `data.batch_size`, or more in an epoch with larger batches; None for the former.

        Returns:
            The number of steps in an epoch of such batches.
        """
        self.network.train()
        self.batches.batch_size = self._step_size(batch_size or self.batch_size)
        self._epoch = self.batches.epoch(epoch, first=first)
        return len(self.batches)

    def step(self, lr: float, noise: int) -> None:
        """Update the weights with the next batch. Does not wait for the device."""
        self._pending.append(self.update(*next(self._epoch), lr, noise))

    def update(self, inputs: Tensor, targets: Tensor, lr: float, noise: int) -> StepResult:
        """Update the weights with this batch; the model is in training mode.

        Args:
            inputs: (B, C, H, W) uint8 on the device.
            targets: the batch's, on the device.
            lr: the learning rate.
            noise: the seed of the network's own randomness (dropout).
        """
        loss, sums = self.gradients(inputs, targets, noise)
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        if self.config.training.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.weights, self.config.training.clip_norm, norm, foreach=True)
        add_penalty(self.config.penalty, self.weights)  # after the clipping, as PyTorch's weight decay
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_factor"]
        return StepResult(loss, sums, self.guard.step(loss, norm), len(inputs))

    def collect(self) -> Taken:
        """The results of the steps since the last call. Waits for the device."""
        pending, self._pending = self._pending, []
        losses = torch.stack([result.loss for result in pending]).tolist()
        bad = torch.stack([result.bad for result in pending]).tolist()
        sums = torch.stack([result.sums for result in pending]).sum(0).flatten().tolist()
        return Taken(losses, [flag == 1.0 for flag in bad], [result.size for result in pending], sums)

    def norms(self) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """The gradient norms, weight norms and shares of dead units, as in the record `Norms`."""
        return *layer_norms(self.model), dead_units(self.network, self.dataset.val)

    def measure(self, split: str) -> Measured:
        """Results on the split `val` or `test`."""
        parts = self.ranks.map(self._measure_part, [(split, rank) for rank in range(self.ranks.count)])
        return self.task.metrics(parts, len(getattr(self.dataset, split)))

    def _measure_part(self, split: str, rank: int) -> Any:
        return measure_part(self.network, getattr(self.dataset, split), rank, self.ranks.count)

    def examples(self) -> dict[str, Tensor]:
        """Test samples with the network's answers, for the task's figure; empty if the figure shows no samples.

        Of points, all test samples, and the network's answers on a grid: (GRID, GRID) uint8, from below, with corners.
        """
        test = self.dataset.test
        if test.has_points:
            grid, corners = grid_over(test.inputs)
            regions = answers(self.network, Split(grid, torch.zeros(len(grid)))).view(GRID, GRID).byte()
            return {"inputs": test.inputs, "targets": test.targets, "regions": regions, "corners": corners}
        if not self.task.examples:
            return {}
        test = test.take(torch.arange(min(self.task.examples, len(test))))
        return {"inputs": test.inputs, "targets": test.targets, "answers": answers(self.network, test)}

    def keep_best(self) -> None:
        """Copy the weights and buffers."""
        self.best_weights = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Replace the weights and buffers."""
        self.model.load_state_dict(weights)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The weights, the best weights and the optimizer's state: tensors by name, and plain values."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best_weights.items()}
        optimizer = self.optimizer.state_dict()
        numbers: dict[int, dict[str, Any]] = {}
        for index, state in optimizer["state"].items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{index}.{key}"] = value
                else:
                    numbers.setdefault(index, {})[key] = value
        return tensors, {"optimizer": {"param_groups": optimizer["param_groups"], "state": numbers}}

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.load_weights(below("model.", tensors))
        self.best_weights = below("best.", tensors)
        state: dict[int, dict[str, Any]] = {int(index): dict(v) for index, v in values["optimizer"]["state"].items()}
        for name, tensor in below("optimizer.", tensors).items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = self._in_format_of_weight(int(index), tensor)
        self.optimizer.load_state_dict({"state": state, "param_groups": values["optimizer"]["param_groups"]})

    def _in_format_of_weight(self, index: int, tensor: Tensor) -> Tensor:
        # fused kernels read a weight and its state in memory order
        weight = self.weights[index]
        return torch.empty_like(weight, dtype=tensor.dtype).copy_(tensor) if weight.shape == tensor.shape else tensor
