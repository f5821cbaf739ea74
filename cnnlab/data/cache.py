"""Datasets as tensor files: decoded once, memory-mapped afterwards, made again if damaged."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from cnnlab.data.dataset import Source, Split, has_classes
from cnnlab.data.kinds import bad_files, shown
from cnnlab.errors import one_line
from cnnlab.files import written_whole

log = logging.getLogger("cnnlab")

FORMAT = 6
"""Part of each key, so that files of another format are not read."""
NAMED = 3
"""The most images with several labels that are named."""
UNREADABLE = (OSError, ValueError, KeyError, TypeError, SafetensorError)


def cached(folder: Path, name: str, key: str, build: Callable[[], Source]) -> tuple[Source, str]:
    """The dataset with `marks` and `conflicts`, and its digest, from the file for this key; else from `build`.

    Args:
        folder: of the cache.
        name: of the dataset, for people who look into the folder.
        key: changes whenever the result of `build` would change (see `fingerprint`).
        build: its result is kept in the file. Raises BadInput if the result has a fault.
    """
    path = folder / f"{name}-{hashlib.sha256(f'{FORMAT} {key}'.encode()).hexdigest()[:16]}.safetensors"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except UNREADABLE as error:
        log.warning("the cache %s is damaged or not yours (%s); it is made again", path, one_line(str(error)))
    source = build()
    if fault := source.fault():
        raise bad_files(f"{source.origin} has {fault}")
    splits = {name: replace(split, marks=_marks(split.inputs)) for name, split in source.splits.items()}
    classes, notes = (tuple(map(shown, texts)) for texts in (source.classes, source.notes))
    source = replace(source, classes=classes, origin=shown(source.origin), notes=notes, splits=splits)
    source = replace(source, conflicts=shown(_conflicts(source)))
    try:
        _write(path, source)
        return _read(path)
    except UNREADABLE as error:  # safetensors has its own error for a full disk
        log.warning("the cache %s cannot be kept: %s", path, one_line(str(error)))
        return source, _digest(source)


def cache_damage(path: Path) -> str | None:
    """Why a file of the cache cannot be read; None if it can."""
    try:
        _read(path)
    except UNREADABLE as error:
        return f"it cannot be used ({' '.join(str(error).split()):.80})"
    return None


def fingerprint(files: Iterable[Path], *words: object) -> str:
    """A key from the state of these files, and from the words that also decide what is built from them.

    The state of a file is its path (whose folder may be a class), its real folder, inode, size, and times of
    modification and of change: so a file that is replaced, or written again with its old time, gives another key.
    """
    real = lru_cache(maxsize=None)(os.path.realpath)
    lines = [json.dumps([*map(str, words)])]
    for path in map(str, files):
        try:
            stat = os.stat(path)
        except OSError:  # a link to nothing counts as itself
            stat = os.lstat(path)
        numbers = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        lines.append(json.dumps([path, real(os.path.dirname(path)), *numbers]))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _marks(inputs: Tensor) -> Tensor:
    """(N, C, H, W) uint8 -> (N,) int64, a hash of each image's pixels."""
    pixels = inputs.contiguous().flatten(1).numpy()
    hashes = b"".join(hashlib.blake2b(row.data, digest_size=8).digest() for row in pixels)
    return torch.frombuffer(bytearray(hashes), dtype=torch.int64)


def _conflicts(source: Source) -> str:
    """A sentence with the number of images that have several classes and the first of them; empty if none has."""
    if not all(has_classes(part.targets) for part in source.splits.values()):
        return ""
    marks = np.concatenate([part.marks.numpy() for part in source.splits.values() if part.marks is not None])
    labels = np.concatenate([part.targets.numpy() for part in source.splits.values()])
    different, counts = np.unique(np.unique(np.stack([marks, labels]), axis=1)[0], return_counts=True)
    wrong = np.flatnonzero(np.isin(marks, different[counts > 1]))
    if not len(wrong):
        return ""
    names = [
        name
        for split, part in source.splits.items()
        for name in source.names.get(split) or [f"image {index} of {split}" for index in range(len(part))]
    ]
    first = [
        " and ".join(f"{names[i]} ({source.classes[labels[i]]})" for i in wrong[marks[wrong] == mark][:NAMED])
        for mark in list(dict.fromkeys(marks[wrong].tolist()))[:NAMED]
    ]
    many = int((counts > 1).sum())
    return f"{many:,} image{'s' * (many > 1)} with several labels: {'; '.join(first)}{'; ...' * (many > NAMED)}"


def _write(path: Path, source: Source) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{name}.{part}": tensor.contiguous()
        for name, split in source.splits.items()
        for part, tensor in vars(split).items()
    }
    kept = {name: value for name, value in vars(source).items() if name not in ("splits", "names")}
    about = kept | {"format": FORMAT, "digest": _digest(source)}
    with written_whole(path) as file:
        save_file(tensors, file, metadata={"about": json.dumps(about)})
        file.chmod(0o644)  # whatever the umask is: see _check_owner


def _read(path: Path) -> tuple[Source, str]:
    if not path.exists():
        raise FileNotFoundError(path)
    _check_owner(path)
    with safetensors.safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
    if about.pop("format") != FORMAT:
        raise ValueError("another version of cnnlab wrote it")
    digest = about.pop("digest")
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parts.setdefault(name.split(".")[0], {})[name.split(".")[1]] = tensor
    about |= {name: tuple(about[name]) for name in ("classes", "notes", "rendering", "stored_size")}
    source = Source(splits={name: Split(**parts[name]) for name in sorted(parts)}, **about)
    if _digest(source) != digest:
        raise ValueError("its digest is not that of its content")
    if fault := source.fault():  # another program wrote it
        raise ValueError(f"it has {fault}")
    return source, digest


def _check_owner(path: Path) -> None:
    """Raises ValueError if a user other than this one or root could have written the file with a matching digest."""
    status = path.stat()
    if os.name == "posix" and (status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o022):
        raise ValueError(f"others may write it: owner {status.st_uid}, mode {status.st_mode & 0o777:o}")


def _digest(source: Source) -> str:
    digest = hashlib.sha256(json.dumps([list(source.classes), source.origin, source.skipped]).encode())
    for name in sorted(source.splits):
        split = source.splits[name]
        digest.update(f"{name} {list(split.inputs.shape)}".encode())
        digest.update(split.inputs.contiguous().numpy().data)
        digest.update(split.targets.contiguous().numpy().data)
    return digest.hexdigest()[:32]
