"""Image files of any size and kind -> arrays of one side; masks too, without mixing their values.

What goes beyond 8 bits a channel, and what is transparent, has to become colours. How is decided once for all the files
of a set, by what they use, and said: two pictures of a set can be compared, whatever else is beside them.
"""

import math
import os
import threading
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np

from cnnlab.data.kinds import BEGINNING, is_text, kind_of
from cnnlab.errors import LONGEST_REASON, BadInput, RunFailed, one_line, shortened

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Images: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Array: TypeAlias = np.ndarray[Any, Any]

SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("avif", "bmp", "gif", "ico", "jfif", "jp2", "jpe", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm"),
        *("tga", "tif", "tiff", "webp"),
    )
)
"""Of files that are taken for images where a folder holds other files too; in small letters."""

LARGEST = 180_000_000
"""Pixels of an image or a mask that is still decoded, as Pillow's own limit; more are said to be too many."""
LARGE = 2**26
"""Pixels from which images are decoded one at a time, to spare memory."""
RANGES = (1, 255, 1023, 4095, 16383, 65535)
"""The greatest values of floats in 0 .. 1 and of 8, 10, 12, 14 and 16 bits."""
NAMED = 10
"""Files that cannot be read are named up to this number."""
SMOOTHED = (
    "masks saved as JPEG or resized with smoothing mix the values of the classes; save masks as PNG, "
    "resize them with nearest"
)
"""Why a mask has values that are no classes, and what to do."""
OPAQUE = 128
"""Pixels with at least this alpha are what is seen of a drawing."""

_one_large = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """A file that should be an image, or a part of a larger file that should be one."""

    name: str
    """For people."""
    open: Callable[[], BinaryIO]
    called_image: bool = True
    """Whether its name says that it is an image; if not, it may be a text that lies beside them."""


def on_disk(path: Path) -> Picture:
    """The picture that the file at `path` should be."""
    return Picture(str(path), partial(_open, path), path.suffix.lower() in SUFFIXES)


def _open(path: Path) -> BinaryIO:
    if not path.is_file():  # a pipe would be waited for
        raise OSError("it is no file, or a link to nothing")
    return path.open("rb")


@dataclass(frozen=True)
class Decoded:
    """(N, 3, side, side); which of the N are images; what people should know."""

    images: Images
    good: np.ndarray[Any, np.dtype[np.bool_]]
    notes: tuple[str, ...]
    skipped: int
    """How many of the others should be images."""


def decode_all(pictures: Sequence[Picture], side: int, skip_broken: bool) -> Decoded:
    """Shorter side scaled, centre kept, turned as its EXIF says, in RGB.

    Raises:
        BadInput: naming the files that are no images (unless skip_broken), or one whose values cannot be shown.
    """
    images = np.zeros((len(pictures), 3, side, side), np.uint8)
    uses: dict[int, Use] = {}
    broken: dict[int, str | None] = {}

    def decode(index: int, how: "Rendering | None" = None) -> None:
        try:
            found = _decode(pictures[index], side, how)
        except MemoryError:
            raise _no_memory(pictures[index]) from None
        except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
            broken[index] = _why(pictures[index], error)
            return
        if isinstance(found, Use):
            uses[index] = found
        else:
            images[index] = found

    # threads serve: Pillow releases the interpreter while it decodes and resizes
    with _any_size(), ThreadPoolExecutor(os.cpu_count()) as pool:
        _all(pool.map(decode, range(len(pictures))))
        _check_wide(pictures, uses)
        how = rendering(uses.values())
        _all(pool.map(partial(decode, how=how), sorted(uses)))
    good = np.ones(len(pictures), bool)
    good[list(broken)] = False
    texts = [pictures[index].name for index in sorted(broken) if broken[index] is None]
    faults = {index: why for index, why in sorted(broken.items()) if why is not None}
    if faults and not skip_broken:
        raise BadInput(
            f"data.root: {_not_read(pictures, faults, 'an image')}; "
            f"remove {'them' if len(faults) > 1 else 'it'}, or skip such files with --set data.skip_broken=true"
        )
    notes = list(how.notes)
    if faults:
        notes.append(f"skipped: {_not_read(pictures, faults, 'an image')}")
    if texts:
        notes.append(f"passed over, text files ({len(texts):,}): {_first(texts)}")
    return Decoded(images, good, tuple(notes), len(faults))


