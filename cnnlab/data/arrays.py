"""Images as arrays: .npz and .npy files with MedMNIST's or Keras's names, and idx files as on LeCun's MNIST page."""

import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnlab.data.dataset import Source, Split
from cnnlab.data.kinds import Unpacked, bad_files, check_unpacked, is_gzip, odd_kind
from cnnlab.data.pictures import Array, Rendering, scale, to_bytes
from cnnlab.data.tree import SPLITS, nfc, split_named
from cnnlab.errors import LONGEST_REASON, BadInput, one_line, shortened

Role = tuple[str, str]
"""A split, and "images" or "labels"."""
IdxSet = dict[Role, Path]

_WORDS = {"images": ("images", "image", "imgs", "x", "data"), "labels": ("labels", "label", "y", "targets", "target")}
_IDX_NAME = re.compile(r"(?P<set>.*?)(?P<split>[a-z0-9]+)[-_.](?P<what>images|labels)[-_.]idx\d[-_.]ubyte(\.gz)?", re.I)
""""emnist-letters-train-images-idx3-ubyte.gz", "t10k-labels.idx1-ubyte"."""
MOST = 8
"""The most dimensions of an idx array."""
AGAIN = "remove it, and get it again"


def role(name: str) -> Role | None:
    """The meaning of an array's name: `x_train` are the images of train, `labels` those of the only split."""
    words = re.split(r"[\W_]+", name.lower())
    what = [kind for kind, meant in _WORDS.items() if any(word in meant for word in words)]
    splits = [split for word in words if (split := split_named(word))]
    return (splits[0] if splits else "train", what[0]) if len(what) == 1 and len(splits) <= 1 else None


def npy_files(paths: list[Path]) -> list[Path]:
    """The .npy files whose names say that they are images or labels, if there are both for training."""
    arrays = {path: role(path.stem) for path in paths if path.suffix.lower() == ".npy" and role(path.stem)}
    return [*arrays] if {("train", "images"), ("train", "labels")} <= set(arrays.values()) else []


def read_arrays(paths: list[Path], given: tuple[float, float, int] | None = None) -> Source:
    """One .npz file with all arrays, or a .npy file for each. Raises BadInput, which names one, for other content.

    given: `data.rendering`.
    """
    arrays: dict[str, Array] = {}
    names: list[str] = []
    for path in paths:
        try:
            if path.suffix.lower() == ".npy":
                arrays[path.stem] = np.load(path, allow_pickle=False)
                continue
            # opened here, since NumPy leaves the file open if it is no archive
            with path.open("rb") as raw, zipfile.ZipFile(raw) as archive:
                check_unpacked(path, sum(member.file_size for member in archive.infolist()))
                for name in sorted(archive.namelist()):
                    names.append(name.removesuffix(".npy"))
                    if role(names[-1]):
                        with archive.open(name) as member:
                            arrays[names[-1]] = np.lib.format.read_array(member, allow_pickle=False)
        except BadInput:
            raise
        except Exception as error:  # zipfile and NumPy raise 12 kinds of exceptions for broken files
            kind = path.suffix.lower()
            raise bad_files(f"{path} cannot be read as an {kind} file ({_why(path, error)})") from None
    return _source(arrays, paths[0] if names else paths[0].parent, names or [*arrays], given)


def _why(path: Path, error: Exception) -> str:
    if kind := odd_kind(path):
        return kind
    if "allow_pickle" in str(error):
        return "it has Python objects, as of images of several sizes; save arrays of numbers or words"
    why = shortened(one_line(str(error)) or type(error).__name__, LONGEST_REASON)
    return why if isinstance(error, OSError | MemoryError) else f"it is damaged or not whole: {why}; get it again"


