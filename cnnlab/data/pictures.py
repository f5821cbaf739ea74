"""Image files of any size and kind -> arrays with one side."""

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

import numpy as np

from cnnlab.data.kinds import BEGINNING, bad_files, is_text, kind_of
from cnnlab.data.rendering import Images, Rendering, Use, rendered, rendering, use_of
from cnnlab.errors import LONGEST_REASON, RunFailed, one_line, shortened

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

T = TypeVar("T")

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


class Decoded(NamedTuple):
    """images: (N, 3, side, side); good: (N,) bool, which could be decoded; skipped: the number of broken ones."""

    images: Images
    good: np.ndarray[Any, np.dtype[np.bool_]]
    notes: tuple[str, ...]
    skipped: int


def decode_all(pictures: Sequence[Picture], side: int, skip_broken: bool) -> Decoded:
    """Decode to RGB, turn as EXIF says, scale the shorter side and keep the centre. No labels are needed.

    Raises BadInput if some files are no images (unless skip_broken), or the values of one cannot be shown.
    """
    images = np.zeros((len(pictures), 3, side, side), np.uint8)

    def decode(index: int, how: Rendering | None = None) -> Use | None:
        decoded = _decode(pictures[index], side, how)
        if isinstance(decoded, Use):
            return decoded
        images[index] = decoded
        return None

    first, broken = decode_each(pictures, range(len(pictures)), decode)
    uses = {index: use for index, use in sorted(first.items()) if use}
    how, notes = rendering({pictures[index].name: use for index, use in uses.items()})
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
    return Decoded(images, good, tuple(notes), len(faults))


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


def _decode(picture: Picture, side: int, how: Rendering | None) -> Images | Use:
    """The picture as (3, side, side); without a rendering perhaps what the rendering has to be made from."""
    from PIL import Image, ImageOps

    with opened(picture) as image:
        image.draft("RGB", (2 * side, 2 * side))  # a JPEG is decoded at a fraction of its size
        with room_for(image):
            wide = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())) and not image.mode.startswith("I")
            turned = upright(image)
            if how is None and (use := use_of(turned, wide)):
                return use
            square = ImageOps.fit(rendered(turned, how or Rendering()), (side, side), Image.Resampling.BILINEAR)
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
    """Without Pillow's warnings and limit on pixels, which applies before a JPEG is reduced; `room_for` has ours."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata of images that can be decoded
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def room_for(image: "PillowImage") -> AbstractContextManager[object]:
    """Hold this while the image is decoded: only one large image is at a time. Raises ValueError if it is too large."""
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
