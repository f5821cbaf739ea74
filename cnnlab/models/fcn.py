"""A fully convolutional network for any size of image (Long et al. 2015)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.config.models import FCN
from cnnlab.models.blocks import two_convolutions


def fcn(config: FCN, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Blocks of two convolutions at full, half, quarter ... size, and scores for each pixel."""
    return FullyConvolutional(config, shape[0], classes)


class FullyConvolutional(nn.Module):
    """Each block's features become scores by a 1x1 convolution; coarse scores are enlarged and added to finer ones.

    `skip=True` is as FCN-8s of Long et al.; `skip=False` is as their FCN-32s: only the scores of the last block.
    """

    def __init__(self, config: FCN, inputs: int, classes: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for outputs in config.channels:
            half = [nn.MaxPool2d(2, ceil_mode=True)] if blocks else []
            blocks.append(nn.Sequential(*half, *two_convolutions(config, inputs, outputs, config.kernel_size)))
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        scored = config.channels if config.skip else config.channels[-1:]
        self.scores = nn.ModuleList(nn.Conv2d(channels, classes, 1) for channels in scored)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) -> (N, classes, H, W)."""
        height, width = x.shape[2:]
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        *finer, last = [score(x) for score, x in zip(self.scores, features[-len(self.scores) :], strict=True)]
        for scores in reversed(finer):
            last = scores + enlarge(last, scores.shape[2], scores.shape[3])
        return enlarge(last, height, width)


def enlarge(x: Tensor, height: int, width: int) -> Tensor:
    """(N, K, h, w) -> (N, K, height, width), bilinear, as F.interpolate.

    Computed by two matrix products: on a GPU, the gradient of F.interpolate has other bits each time.
    """
    if x.shape[2:] == (height, width):
        return x
    rows, columns = _weights(x, x.shape[2], height), _weights(x, x.shape[3], width)
    return rows @ x @ columns.T


def _weights(like: Tensor, before: int, after: int) -> Tensor:
    """(after, before): the weights of a line's pixels before enlarging in each pixel after it."""
    identity = torch.eye(before, dtype=like.dtype, device=like.device)
    return F.interpolate(identity[None], after, mode="linear")[0].T
