"""Image files of any size and kind -> arrays with one side.

Values of more than 8 bits and transparent parts become 8-bit RGB by one rule for all images of a set, so that any two
of them can be compared. The rule depends on what the whole set uses, and a note reports it.
"""

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np

from cnnlab.data.kinds import BEGINNING, bad_files, is_text, kind_of
from cnnlab.errors import LONGEST_REASON, RunFailed, one_line, shortened

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

T = TypeVar("T")
Images: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Array: TypeAlias = np.ndarray[Any, Any]

SUFFIXES = frozenset(
    f".{kind}"
    for kind in (
        *("avif", "bmp", "gif", "ico", "jfif", "jp2", "jpe", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm"),
        *("tga", "tif", "tiff", "webp"),
    )
)
"""The endings of image files, in small letters. This is the only list of them."""

LARGEST = 180_000_000
"""The most pixels of an image or a mask, as in Pillow."""
LARGE = 2**26
"""Images with more pixels are decoded one at a time, to limit memory."""
NAMED = 10
"""The most files that a message names."""
ORIENTATION = 0x0112
TURNS = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
"""What makes orientation 2, 3 .. 8 of the EXIF standard (2.32, section 4.6.4) upright."""

RANGES = (1, 255, 1023, 4095, 16383, 65535)
"""The greatest values of numbers in 0 .. 1 and of 8, 10, 12, 14 and 16 bits."""
OPAQUE = 128
"""Pixels with at least this alpha are the visible part of a drawing."""

_one_large = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """A file, or a part of a larger file, that should be an image; `name` is for people."""

    name: str
    open: Callable[[], BinaryIO]
    has_suffix: bool = True
    """Whether the name ends as an image's does. A text file without such an ending is no broken image."""


def is_image(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in SUFFIXES


def on_disk(path: Path) -> Picture:
    return Picture(str(path), partial(_open, path), is_image(path))


def _open(path: Path) -> BinaryIO:
    if not path.is_file():  # reading a pipe would wait for ever
        raise OSError("it is no file, or a link to nothing")
    return path.open("rb")


class Use(NamedTuple):
    """The least and the greatest value of an image that needs the rule of the whole set."""

    kind: Literal["deep", "wide", "alpha"]
    """Grey of more than 8 bits, colour of 16 bits per channel, or transparent in parts."""
    low: float
    high: float


class Rendering(NamedTuple):
    """The values that become 0 and 255, and the grey level below transparent parts."""

    low: float = 0
    high: float = 65535
    ground: int = 255


class Decoded(NamedTuple):
    """images: (N, 3, side, side); good: (N,) bool, which could be decoded; skipped: the number of broken ones."""

    images: Images
    good: np.ndarray[Any, np.dtype[np.bool_]]
    notes: tuple[str, ...]
    skipped: int
    how: Rendering


def decode_all(
    pictures: Sequence[Picture], side: int, skip_broken: bool, given: tuple[float, float, int] | None = None
) -> Decoded:
    """Decode to RGB, turn as EXIF says, scale the shorter side and keep the centre. No labels are needed.

    given: the rule, if it is not to be that of the pictures' values.

    Raises BadInput if some files are no images (unless skip_broken), or the values of one cannot be shown.
    """
    images = np.zeros((len(pictures), 3, side, side), np.uint8)

    def decode(index: int, how: Rendering | None = None) -> Use | None:
        decoded = _decode(pictures[index], (side, side), how)
        if isinstance(decoded, Use):
            return decoded
        images[index] = decoded
        return None

    first, broken = decode_each(pictures, range(len(pictures)), decode)
    uses = {index: use for index, use in sorted(first.items()) if use}
    how, notes = rendering(
        {pictures[index].name: use for index, use in uses.items()}, Rendering(*given) if given else None
    )
    broken |= decode_each(pictures, uses, partial(decode, how=how))[1]
    texts = [pictures[index].name for index in sorted(broken) if broken[index] is None]
    faults = {index: why for index, why in sorted(broken.items()) if why is not None}
    if faults and not skip_broken:
        raise bad_files(
            f"{unreadable(pictures, faults, 'an image')}; "
            f"remove {'them' if len(faults) > 1 else 'it'}, or skip such files with --set data.skip_broken=true"
        )
    if faults:
        notes.append(f"skipped: {unreadable(pictures, faults, 'an image')}")
    if texts:
        notes.append(f"passed over, text files ({len(texts):,}): {_first(texts)}")
    good = np.ones(len(pictures), bool)
    good[list(broken)] = False
    return Decoded(images, good, tuple(notes), len(faults), how)


def decode_like(
    pictures: Sequence[Picture], shape: tuple[int, int, int], how: Rendering
) -> tuple[Images, dict[int, str]]:
    """Decode more pictures as those of a set were decoded.

    Args:
        shape: (C, H, W) of the set's images, where C is 1 or 3.
        how: the rule of the set.

    Returns:
        (N, C, H, W), and index -> why a picture cannot be read; in its place are zeros.
    """
    images = np.zeros((len(pictures), *shape), np.uint8)

    def decode(index: int) -> None:
        rgb = _decode(pictures[index], shape[1:], how)
        assert not isinstance(rgb, Use)
        images[index] = rgb if shape[0] == 3 else to_grey(rgb)

    broken = decode_each(pictures, range(len(pictures)), decode)[1]
    return images, {index: why or "a text file" for index, why in sorted(broken.items())}


def to_grey(rgb: Images) -> Images:
    """(3, H, W) -> (1, H, W), the luma of ITU-R 601-2; a grey image keeps its values."""
    from PIL import Image

    return np.asarray(Image.fromarray(np.moveaxis(rgb, 0, 2)).convert("L"))[None]


def decode_each(
    pictures: Sequence[Picture], indices: Iterable[int], decode: Callable[[int], T]
) -> tuple[dict[int, T], dict[int, str | None]]:
    """Index -> result of `decode`, and index -> why a file cannot be read (None for a text file).

    In threads: Pillow releases the interpreter lock while it decodes.
    """
    results: dict[int, T] = {}
    broken: dict[int, str | None] = {}

    def attempt(index: int) -> None:
        try:
            results[index] = decode(index)
        except MemoryError:
            raise RunFailed(
                f"data.root: {pictures[index].name} does not fit into memory while it is decoded; make it smaller first"
            ) from None
        except Exception as error:  # Pillow's decoders raise any class on a broken file
            broken[index] = _why(pictures[index], error)

    with any_size(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(attempt, indices):
            pass
    return results, broken


def _decode(picture: Picture, size: tuple[int, int], how: Rendering | None) -> Images | Use:
    """The picture as (3, *size); its use, if it needs the rule of the set and `how` is None."""
    from PIL import Image, ImageOps

    with opened(picture) as image:
        height, width = size
        image.draft("RGB", (2 * width, 2 * height))  # a JPEG is decoded at a fraction of its size
        with room_for(image):
            wide = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())) and not image.mode.startswith("I")
            turned = upright(image)
            if how is None and (use := use_of(turned, wide)):
                return use
            square = ImageOps.fit(rendered(turned, how or Rendering()), (width, height), Image.Resampling.BILINEAR)
        return np.moveaxis(np.asarray(square), 2, 0)


def upright_size(picture: Picture) -> tuple[int, int]:
    """(height, width) of an image that can be read, turned as its EXIF says."""
    with any_size(), opened(picture) as image:
        sideways = (_orientation(image) or 1) >= 5
        return (image.width, image.height) if sideways else (image.height, image.width)


@contextmanager
def opened(picture: Picture) -> "Iterator[PillowImage]":
    from PIL import Image

    with picture.open() as file, Image.open(file) as image:
        yield image


@contextmanager
def any_size() -> Iterator[None]:
    """Within it, Pillow has no warnings and no limit on pixels, which ignore `draft`; `room_for` has our limit."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata of images that can be decoded
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def room_for(image: "PillowImage") -> AbstractContextManager[object]:
    """Hold this while the image is decoded: one large image at a time. Raises ValueError if it is too large."""
    pixels = image.width * image.height
    if pixels > LARGEST:
        raise ValueError(f"{image.width:,} x {image.height:,} pixels are too many; make it smaller first")
    return _one_large if pixels > LARGE else nullcontext()


def upright(image: "PillowImage") -> "PillowImage":
    from PIL import Image

    turn = _orientation(image)
    return image.transpose(Image.Transpose[TURNS[turn - 2]]) if turn else image


def _orientation(image: "PillowImage") -> int | None:
    """From 2 to 8; None if the image is upright."""
    try:
        turn = image.getexif().get(ORIENTATION)
    except Exception:  # viewers ignore a broken EXIF block too
        return None
    return turn if isinstance(turn, int) and 2 <= turn <= 8 else None


def _why(picture: Picture, error: Exception) -> str | None:
    """Why a file that raised this cannot be read; None if it is a text without an image's ending."""
    from PIL import UnidentifiedImageError

    if not isinstance(error, UnidentifiedImageError):
        reason = getattr(error, "strerror", None) or one_line(str(error)) or type(error).__name__
        return shortened(reason, LONGEST_REASON)
    with picture.open() as file:
        beginning = file.read(BEGINNING)
    if is_text(beginning) and not picture.has_suffix:
        return None
    return kind_of(beginning) or "its format is not known"


def unreadable(pictures: Sequence[Picture], faults: Mapping[int, str], what: str) -> str:
    """A sentence with the first files that are not `what`, and their number. Equal reasons in a row are given once."""
    order = sorted(faults)
    line = f"{pictures[order[0]].name} is not {what} that can be read ({faults[order[0]]})"
    more = [
        pictures[index].name + (f" ({faults[index]})" if faults[index] != faults[before] else "")
        for before, index in pairwise(order)
    ]
    return f"{line}, nor are {_first(more, NAMED - 1)}: {len(faults):,} files" if more else line


def _first(names: Sequence[str], most: int = NAMED) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def rendering(uses: Mapping[str, Use], given: Rendering | None = None) -> tuple[Rendering, list[str]]:
    """The rule for a set in which the images of these names have these uses, unless it is given; and notes on it.

    Raises BadInput if colours of 16 bits per channel would be dark: Pillow reads the upper 8 bits only.
    """
    how, notes = Rendering(), []
    deep, wide, alpha = ([use for use in uses.values() if use.kind == kind] for kind in ("deep", "wide", "alpha"))
    if wide and max(use.high for use in wide) < 64:
        raise bad_files(
            f"{next(name for name, use in uses.items() if use in wide)} has 16 bits per channel but uses at most the "
            "lowest 14 of them and would look black; save such images with 8 bits per channel"
        )
    if deep:
        least, greatest = min(use.low for use in deep), max(use.high for use in deep)
        low, high = given[:2] if given else scale(least, greatest)
        how = Rendering(low, high)
        notes.append(
            f"values from {least:g} to {greatest:g} in {_count(deep)} of more than 8 bits: "
            f"{low:g} is shown as 0 and {high:g} as 255 in all of them"
        )
    if alpha:
        # white; black if a drawing is near white; grey if another is near black too
        white, black = all(use.low < 192 for use in alpha), all(use.high > 63 for use in alpha)
        ground = given.ground if given else 255 if white else 0 if black else 128
        how = how._replace(ground=ground)
        name = {255: "white", 0: "black"}.get(ground, "grey")
        notes.append(f"{_count(alpha)} with transparent parts: laid on {name}")
    return given or how, notes


def _count(some: Sequence[Use]) -> str:
    return f"{len(some):,} image{'s' * (len(some) > 1)}"


def scale(low: float, high: float) -> tuple[float, float]:
    """The values that become 0 and 255: a usual range if the set's values use half of it or more, else low and high."""
    top = next((top for top in RANGES if low >= 0 and high <= top), None)
    if top is not None and (high - low >= top / 2 or low >= high):
        return 0, top
    return (low, high) if high > low else (low - 1, high + 1)


def use_of(image: "PillowImage", wide: bool) -> Use | None:
    """None for an opaque image of 8 bits per channel."""
    if _is_deep(image):
        values = np.asarray(image)
        finite = values[np.isfinite(values)]
        return Use("deep", float(finite.min()), float(finite.max())) if finite.size else Use("deep", inf, -inf)
    if wide:
        return Use("wide", 0, float(np.asarray(image.convert("RGB")).max()))
    if not image.has_transparency_data:
        return None
    rgba = np.asarray(image.convert("RGBA"))
    alpha, grey = rgba[..., 3], rgba[..., :3].mean(2)
    if alpha.min() == 255:
        return None
    visible = grey[alpha >= OPAQUE] if alpha.max() >= OPAQUE else grey[alpha > 0]
    return Use("alpha", float(visible.min()), float(visible.max())) if visible.size else Use("alpha", 0, 255)


def rendered(image: "PillowImage", how: Rendering) -> "PillowImage":
    """The image in RGB."""
    from PIL import Image

    if _is_deep(image):
        return Image.fromarray(to_bytes(np.asarray(image), how.low, how.high)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    drawing = image.convert("RGBA")
    ground = Image.new("RGBA", drawing.size, (how.ground,) * 3 + (255,))
    return Image.alpha_composite(ground, drawing).convert("RGB")


def _is_deep(image: "PillowImage") -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def to_bytes(values: Array, low: float, high: float) -> Images:
    """low .. high -> 0 .. 255; of a range of whole bits the upper 8 are kept."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    if (low, high) in [(0, top) for top in RANGES[1:]]:
        scaled = np.floor(values * (256 / (high + 1)))
    else:
        scaled = np.round((values.astype(np.float64) - low) * (255 / (high - low)))
    return np.clip(scaled, 0, 255).astype(np.uint8)
