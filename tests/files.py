"""Files of images that several tests make."""

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnnlab.config import DataConfig, read_config
from cnnlab.data import Dataset, load


def config(**settings: object) -> DataConfig:
    return read_config(None, {f"data.{key}": value for key, value in settings.items()})[0].data


def load_folder(root: str = "mine", **settings: object) -> Dataset:
    return load(config(**{"dataset": "folder", "root": root, "batch_size": 2, **settings}), 0)


def caches() -> list[Path]:
    return sorted(Path("data/cache").glob("*.safetensors"))


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (20, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def pictures(root: Path, count: int = 10) -> None:
    """Two classes of images in one colour each, of many sizes."""
    for index in range(count):
        picture(root / "red" / f"{index}.png", (250, 10, 10), (20 + index, 30))
        picture(root / "blue" / f"{index}.jpg", (10, 10, 250), (64, 40 + index))


def noise(root: Path, classes: tuple[str, ...], count: int, seed: int = 0) -> None:
    """A folder per class of images that all differ."""
    for name in classes:
        random = np.random.default_rng([seed, *os.fsencode(root / name)])
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(root / name / f"{name}_{index}.png")


def write_idx(path: Path, array: np.ndarray[Any, Any], packed: bool = False) -> None:
    data = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(data))
    else:
        path.write_bytes(data)
