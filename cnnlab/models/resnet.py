"""ResNet-20 for small images (He et al. 2016, section 4.2)."""

import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.config.models import ResNet20


def resnet20(config: ResNet20, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """3 stages of 3 residual blocks with parameter-free shortcuts (option A); 0.27 M parameters at width 16."""
    widths = [config.width, 2 * config.width, 4 * config.width]
    blocks: list[nn.Module] = []
    inputs = config.width
    for stage, outputs in enumerate(widths):
        for number in range(3):
            blocks.append(BasicBlock(inputs, outputs, stride=2 if stage > 0 and number == 0 else 1))
            inputs = outputs
    return nn.Sequential(
        nn.Conv2d(shape[0], config.width, 3, padding=1, bias=False),
        nn.BatchNorm2d(config.width),
        nn.ReLU(inplace=True),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(inputs, classes),
    )


class BasicBlock(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))); if the shape changes, x is subsampled and padded with zero channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.stride = stride
        self.new_channels = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, inputs, H, W) -> (N, outputs, ceil(H/stride), ceil(W/stride))."""
        shortcut = x
        if self.stride > 1 or self.new_channels:
            half = self.new_channels // 2
            shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.new_channels - half))
        return F.relu(self.residual(x).add_(shortcut), inplace=True)