def _source(
    arrays: Mapping[str, Array], where: Path, names: list[str], given: tuple[float, float, int] | None
) -> Source:
    by_role: dict[Role, str] = {}
    for name in arrays:
        if (meaning := role(name)) and (twin := by_role.setdefault(meaning, name)) != name:
            raise bad_files(f"{where} has {twin} and {name}, which mean the same; remove one")
    splits = [split for split in SPLITS if {(split, "images"), (split, "labels")} <= by_role.keys()]
    if "train" not in splits:
        needed = "train_images and train_labels, or x_train and y_train"
        raise bad_files(f"{where} has the arrays {', '.join(names)}; needed are {needed}")
    classes, targets = _numbered({split: arrays[by_role[split, "labels"]] for split in splits}, where)
    images = {split: _channels_first(arrays[by_role[split, "images"]], where) for split in splits}
    pixels, notes, how = _as_bytes(images, where, given)
    return Source(
        classes=classes,
        splits={split: Split(torch.from_numpy(pixels[split]), targets[split]) for split in splits},
        origin=str(where.resolve()),
        notes=notes,
        rendering=how,
    )


def _numbered(
    labels: Mapping[str, Array], where: object, names: Mapping[int, str] | None = None
) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """The classes' names, and split -> (N,) int64, from (N,) or (N, 1) whole numbers or words.

    The classes are the sorted values in the training split. `names` has the names of some; the others are their values.
    """
    flat = {split: _flat(values, where) for split, values in labels.items()}
    values = np.unique(flat["train"])
    if len(values) < 2:
        raise bad_files(f"{where} has {len(values)} classes in its training split; at least 2 are needed")
    for split, some in flat.items():
        if strange := sorted(set(np.unique(some).tolist()) - set(values.tolist())):
            raise bad_files(f"{where} has the class {strange[0]} in {split}, but not in its training split")
    numbers = {split: torch.from_numpy(np.searchsorted(values, some).astype(np.int64)) for split, some in flat.items()}
    return tuple((names or {}).get(value, str(value)) for value in values.tolist()), numbers


