"""Datasets as tensor files: decoded once, memory-mapped ever after, rebuilt where damaged."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import safetensors
from safetensors import SafetensorError
from safetensors.torch import save_file

from cnnlab.data.dataset import Source, Split
from cnnlab.data.duplicates import conflicts, marks
from cnnlab.errors import BadInput, one_line, printable
from cnnlab.files import written_whole

log = logging.getLogger("cnnlab")

FORMAT = 3
"""Part of every key: a new number makes all older files unread."""


def cached(folder: Path, name: str, key: str, build: Callable[[], Source]) -> tuple[Source, str]:
    """The dataset from the file for this key, else from `build`, then kept in that file.

    Args:
        folder: of the cache.
        name: of the dataset, for people who look into the folder.
        key: changes whenever what `build` would give changes (see `fingerprint`).

    Returns:
        the dataset with the marks and the conflicts of its images, and the digest of its images and labels.

    Raises:
        BadInput: what `build` gave is nothing to train on.
    """
    path = folder / f"{name}-{hashlib.sha256(f'{FORMAT} {key}'.encode()).hexdigest()[:16]}.safetensors"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        log.warning("the cache %s is damaged or not yours (%s) and made anew", path, one_line(str(error)))
    source = build()
    if fault := source.fault():
        raise BadInput(f"data.root: {source.origin} has {fault}")
    source = replace(source, classes=tuple(map(printable, source.classes)))
    source = replace(source, marks={split: marks(part.inputs) for split, part in source.splits.items()})
    source = replace(source, conflicts=conflicts(source))
    try:
        _write(path, source)
        return _read(path)
    except (OSError, ValueError, SafetensorError) as error:  # SafetensorError: a full disk too
        log.warning("the cache %s cannot be kept: %s", path, one_line(str(error)))
        return source, _digest(source)


def cache_damage(path: Path) -> str | None:
    """What is wrong with a file of the cache; None if it is whole."""
    try:
        _read(path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        return f"it is damaged ({' '.join(str(error).split()):.80})"
    return None


def fingerprint(files: Iterable[Path], *words: object) -> str:
    """A key from files as they are now, and from whatever else decides what is built from them.

    Of each file it has the name (a folder's may be a class), the real place, and what changes if another file takes
    its place or it is written again, even with its old time: inode, size, times of modification and of change. That
    takes one call of the system per file and a few per folder.
    """
    real = lru_cache(maxsize=None)(os.path.realpath)
    lines = [json.dumps([*map(str, words)])]
    for path in map(str, files):
        stat = _stat(path)
        numbers = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        lines.append(json.dumps([path, real(os.path.dirname(path)), *numbers]))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError:  # a link to nothing counts as itself
        return os.lstat(path)


def _write(path: Path, source: Source) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, split in source.splits.items():
        tensors[f"{name}.inputs"], tensors[f"{name}.targets"] = split.inputs.contiguous(), split.targets.contiguous()
        tensors[f"{name}.marks"] = source.marks[name]
    about = {
        "classes": source.classes,
        "origin": source.origin,
        "skipped": source.skipped,
        "notes": source.notes,
        "conflicts": source.conflicts,
        "digest": _digest(source),
    }
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
    names = sorted({name.split(".")[0] for name in tensors})
    source = Source(
        classes=tuple(about["classes"]),
        splits={name: Split(tensors[f"{name}.inputs"], tensors[f"{name}.targets"]) for name in names},
        origin=about["origin"],
        skipped=about["skipped"],
        notes=tuple(about["notes"]),
        marks={name: tensors[f"{name}.marks"] for name in names},
        conflicts=about["conflicts"],
    )
    if _digest(source) != about["digest"]:
        raise ValueError("its digest is not that of its content")
    if fault := source.fault():  # somebody else wrote it
        raise ValueError(f"it has {fault}")
    return source, about["digest"]


def _check_owner(path: Path) -> None:
    """Raises ValueError if a user whom this one does not obey has written it, or may have: its digest is in itself."""
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