class MaskFile(NamedTuple):
    """The K values that a mask's file holds, the parts that are cut off included; each array is (K,)."""

    stored: Array
    """What stands for the value in the decoded mask."""
    number: Array
    """The value of a grey pixel, or the index into a palette; -1 for any other colour."""
    colour: Array
    """0xRRGGBB"""
    pixels: Array
    """The number of pixels of this value."""
    blocks: Array
    """The number of squares of 2x2 pixels that are all of this value."""
    palette: bool


class Masks(NamedTuple):
    """Masks as they were decoded, (N, side, side) uint8, and what each of the N files holds."""

    values: Images
    files: list[MaskFile]


def decode_masks(pictures: Sequence[Picture], side: int) -> Masks:
    """Palette, grey or RGB images with their values as they are, cropped and scaled as images are.

    Each pixel is that of the nearest in the file, since a mean of two classes is none of them.

    Raises:
        BadInput: naming the files that are no images, are JPEGs, are transparent in parts or of more than 256 colours.
    """
    broken: dict[int, str] = {}
    values = np.zeros((len(pictures), side, side), np.uint8)

    def decode(index: int) -> MaskFile | None:
        try:
            values[index], file = _decode_mask(pictures[index], side)
        except MemoryError:
            raise _no_memory(pictures[index]) from None
        except Exception as error:
            broken[index] = _why(pictures[index], error) or "a text file"
            return None
        return file

    with _any_size(), ThreadPoolExecutor(os.cpu_count()) as pool:
        files = list(pool.map(decode, range(len(pictures))))
    if broken:
        raise BadInput(f"data.root: {_not_read(pictures, broken, 'a mask')}")
    return Masks(values, [file for file in files if file])


def _decode_mask(picture: Picture, side: int) -> tuple[Images, MaskFile]:
    from PIL import Image, ImageOps

    with _opened(picture) as image, _room_for(image):
        if image.format in ("JPEG", "MPO"):
            raise ValueError(f"it is a JPEG: {SMOOTHED}")
        upright = _upright(image)
        in_colours = upright.mode in ("RGB", "RGBA", "LA")
        values, number, colour = _colour_values(upright) if in_colours else _number_values(upright)
        pixels, blocks = np.bincount(values.reshape(-1), minlength=256), _count_blocks(values)
        held = np.flatnonzero(pixels)
        square = ImageOps.fit(Image.fromarray(values), (side, side), Image.Resampling.NEAREST)
        file = MaskFile(held, number[held], colour[held], pixels[held], blocks[held], upright.mode == "P")
        return np.asarray(square), file


def _number_values(image: "PillowImage") -> tuple[Images, Array, Array]:
    """(H, W) numbers; the number and the colour of each of the values 0 .. 255."""
    if image.mode not in ("1", "L", "P", "F") and not image.mode.startswith("I"):
        raise ValueError(f"its pixels are of the kind {image.mode}; save masks as grey, palette or RGB PNG")
    values = np.asarray(image.convert("L") if image.mode == "1" else image)
    plain = values.astype(np.uint8)
    if (plain != values).any():
        raise ValueError(f"its values go from {values.min()} to {values.max()}; classes are whole numbers, 0 to 255")
    colour = np.arange(256) * 0x010101
    if image.mode == "P":
        palette = np.array(image.getpalette()).reshape(-1, 3)
        colour[: len(palette)] = _packed(palette)
    return plain, np.arange(256), colour


def _colour_values(image: "PillowImage") -> tuple[Images, Array, Array]:
    """(H, W) indices of colours in the order of their codes; the number and the colour of each index."""
    if "A" in image.mode and image.getchannel("A").getextrema() != (255, 255):
        raise ValueError("it is transparent in parts; save masks without transparency")
    rgb = image.convert("RGB")
    counted = rgb.getcolors(256)
    if counted is None:
        raise ValueError(f"it has more than 256 colours: {SMOOTHED}")
    colour = np.sort(_packed(np.array([channels for _, channels in counted])))
    index = np.zeros(2**24, np.uint8)
    index[colour] = np.arange(len(colour))
    return index[_packed(np.asarray(rgb))], np.where(colour % 0x010101 == 0, colour & 255, -1), colour


def _packed(rgb: Array) -> Array:
    """(..., 3) -> (...) 0xRRGGBB"""
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    packed: Array = (red << 16) | (green << 8) | blue
    return packed


def _count_blocks(values: Images) -> Array:
    """(256,): how many squares of 2x2 pixels are of one value alone."""
    same = values[1:] == values[:-1]
    block = same[:, 1:] & same[:, :-1] & (values[1:, 1:] == values[1:, :-1])
    return np.bincount(values[1:, 1:][block], minlength=256)


