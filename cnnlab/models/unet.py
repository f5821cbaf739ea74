"""U-Net (Ronneberger et al. 2015) for any size of image."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.config.models import UNet
from cnnlab.errors import BadInput
from cnnlab.models.blocks import two_convolutions


def unet(config: UNet, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network of the paper's figure 1, with padded convolutions, so that each pixel of the image has scores.

    With depth 4, width 64 and no norm, it has the paper's layers.

    Raises:
        BadInput: the images are too small to be halved `depth` times.
    """
    side = min(shape[1:])
    if side < 2**config.depth:
        raise BadInput(
            f"model.depth: {config.depth} is not allowed for images of {shape[1]}x{shape[2]} pixels, which can be "
            f"halved {side.bit_length() - 1} times; use a smaller one, or larger images (data.resize)"
        )
    return UShaped(config, shape[0], classes)


class UShaped(nn.Module):
    """A contracting path, an expanding path, and at each size the features of both, concatenated."""

    def __init__(self, config: UNet, inputs: int, classes: int) -> None:
        super().__init__()
        widths = [config.width * 2**level for level in range(config.depth + 1)]
        self.down = nn.ModuleList(_two(config, *pair) for pair in zip([inputs, *widths], widths, strict=False))
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(config.dropout) if config.dropout > 0 else nn.Identity()
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in reversed(widths[:-1]))
        self.merge = nn.ModuleList(_two(config, 2 * width, width) for width in reversed(widths[:-1]))
        self.score = nn.Conv2d(config.width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) -> (N, classes, H, W)."""
        height, width = x.shape[2:]
        multiple = 2 ** len(self.up)
        # zero is the mean, as for the convolutions' own padding
        x = F.pad(x, (0, -width % multiple, 0, -height % multiple))
        skips = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        x = self.dropout(skips.pop())
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], 1))
        scores: Tensor = self.score(x)
        return scores[:, :, :height, :width]


def _two(config: UNet, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*two_convolutions(config, inputs, outputs, kernel_size=3))
