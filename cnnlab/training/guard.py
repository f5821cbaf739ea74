"""Skips updates if a loss or gradient is not finite, without waiting for the device."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class FiniteGuard:
    """Steps an optimizer. From the first loss or gradient on that is not finite, no update is applied.

    The decision is a number on the device. Fused optimizers take it as `found_inf`, as in gradient scaling. For other
    optimizers the weights are copied before each step and restored after a bad one.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        self.fused = bool(optimizer.defaults.get("fused"))
        self.update = bare_step(optimizer)
        self.poison = torch.zeros((), device=device)  # 0 while all is finite, then NaN

    @torch.no_grad()
    def step(self, loss: Tensor, gradient_norm: Tensor) -> Tensor:
        """Update the weights, unless `loss` or `gradient_norm` (both scalars) of this or an earlier step is not finite.

        Returns:
            () float32 on the device: 0 if the update was applied, else 1.
        """
        self.poison = self.poison + (loss + gradient_norm) * 0
        bad = self.poison.ne(self.poison).float()
        if self.fused:
            self.optimizer.found_inf = bad  # type: ignore[attr-defined]
            self.update()
        else:
            self._step_or_restore(bad > 0)
        return bad

    def _step_or_restore(self, bad: Tensor) -> None:
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        before = [weight.clone() for weight in weights]
        self.update()
        for weight, old in zip(weights, before, strict=True):
            weight.copy_(torch.where(bad, old, weight))


def bare_step(optimizer: Optimizer) -> Callable[[], Any]:
    """The optimizer's `step` without PyTorch's wrapper, which imports torch._dynamo (5 s) only to disable it.

    Call it under `torch.no_grad`, as the wrapper does.
    """
    return partial(inspect.unwrap(type(optimizer).step), optimizer)
