"""Batches in a seeded order, from tensors on the device or streamed to it."""

import signal
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import current_process
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cnnlab.config.data import MIXUP
from cnnlab.data.augment import augment, draws_needed, mixup
from cnnlab.data.dataset import Split
from cnnlab.errors import RunFailed
from cnnlab.process import ignore_signals, shorten_socket_paths
from cnnlab.seeds import derive

Residence = Literal["device", "stream"]
Batch = tuple[Tensor, Tensor]


def placement(wish: Literal["auto", "device", "stream"], size: int, device: torch.device) -> Residence:
    """Where `size` bytes of samples are kept. "auto" means on the device if they fit into half of its free memory."""
    if wish != "auto":
        return wish
    # on the CPU they are memory-mapped anyway
    return "stream" if device.type == "cuda" and size > torch.cuda.mem_get_info(device)[0] / 2 else "device"


class Batches:
    """The training batches of a run, epoch by epoch.

    The order is a function of (seed, epoch), the augmentation of an image of (seed, epoch, image). Neither depends on
    the batch size, on the residence, or on the batch with which an epoch begins. Mixup comes last and is a function of
    (seed, epoch, batch).

    Args:
        split: the training images.
        batch_size: images per batch; the last one of an epoch may be smaller.
        seed: of the run.
        augmentations: names in `augment.AUGMENTATIONS`, and mixup.
        device: where the batches are used.
        residence: "device" moves the split there once; "stream" moves each batch, prepared by other processes.
        workers: the number of these processes.
        join_single: whether a last batch of one sample is joined to the one before.
        mixup_alpha: of mixup's Beta distribution.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        augmentations: Sequence[str] = (),
        *,
        device: torch.device,
        residence: Residence = "device",
        workers: int = 2,
        join_single: bool = False,
        mixup_alpha: float = 1.0,
    ) -> None:
        self.size = len(split)
        self.batch_size = batch_size
        self.seed = seed
        self.augmentations = [name for name in augmentations if name != MIXUP]
        self.mixup = MIXUP in augmentations
        self.device = device
        self.workers = workers
        self.residence = residence
        self.join_single = join_single
        self.mixup_alpha = mixup_alpha
        moved = Split(split.inputs.to(device), split.targets.to(device)) if residence == "device" else split
        self.gathered = _Gathered(moved)

    @property
    def joined(self) -> bool:
        """Whether the last batch is joined to the one before."""
        return self.join_single and self.size > self.batch_size > 1 and self.size % self.batch_size == 1

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-self.size // self.batch_size) - self.joined

    def _cut(self, order: Tensor) -> list[Tensor]:
        """The indices of the samples, batch by batch."""
        batches = list(torch.split(order, self.batch_size))
        return [*batches[:-2], torch.cat(batches[-2:])] if self.joined else batches

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yields inputs (B, C, H, W) uint8 and their targets on the device, from the batch with index `first` on."""
        if first >= len(self):
            return
        generator = torch.Generator().manual_seed(derive(self.seed, "order", epoch))
        order = torch.randperm(self.size, generator=generator)[first * self.batch_size :]
        draws = None
        if self.augmentations:  # (N, k) uniform numbers, a row per image of the split
            generator = torch.Generator().manual_seed(derive(self.seed, "augment", epoch))
            draws = torch.rand(self.size, draws_needed(self.augmentations), generator=generator).to(self.device)
        on_device = self.residence == "device"
        moved = map(self.gathered.__getitem__, self._cut(order.to(self.device))) if on_device else self._streamed(order)
        for batch, (indices, inputs, targets) in enumerate(moved, first):
            if draws is not None:
                inputs, targets = augment(inputs, targets, self.augmentations, draws[indices])
            if self.mixup:
                random = np.random.default_rng(derive(self.seed, "mixup", epoch, batch))
                inputs, targets = mixup(inputs, targets, random.beta(self.mixup_alpha, self.mixup_alpha))
            yield inputs, targets

    def _streamed(self, order: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Prepared by other processes. If one dies, new ones continue; RunFailed if these die before a batch."""
        cut, done = self._cut(order), 0
        while done < len(cut):
            begun = done
            try:
                for indices, inputs, targets in self._loaded(cut[begun:]):
                    done += 1
                    to_device = partial(torch.Tensor.to, device=self.device, non_blocking=True)
                    yield to_device(indices), to_device(inputs), to_device(targets)
            except (RuntimeError, OSError, EOFError) as error:  # how PyTorch reports the death
                if done == begun:
                    raise RunFailed(
                        f"place.workers: {self.workers} processes that prepare batches ended too early "
                        f"({str(error).splitlines()[0]}); try fewer, or place.residence=device"
                    ) from error

    def _loaded(self, batches: list[Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        shorten_socket_paths()
        before = signal.getsignal(signal.SIGCHLD)
        with warnings.catch_warnings():  # the user may want more workers than cores
            warnings.filterwarnings("ignore", "This DataLoader will create")
            loader: DataLoader[tuple[Tensor, Tensor, Tensor]] = DataLoader(
                self.gathered,
                sampler=batches,
                batch_size=None,
                num_workers=0 if current_process().daemon else self.workers,  # it may have no children
                pin_memory=self.device.type == "cuda",
                worker_init_fn=ignore_signals,
            )
            loaded = iter(loader)
        if signal.getsignal(signal.SIGCHLD) != before:
            signal.signal(signal.SIGCHLD, before)  # PyTorch's handler would raise the death of a worker anywhere
        return loaded


class _Gathered(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """A batch's indices -> the batch, gathered in one operation."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __getitem__(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return indices, self.split.inputs.index_select(0, indices), self.split.targets.index_select(0, indices)