def upright_size(picture: Picture) -> tuple[int, int]:
    """(height, width) of an image that can be read, turned as its EXIF says."""
    with _any_size(), _opened(picture) as image:
        turned = (_orientation(image) or 1) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)


@dataclass(frozen=True)
class Use:
    """What a picture uses that only the whole set can decide on: its least and greatest values."""

    kind: str
    """"whole" numbers beyond 8 bits, "real" numbers, "wide": 16 bits a channel in colour, or "alpha"."""
    low: float
    high: float


@dataclass(frozen=True)
class Rendering:
    """How a set's pictures become 8-bit colours: the values that become 0 and 255, and what lies below drawings."""

    whole: tuple[float, float] = (0, 65535)
    real: tuple[float, float] = (0, 1)
    ground: int = 255
    notes: tuple[str, ...] = ()


def rendering(uses: Iterable[Use]) -> Rendering:
    """What serves all of these pictures."""
    by_kind: dict[str, list[Use]] = {}
    for use in uses:
        by_kind.setdefault(use.kind, []).append(use)
    scales, notes = {}, []
    for kind in ("whole", "real"):
        if some := by_kind.get(kind):
            low, high = min(use.low for use in some), max(use.high for use in some)
            scales[kind] = bottom, top = scale(kind, low, high)
            notes.append(
                f"values from {low:g} to {high:g} in {_count(some, 'image')} of more than 8 bits: "
                f"{bottom:g} is shown as 0 and {top:g} as 255 in all of them"
            )
    ground = 255
    if some := by_kind.get("alpha"):
        ground = _ground(some)
        name = {255: "white", 128: "grey", 0: "black"}[ground]
        notes.append(f"{_count(some, 'image')} with transparent parts: laid on {name}")
    return Rendering(scales.get("whole", (0, 65535)), scales.get("real", (0, 1)), ground, tuple(notes))


def _count(some: Collection[object], what: str) -> str:
    return f"{len(some):,} {what}{'s' if len(some) > 1 else ''}"


def scale(kind: str, low: float, high: float) -> tuple[float, float]:
    """The values that become 0 and 255: a usual range if a set uses at least half of it, else exactly what it uses.

    Args:
        kind: "whole" or "real" numbers.
        low: the least value of the set.
        high: the greatest.
    """
    usual = RANGES if kind == "real" else RANGES[1:]
    top = next((top for top in usual if low >= 0 and high <= top), None)
    if top is not None and (high - low >= top / 2 or low >= high):
        return 0, top
    return (low, high) if high > low else (low - 1, high + 1)


def _ground(some: Sequence[Use]) -> int:
    """White, unless a drawing is itself near white; then black, unless one is near black too; then grey."""
    if all(use.low < 192 for use in some):
        return 255
    return 0 if all(use.high > 63 for use in some) else 128


def _check_wide(pictures: Sequence[Picture], uses: dict[int, Use]) -> None:
    """Raises BadInput where coloured images of 16 bits a channel, of which Pillow reads the upper 8, would be dark."""
    wide = [index for index, use in uses.items() if use.kind == "wide"]
    if wide and max(uses[index].high for index in wide) < 64:
        raise BadInput(
            f"data.root: {pictures[min(wide)].name} has 16 bits a channel but uses the lowest 14 of them at most, "
            "of which nothing would be seen; save such images with 8 bits a channel"
        )


def _no_memory(picture: Picture) -> RunFailed:
    return RunFailed(f"data.root: {picture.name} does not fit into memory while it is decoded; make it smaller first")


def _why(picture: Picture, error: Exception) -> str | None:
    """What is wrong with a file that raised this; None if it is a text that is not called an image."""
    from PIL import UnidentifiedImageError

    if not isinstance(error, UnidentifiedImageError):
        said = getattr(error, "strerror", None) or one_line(str(error)) or type(error).__name__
        return shortened(said, LONGEST_REASON)
    with picture.open() as file:
        beginning = file.read(BEGINNING)
    if is_text(beginning) and not picture.called_image:
        return None
    return kind_of(beginning) or "its format is not known"


def _not_read(pictures: Sequence[Picture], faults: Mapping[int, str], what: str) -> str:
    """That these files are not what they should be: the first of them with their reasons, and their number.

    A reason is given once for files that follow one another.
    """
    order = sorted(faults)
    line = f"{pictures[order[0]].name} is not {what} that can be read ({faults[order[0]]})"
    more = [
        pictures[index].name + (f" ({faults[index]})" if faults[index] != faults[before] else "")
        for before, index in pairwise(order)
    ]
    return f"{line}, nor are {_first(more, NAMED - 1)}: {len(faults):,} files" if more else line


