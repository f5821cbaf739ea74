"""Muon for the matrices of the hidden layers and AdamW for the rest: both of PyTorch, as one optimizer."""

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from cnnlab.errors import BadInput
from cnnlab.training.guard import bare_step


class MuonWithAdamW(Optimizer):
    """torch.optim.Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) beside torch.optim.AdamW.

    Muon trains the weights of the hidden layers; a convolution's weight is the matrix (outputs, all else). AdamW trains
    the rest: biases, norms, weights of one row or one column, and the last weight, which is the classifier's. Both
    have the same learning rate and weight decay, as Muon's update is scaled to the size of AdamW's (Liu et al. 2025,
    arXiv 2502.16982, section 2.2).

    It has one group: all parameters in their order, and the learning rate. The state of a parameter is that of Muon or
    AdamW.

    Args:
        parameters: of the whole network, the classifier's last.
        fused: whether AdamW uses its fused kernel.

    Raises:
        BadInput: no parameter is a hidden layer's matrix, or a matrix is not dense in memory.
    """

    def __init__(
        self,
        parameters: list[Parameter],
        lr: float,
        weight_decay: float,
        momentum: float,
        nesterov: bool,
        ns_steps: int,
        betas: tuple[float, float],
        eps: float,
        fused: bool = False,
    ) -> None:
        # `fused` is in the group, so that load_state_dict puts AdamW's step count on the device that its kernel needs;
        # it is not in the defaults, as Muon takes no `found_inf`
        super().__init__([{"params": parameters, "fused": fused}], {"lr": lr})
        self.hidden = _hidden(parameters)
        if not self.hidden:
            raise BadInput(
                "optimizer.name: muon trains the matrices of hidden layers, and this network has none; use adamw, to "
                "which muon leaves the classifier"
            )
        self.matrices = [_as_matrix(weight, like=weight) for weight in self.hidden]
        hidden = set(self.hidden)
        others = [parameter for parameter in parameters if parameter not in hidden]
        self.muon = torch.optim.Muon(
            self.matrices,
            lr,
            weight_decay,
            momentum,
            nesterov,
            ns_steps=ns_steps,
            adjust_lr_fn="match_rms_adamw",
        )
        self.adamw = torch.optim.AdamW(others, lr, betas, eps, weight_decay, fused=fused)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update the parameters from their gradients."""
        for weight, matrix in zip(self.hidden, self.matrices, strict=True):
            matrix.grad = None if weight.grad is None else _as_matrix(weight.grad, like=weight)
            self.muon.state[matrix] = self.state[weight]
        self.adamw.state = self.state
        for half in (self.muon, self.adamw):
            half.param_groups[0]["lr"] = self.param_groups[0]["lr"]
            bare_step(half)()
        for matrix in self.matrices:
            matrix.grad = None  # else the gradient's memory would be held through the next backward pass


def _hidden(parameters: list[Parameter]) -> list[Parameter]:
    """All matrices except the last, the classifier's. One row or one column is a vector (ViT's class token)."""
    layers = [parameter for parameter in parameters if parameter.ndim >= 2]
    return [weight for weight in layers[:-1] if 1 < weight.shape[0] < weight.numel()]


def _as_matrix(tensor: Tensor, like: Parameter) -> Tensor:
    """(O, I, kH, kW) -> (O, I * kH * kW), columns in the memory order of `like`.

    That order is the same at each step and after a resume. With it, a weight in channels_last shares its memory.
    """
    columns = sorted(range(1, like.ndim), key=like.stride, reverse=True)
    rows = tensor.detach().permute(0, *columns)
    if tensor is not like:
        return rows.reshape(len(rows), -1).contiguous()
    try:
        return rows.view(len(rows), -1)
    except RuntimeError:
        shape, strides = tuple(like.shape), like.stride()
        raise BadInput(
            f"optimizer.name: muon cannot take a weight of shape {shape} and strides {strides} as a matrix without "
            "copying it; use adamw"
        ) from None
