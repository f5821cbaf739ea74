"""What is trained on what: a workload's data, network and settings, as plain PyTorch and as flags of cnnlab."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Workload:
    """One row of the benchmark's table."""

    dataset: str
    model: str
    batch_size: int
    classes: int
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    """Of the training images' channels, on the scale 0..1, as `std`."""
    std: tuple[float, ...]
    lr: float = 0.05
    augment: bool = False

    def flags(self, data: str) -> list[str]:
        """As cnnlab is told."""
        words = ["--dataset", self.dataset, "--model", self.model, "--batch-size", str(self.batch_size)]
        words += [] if self.dataset == "shapes" else ["--data-root", data]
        words += ["-s", "data.augment=[flip,crop]"] if self.augment else []
        return words

    def network(self) -> nn.Module:
        """(N, C, H, W) float32, normalised -> (N, classes)."""
        if self.model == "resnet20":
            from cnnlab.config.models import CifarResNet
            from cnnlab.models.resnet import cifar_resnet

            return cifar_resnet(CifarResNet(name="resnet20"), self.shape, self.classes)
        channels, side, _ = self.shape
        return nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * (side // 4) ** 2, 128),
            nn.ReLU(),
            nn.Linear(128, self.classes),
        )

    def transform(self, train: bool) -> Any:
        """torchvision's, image by image."""
        from torchvision import transforms

        steps: list[Any] = []
        if self.dataset == "folder":
            steps += [transforms.Resize(64), transforms.CenterCrop(64)]
        if self.augment and train:
            steps += [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(self.mean, self.std)])

    def source(self, data: str, train: bool) -> Any:
        """The whole dataset as torchvision's classes give it, with the transform of training or of validation."""
        from torchvision import datasets

        if self.dataset == "fashion_mnist":
            return datasets.FashionMNIST(data, train=True, transform=self.transform(train))
        if self.dataset == "folder":
            return datasets.ImageFolder(data, transform=self.transform(train))
        return _Pictures(self.transform(train))

    def normalised(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> float32."""
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (images / 255 - mean) / std


class _Pictures(torch.utils.data.Dataset[tuple[Any, int]]):
    """Colour images kept as arrays and handed out as pictures, as torchvision's CIFAR10 does."""

    def __init__(self, transform: Any) -> None:
        from cnnlab.data.builtin import shapes

        split = shapes().splits["train"]
        self.images = split.inputs.permute(0, 2, 3, 1).contiguous().numpy()
        self.targets = split.targets.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), self.targets[index]


WORKLOADS = {
    "fashion": Workload("fashion_mnist", "cnn", 64, 10, (1, 28, 28), (0.286,), (0.353,)),
    "resnet20": Workload("shapes", "resnet20", 128, 6, (3, 32, 32), (0.45, 0.45, 0.45), (0.2, 0.2, 0.2), augment=True),
    "folder": Workload("folder", "cnn", 64, 10, (3, 64, 64), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), lr=0.01),
}


def make_folder(into: Path, images: int = 10_000, classes: int = 10) -> None:
    """JPEG files of 320x240 pixels, a folder a class: blobs of a class's colour on a smooth ground."""
    import numpy as np
    from PIL import Image, ImageDraw

    generator = np.random.default_rng(0)
    for index in range(images):
        label = index % classes
        ground = Image.fromarray(generator.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        picture = ground.resize((320, 240), Image.Resampling.BICUBIC)
        x, y = generator.integers(50, 150, 2)
        colour = tuple(int(part) for part in np.random.default_rng(label).integers(0, 255, 3))
        ImageDraw.Draw(picture).ellipse([x, y, x + 100, y + 60], fill=colour)
        folder = into / f"class{label}"
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{index}.jpg", quality=90)
