"""The published datasets: read from their files, which torchvision downloads where there is a network."""

import gzip
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.dataset import Source, Split
from cnnlab.errors import BadInput

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
IDX_CLASSES = {
    "mnist": ("MNIST", tuple("0123456789")),
    "fashion_mnist": (
        "FashionMNIST",
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "kmnist": ("KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")),
}
"""Name -> torchvision's class, whose folder's `raw` holds the four files, and the classes' names."""

DEBIAN = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}
"""Where Debian's packages put the same files."""

ARCHIVES = {
    "cifar10": ("CIFAR10", ("cifar-10-python.tar.gz",), "cifar-10-batches-py/data_batch_1"),
    "cifar100": ("CIFAR100", ("cifar-100-python.tar.gz",), "cifar-100-python/train"),
    "svhn": ("SVHN", ("train_32x32.mat", "test_32x32.mat"), ""),
}
"""Name -> torchvision's class, the files that it downloads, and one that it unpacks from them."""


def find_files(name: str, root: Path) -> list[Path]:
    """The files of the dataset that are here, all that are needed; empty where one is missing."""
    if name in IDX_CLASSES:
        for folder in (root / IDX_CLASSES[name][0] / "raw", DEBIAN.get(name, root)):
            files = [_plain_or_packed(folder / file) for file in IDX_FILES]
            if all(file.exists() for file in files):
                return files
        return []
    _, archives, unpacked = ARCHIVES[name]
    files = [root / file for file in archives]
    if all(file.exists() for file in files):
        return files
    return [root / unpacked] if unpacked and (root / unpacked).exists() else []


def download(name: str, root: Path) -> None:
    """Have torchvision fetch the files. Raises BadInput, saying which files to put where, if it cannot."""
    from torchvision import datasets

    wanted = [f"{file}.gz" for file in IDX_FILES] if name in IDX_CLASSES else list(ARCHIVES[name][1])
    folder = root / IDX_CLASSES[name][0] / "raw" if name in IDX_CLASSES else root
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with redirect_stdout(sys.stderr):
            if name == "svhn":
                datasets.SVHN(str(root), split="train", download=True)
                datasets.SVHN(str(root), split="test", download=True)
            else:
                cls = (IDX_CLASSES.get(name) or ARCHIVES[name])[0]
                getattr(datasets, cls)(str(root), download=True)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            for path in new:  # torchvision made them; one that holds a part of a file stays
                path.rmdir()
        package = "; or install Debian's package dataset-fashion-mnist" if name in DEBIAN else ""
        raise BadInput(
            f"data.dataset: {name} is not here and cannot be downloaded ({' '.join(str(error).split())[:120]}); "
            f"put {', '.join(wanted)} into {folder}{package}"
        ) from None


def read_idx_set(name: str, files: list[Path]) -> Source:
    """MNIST, Fashion-MNIST or KMNIST from its four files, (N, 1, 28, 28)."""
    train_images, train_labels, test_images, test_labels = map(read_idx, files)
    return Source(
        classes=IDX_CLASSES[name][1],
        splits={
            "train": Split(train_images.unsqueeze(1), train_labels.long()),
            "test": Split(test_images.unsqueeze(1), test_labels.long()),
        },
        origin=str(files[0].parent),
    )


def read_idx(path: Path) -> Tensor:
    """An array in the idx format of LeCun's MNIST page, packed by gzip or not. Raises BadInput for anything else."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    # two zero bytes, the type (8: unsigned byte), the number of dimensions, then each size as a big-endian int32
    dimensions = data[3] if len(data) > 3 else 0
    shape = np.frombuffer(data, ">i4", dimensions, offset=4) if data[:3] == b"\0\0\x08" else np.array([-1])
    if len(data) != 4 + 4 * dimensions + shape.prod():
        raise BadInput(f"data.root: {path} is not a whole idx file; remove it, and it is downloaded again")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy())


def read_archive_set(name: str, root: Path) -> Source:
    """CIFAR-10, CIFAR-100 or SVHN through torchvision, (N, 3, 32, 32)."""
    from torchvision import datasets

    with redirect_stdout(sys.stderr):
        if name == "svhn":
            parts = {split: datasets.SVHN(str(root), split=split) for split in ("train", "test")}
            splits = {
                s: Split(torch.from_numpy(d.data).contiguous(), torch.from_numpy(d.labels).long())
                for s, d in parts.items()
            }
            classes = tuple("0123456789")
        else:
            cls = getattr(datasets, ARCHIVES[name][0])
            parts = {split: cls(str(root), train=split == "train", download=True) for split in ("train", "test")}
            splits = {
                split: Split(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
                for split, part in parts.items()
            }
            classes = tuple(parts["train"].classes)
    return Source(classes, splits, origin=str(root))


def _plain_or_packed(path: Path) -> Path:
    return path if path.exists() else path.with_name(f"{path.name}.gz")