def _first(names: Sequence[str], most: int = NAMED) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _all(results: Iterator[None]) -> None:
    for _ in results:
        pass


def _decode(picture: Picture, side: int, how: Rendering | None) -> "Images | Use":
    """The picture as (3, side, side), or, without a rendering, what has to be known of all before it can be."""
    from PIL import Image, ImageOps

    with _opened(picture) as image:
        image.draft("RGB", (2 * side, 2 * side))  # JPEGs are decoded at a fraction of their size
        with _room_for(image):
            wide = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())) and not image.mode.startswith("I")
            upright = _upright(image)
            if how is None and (use := _use(upright, wide)):
                return use
            shown = _shown(upright, how or Rendering())
            square = ImageOps.fit(shown, (side, side), Image.Resampling.BILINEAR)
        return np.moveaxis(np.asarray(square), 2, 0)


def _room_for(image: "PillowImage") -> AbstractContextManager[object]:
    """For the time in which it is decoded, the only large one. Raises ValueError if it is too large."""
    pixels = image.width * image.height
    if pixels > LARGEST:
        raise ValueError(f"{image.width:,} x {image.height:,} pixels are too many; make it smaller first")
    return _one_large if pixels > LARGE else nullcontext()


def _use(image: "PillowImage", wide: bool) -> Use | None:
    """None for an image of 8 bits a channel that hides nothing."""
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (math.inf, -math.inf)
        return Use("real" if image.mode == "F" else "whole", low, high)
    if wide:
        return Use("wide", 0, float(np.asarray(image.convert("RGB")).max()))
    if image.has_transparency_data:
        return _drawing(np.asarray(image.convert("RGBA")))
    return None


def _drawing(rgba: Array) -> Use | None:
    """How dark and how light what is seen of it is; None where nothing is transparent."""
    alpha, grey = rgba[..., 3], rgba[..., :3].mean(2)
    if alpha.min() == 255:
        return None
    seen = grey[alpha >= OPAQUE] if alpha.max() >= OPAQUE else grey[alpha > 0]
    return Use("alpha", float(seen.min()), float(seen.max())) if seen.size else Use("alpha", 0, 255)


def _shown(image: "PillowImage", how: Rendering) -> "PillowImage":
    """The image in RGB."""
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        low, high = how.real if image.mode == "F" else how.whole
        return Image.fromarray(to_bytes(np.asarray(image), low, high)).convert("RGB")
    if image.has_transparency_data:
        drawing = image.convert("RGBA")
        if drawing.getchannel("A").getextrema() != (255, 255):
            ground = Image.new("RGBA", drawing.size, (how.ground,) * 3 + (255,))
            return Image.alpha_composite(ground, drawing).convert("RGB")
    return image.convert("RGB")


def to_bytes(values: Array, low: float, high: float) -> Images:
    """low .. high -> 0 .. 255; of a range of whole bits these are the upper 8."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    if (low, high) in [(0, top) for top in RANGES[1:]]:
        scaled = np.floor(values * (256 / (high + 1)))
    else:
        scaled = np.round((values.astype(np.float64) - low) * (255 / (high - low)))
    return np.clip(scaled, 0, 255).astype(np.uint8)


ORIENTATION = 0x0112
TURNS = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
"""What makes orientation 2, 3 .. 8 of the EXIF standard (2.32, section 4.6.4) upright."""


def _upright(image: "PillowImage") -> "PillowImage":
    from PIL import Image

    turn = _orientation(image)
    return image.transpose(Image.Transpose[TURNS[turn - 2]]) if turn else image


def _orientation(image: "PillowImage") -> int | None:
    """From 2 to 8; None if the image is upright as it is."""
    try:
        turn = image.getexif().get(ORIENTATION)
    except Exception:  # a broken EXIF block, which no viewer minds
        return None
    return turn if isinstance(turn, int) and 2 <= turn <= 8 else None


@contextmanager
def _opened(picture: Picture) -> "Iterator[PillowImage]":
    from PIL import Image

    with picture.open() as file, Image.open(file) as image:
        yield image


@contextmanager
def _any_size() -> Iterator[None]:
    """Without Pillow's warnings, and without its limit of 179 megapixels: ours is in pixels that are decoded."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata: they were decoded
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
