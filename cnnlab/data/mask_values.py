"""Which class each value of a set of masks means: by its number, its grey level or its colour."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnnlab.config.data import VOID, VOID_NAME
from cnnlab.data.pictures import SMOOTHED, Array, Images, MaskFile, Masks
from cnnlab.errors import BadInput

SOLID = 0.2
"""Squares of 2x2 pixels per pixel of a class; values that smoothing made at edges have fewer."""
MOST_LEVELS = 16
"""Evenly spread grey levels; with more of them, every value would be one."""


class ClassMasks(NamedTuple):
    """Masks whose values are classes."""

    values: Images
    """(N, side, side), of numbers of classes, and VOID."""
    classes: tuple[str, ...]
    used: frozenset[int]
    """The numbers that some file has, the parts that are cut off included."""
    notes: tuple[str, ...]


class _Meaning(NamedTuple):
    classes: tuple[str, ...]
    number: Mapping[int, int]
    """A file's number or colour -> its class."""
    notes: tuple[str, ...] = ()


def as_classes(
    masks: Masks, paths: Sequence[Path], names: tuple[str, ...] | None, colours: Mapping[str, str] | None, top: Path
) -> ClassMasks:
    """The masks with the number of a class for each pixel.

    Values are numbers of classes in grey and palette images, and in RGB images if all their colours are grey. If they
    are evenly spread from 0 to 255 (0 and 255; 0, 128 and 255), they are grey levels, and the classes are their ranks.
    If a file has another colour, or the palettes contradict each other, all files are read by their colours.

    Args:
        masks: as decoded.
        paths: of the files.
        names: of the classes by number; None to name them by their numbers.
        colours: name -> "#rrggbb" in the order of the numbers, "void" among them for what is of no class.
        top: of all the files, for messages.

    Raises:
        BadInput: the edges of the masks were smoothed, a value is of no class, or there are fewer than two classes.
    """
    by_colour = colours is not None or _have_colours(masks.files)
    found = [file.colour if by_colour else file.number for file in masks.files]
    _check_edges(masks.files, found, paths)
    every = sorted({value for some in found for value in some.tolist()})
    meaning = _by_colour(every, names, colours, top) if by_colour else _by_number(every, names, top)
    for path, some in zip(paths, found, strict=True):
        if strange := [value for value in some.tolist() if value not in meaning.number]:
            raise BadInput(f"data.root: {path} has {_strange(strange[0], by_colour, meaning.classes)}")
    values = np.empty_like(masks.values)
    for index, (file, some) in enumerate(zip(masks.files, found, strict=True)):
        table = np.zeros(256, np.uint8)
        table[file.stored] = [meaning.number[value] for value in some.tolist()]
        values[index] = table[masks.values[index]]
    return ClassMasks(values, meaning.classes, frozenset(meaning.number[value] for value in every), meaning.notes)


def _have_colours(files: Sequence[MaskFile]) -> bool:
    if any((file.number < 0).any() for file in files):
        return True
    entries = {pair for f in files if f.palette for pair in zip(f.number.tolist(), f.colour.tolist(), strict=True)}
    return len(entries) > len({number for number, _ in entries})


def _by_number(every: list[int], names: tuple[str, ...] | None, top: Path) -> _Meaning:
    count = len(every)
    spread = 2 <= count <= MOST_LEVELS and np.abs(np.array(every) - np.linspace(0, VOID, count)).max() <= 1
    if spread and (names is None or len(names) == count):
        levels, ranks = ", ".join(map(str, every)), ", ".join(map(str, range(count)))
        note = f"the grey levels {levels} in the masks are the classes {ranks}; none is void"
        return _Meaning(names or tuple(map(str, range(count))), {v: i for i, v in enumerate(every)}, (note,))
    known = [value for value in every if value != VOID]
    if len(known) < 2:
        void = f" and {VOID}, which is void" * (VOID in every)
        raise BadInput(
            f"data.root: the masks in {top} have only {', '.join(map(str, known)) or 'no class'}{void}; "
            "at least 2 classes are needed"
        )
    classes = names or tuple(map(str, range(known[-1] + 1)))
    return _Meaning(classes, {**{number: number for number in range(len(classes))}, VOID: VOID})


def _by_colour(
    every: list[int], names: tuple[str, ...] | None, colours: Mapping[str, str] | None, top: Path
) -> _Meaning:
    if colours is not None:
        classes = tuple(name for name in colours if name != VOID_NAME)
        numbers = {name: number for number, name in enumerate(classes)}
        return _Meaning(classes, {int(code[1:], 16): numbers.get(name, VOID) for name, code in colours.items()})
    listed = ", ".join(map(_code, every[:8])) + (", ..." if len(every) > 8 else "")
    if names is not None:
        raise BadInput(
            f"data.root: the masks in {top} are in colours ({listed}), which classes.txt does not name; remove it and "
            """name them as in --set 'data.colours={road: "#804080", sky: "#4682b4"}'"""
        )
    if not 2 <= len(every) <= VOID:
        raise BadInput(f"data.root: the masks in {top} have {len(every)} colours ({listed}); allowed are 2 to {VOID}")
    classes = tuple(map(_code, every))
    note = f"masks in {len(every)} colours, numbered from 0: {listed}; data.colours names them and says which is void"
    return _Meaning(classes, {value: number for number, value in enumerate(every)}, (note,))


def _code(colour: int) -> str:
    return f"#{colour:06x}"


def _strange(value: int, by_colour: bool, classes: tuple[str, ...]) -> str:
    if by_colour:
        return f"the colour {_code(value)}, which data.colours does not name; add it, as {VOID_NAME} if it is no class"
    return f"the number {value}, but the {len(classes)} classes are numbered from 0; only {VOID} is void"


def _check_edges(files: Sequence[MaskFile], found: Sequence[Array], paths: Sequence[Path]) -> None:
    """Raises BadInput if many values lie between those of the classes and are seen at edges only.

    In a single file 8 such values are many: a small file may have a few regions that are one pixel wide. In all files
    together 3 are.
    """
    smoothed = [
        path
        for path, file, some in zip(paths, files, found, strict=True)
        if len(some) > 8 and _count_mixed(some, file.pixels, file.blocks) >= 8
    ]
    values, inverse = np.unique(np.concatenate(found), return_inverse=True)
    pixels, blocks = (
        np.bincount(inverse, np.concatenate([getattr(f, n) for f in files])) for n in ("pixels", "blocks")
    )
    if smoothed or _count_mixed(values, pixels, blocks) >= 3:
        count, path = max((len(some), path) for path, some in zip(paths, found, strict=True))
        raise BadInput(f"data.root: {path} has {count} values, most of them only at the edges of regions: {SMOOTHED}")


def _count_mixed(values: Array, pixels: Array, blocks: Array) -> int:
    """How many values are seen at edges only and lie between the others; 0 if these are more."""
    solid = blocks >= SOLID * pixels
    if not solid.any():
        return 0
    channels = np.stack([values >> 16, values >> 8, values]) & 255
    low, high = channels[:, solid].min(1, keepdims=True), channels[:, solid].max(1, keepdims=True)
    mixed = int((~solid & ((low <= channels) & (channels <= high)).all(0)).sum())
    return mixed if mixed >= solid.sum() else 0
