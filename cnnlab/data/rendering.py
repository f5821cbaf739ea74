"""Values of more than 8 bits, and transparent parts -> 8-bit RGB, by one rule for all images of a set.

The rule depends on what the whole set uses, so that any two of its images can be compared, and it is reported.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from cnnlab.data.kinds import bad_files

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Images: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Array: TypeAlias = np.ndarray[Any, Any]

RANGES = (1, 255, 1023, 4095, 16383, 65535)
"""The greatest values of numbers in 0 .. 1 and of 8, 10, 12, 14 and 16 bits."""
OPAQUE = 128
"""Pixels with at least this alpha are the visible part of a drawing."""


class Use(NamedTuple):
    """The least and the greatest value of an image that a rule for the whole set is needed for."""

    kind: Literal["deep", "wide", "alpha"]
    """Grey of more than 8 bits, colour of 16 bits per channel, or transparent in parts."""
    low: float
    high: float


class Rendering(NamedTuple):
    """The values that become 0 and 255, and the grey level below transparent parts."""

    low: float = 0
    high: float = 65535
    ground: int = 255


def rendering(uses: Mapping[str, Use]) -> tuple[Rendering, list[str]]:
    """The rule for a set in which the images of these names have these uses, and notes on it.

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
        low, high = scale(least, greatest)
        how = Rendering(low, high)
        notes.append(
            f"values from {least:g} to {greatest:g} in {_count(deep)} of more than 8 bits: "
            f"{low:g} is shown as 0 and {high:g} as 255 in all of them"
        )
    if alpha:
        # white; black if a drawing is near white; grey if another is near black too
        white, black = all(use.low < 192 for use in alpha), all(use.high > 63 for use in alpha)
        ground, name = (255, "white") if white else (0, "black") if black else (128, "grey")
        how = how._replace(ground=ground)
        notes.append(f"{_count(alpha)} with transparent parts: laid on {name}")
    return how, notes


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