def _flat(values: Array, where: object) -> Array:
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise bad_files(f"{where} has labels of the shape {values.shape}; one class per image is needed")
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.round(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in "iubUS":
        raise bad_files(f"{where} has labels of the type {values.dtype}; whole numbers or words are needed")
    return np.array([nfc(value) for value in values.tolist()]) if values.dtype.kind == "U" else values


def _channels_first(images: Array, where: Path) -> Array:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) -> (N, C, H, W), where C is 1 or 3."""
    if images.ndim == 3 and images[:1].size:
        return images[:, None]
    if images.ndim == 4 and images[:1].size and images.shape[3] in (1, 3):
        return np.moveaxis(images, 3, 1)
    if images.ndim == 4 and images[:1].size and images.shape[1] in (1, 3):
        return images
    raise bad_files(
        f"{where} has images of the shape {images.shape}; "
        "needed is (number, height, width), with 1 or 3 channels behind the number or at the end"
    )


def _as_bytes(
    images: Mapping[str, Array], where: Path, given: tuple[float, float, int] | None
) -> tuple[dict[str, Array], tuple[str, ...], Rendering]:
    """Any numbers -> uint8 by one scale for all splits, a note on the scale, and the scale."""
    fixed = Rendering(*given) if given else Rendering()
    kinds = {some.dtype.kind for some in images.values()}
    if not kinds <= set("biuf"):
        raise bad_files(f"{where} has images of the type {next(iter(images.values())).dtype}, no numbers")
    if all(some.dtype == np.uint8 for some in images.values()):
        return {split: np.ascontiguousarray(some) for split, some in images.items()}, (), fixed
    if kinds == {"b"}:
        return {split: some * np.uint8(255) for split, some in images.items()}, (), fixed
    finite = [some[np.isfinite(some)] if some.dtype.kind == "f" else some for some in images.values()]
    low = min((float(some.min()) for some in finite if some.size), default=0.0)
    high = max((float(some.max()) for some in finite if some.size), default=0.0)
    how = fixed if given else Rendering(*scale(low, high))
    note = f"values from {low:g} to {high:g}: {how.low:g} is shown as 0 and {how.high:g} as 255"
    pixels = {split: np.ascontiguousarray(to_bytes(some, how.low, how.high)) for split, some in images.items()}
    return pixels, (note,), how


def idx_sets(paths: list[Path]) -> dict[str, IdxSet]:
    """The name of a set, with which its files' names begin -> its idx files; "" for files named as on LeCun's page."""
    sets: dict[str, IdxSet] = {}
    for path in paths:
        if match := _IDX_NAME.fullmatch(path.name):
            split = "test" if match["split"].lower() == "t10k" else split_named(match["split"])
            files = sets.setdefault(match["set"].rstrip("-_."), {})
            if split and (twin := files.setdefault((split, match["what"].lower()), path)) != path:
                raise bad_files(f"{twin} and {path} mean the same; remove one")
    return {name: files for name, files in sets.items() if {("train", "images"), ("train", "labels")} <= files.keys()}


def read_idx_files(name: str, files: IdxSet, mapping: Path | None = None) -> Source:
    """A set of `idx_sets`, (N, 1, H, W). EMNIST's (Cohen et al. 2017) have rows and columns exchanged.

    mapping: EMNIST's file of lines "label code code"; the first code is the character that the class is.
    """
    parts = {
        split: read_idx_pair(files[split, "images"], files[split, "labels"])
        for split in SPLITS
        if {(split, "images"), (split, "labels")} <= files.keys()
    }
    labels = {split: part.targets.numpy() for split, part in parts.items()}
    classes, targets = _numbered(labels, files["train", "labels"], _characters(mapping) if mapping else None)
    turned = name.lower().startswith("emnist")
    images = {split: part.inputs.mT if turned else part.inputs for split, part in parts.items()}
    return Source(
        classes=classes,
        splits={split: Split(images[split].contiguous(), targets[split]) for split in parts},
        origin=str(files["train", "images"].parent.resolve()),
        notes=("EMNIST's images are stored with rows and columns exchanged; they were turned upright",) * turned,
    )


def _characters(mapping: Path) -> dict[int, str]:
    try:
        lines = [line.split() for line in mapping.read_text().splitlines() if line.strip()]
        return {int(line[0]): chr(int(line[1])) for line in lines}
    except (OSError, ValueError, LookupError) as error:
        raise bad_files(f"{mapping} is not a mapping of labels to characters ({error})") from None


def read_idx_pair(images: Path, labels: Path) -> Split:
    """Images (N, 1, H, W) and their labels. Raises BadInput if a file is no idx file, or they do not fit together."""
    pixels, targets = _read_idx(images, 3, "images"), _read_idx(labels, 1, "labels")
    if not pixels.size:
        raise bad_files(f"{images} has no images; {AGAIN}")
    if len(pixels) != len(targets):
        raise bad_files(f"{labels} has {len(targets):,} labels for the {len(pixels):,} images in {images}")
    return Split(torch.from_numpy(pixels[:, None]), torch.from_numpy(targets).long())


def _read_idx(path: Path, dimensions: int, what: str) -> Array:
    """An array of bytes, packed by gzip or not."""
    try:
        with Unpacked(path) if is_gzip(path) else path.open("rb") as file:
            # two zero bytes, the type (8: unsigned byte), the number of dimensions, then each size as big-endian int32
            head = file.read(4)
            count = head[3] if len(head) == 4 and head[:3] == b"\0\0\x08" else 0
            sizes = file.read(4 * count)
            whole = 1 <= count <= MOST and len(sizes) == 4 * count
            shape = np.frombuffer(sizes, ">i4").tolist() if whole else []
            check_unpacked(path, math.prod(shape))
            content = file.read(math.prod(shape) + 1) if whole and min(shape) > 0 else b""
    except (OSError, EOFError, zlib.error) as error:
        raise bad_files(f"{path} cannot be read ({error}); {AGAIN}") from None
    if not whole or len(content) != math.prod(shape):
        kind = odd_kind(path)
        raise bad_files(f"{path} is {f'{kind}, not an' if kind else 'not a whole'} idx file; {AGAIN}")
    if count != dimensions:
        raise bad_files(f"{path} has {count} dimensions; {what} have {dimensions}")
    array: Array = np.frombuffer(content, np.uint8).reshape(shape).copy()
    return array
