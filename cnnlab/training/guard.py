"""Skips updates from a loss or gradient that is not finite, without waiting for the device."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class FiniteGuard:
    """Steps an optimizer until a loss or gradient is not finite; never again after that.

    The decision is a number on the device. Fused optimizers take it as `found_inf` (as gradient scaling does);
    for the others the weights are copied before the step and put back after a bad one.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        self.fused = bool(optimizer.defaults.get("fused"))
        self.update = bare_step(optimizer)
        self.poison = torch.zeros((), device=device)  # 0 while all was finite, then NaN for ever

    @torch.no_grad()
    def step(self, loss: Tensor, gradient_norm: Tensor) -> Tensor:
        """Update the weights unless `loss` or `gradient_norm` (both scalars), or one before, was not finite.

        Returns:
            () float32 on the device: 0 where the update was applied, 1 where it was not.
        """
        self.poison = self.poison + (loss + gradient_norm) * 0
        bad = self.poison.ne(self.poison).float()
        if self.fused:
            self.optimizer.found_inf = bad  # type: ignore[attr-defined]
            self.update()
        else:
            self._step_or_put_back(bad > 0)
        return bad

    def _step_or_put_back(self, bad: Tensor) -> None:
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        before = [weight.clone() for weight in weights]
        self.update()
        for weight, old in zip(weights, before, strict=True):
            weight.copy_(torch.where(bad, old, weight))


def bare_step(optimizer: Optimizer) -> Callable[[], Any]:
    """Its `step` without the wrapper, which imports torch._dynamo (5 s) at the first step, only to ask it not to look.

    To be called with gradients off: the wrapper does that too.
    """
    return partial(inspect.unwrap(type(optimizer).step), optimizer)
