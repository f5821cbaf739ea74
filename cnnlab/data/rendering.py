"""Values of more than 8 bits, and transparent parts -> 8-bit RGB, by one rule for all images of a set.

The rule depends on what the whole set uses, so that any two of its images can be compared, and it is reported.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from cnnlab.data.kinds import bad_files

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Images: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Array: TypeAlias = np.ndarray[Any, Any]

RANGES = (1, 255, 1023, 4095, 16383, 65535)
"""The greatest values of floats in 0 .. 1 and of 8, 10, 12, 14 and 16 bits."""
OPAQUE = 128
"""Pixels with at least this alpha are the visible part of a drawing."""


@dataclass(frozen=True)
class Use:
    """The least and the greatest value of an image that a rule for the whole set is needed for."""

    kind: str
    """"whole" numbers of more than 8 bits, "real" numbers, "wide": colour with 16 bits per channel, or "alpha"."""
    low: float
    high: float


@dataclass(frozen=True)
class Rendering:
    """The values that become 0 and 255, and the grey level below transparent parts."""

    whole: tuple[float, float] = (0, 65535)
    real: tuple[float, float] = (0, 1)
    ground: int = 255
    notes: tuple[str, ...] = ()


def rendering(uses: Iterable[Use]) -> Rendering:
    """The rule for a set with these images."""
    by_kind: dict[str, list[Use]] = {}
    for use in uses:
        by_kind.setdefault(use.kind, []).append(use)
    scales, notes, ground = {}, [], 255
    for kind in ("whole", "real"):
        if some := by_kind.get(kind):
            low, high = min(use.low for use in some), max(use.high for use in some)
            scales[kind] = bottom, top = scale(kind, low, high)
            notes.append(
                f"values from {low:g} to {high:g} in {_count(some)} of more than 8 bits: "
                f"{bottom:g} is shown as 0 and {top:g} as 255 in all of them"
            )
    if some := by_kind.get("alpha"):
        ground = _ground(some)
        name = {255: "white", 128: "grey", 0: "black"}[ground]
        notes.append(f"{_count(some)} with transparent parts: laid on {name}")
    return Rendering(**scales, ground=ground, notes=tuple(notes))


def _count(some: Sequence[Use]) -> str:
    return f"{len(some):,} image{'s' * (len(some) > 1)}"


def scale(kind: str, low: float, high: float) -> tuple[float, float]:
    """The values that become 0 and 255: a usual range if a set from low to high uses at least half of it, else these.

    kind: "whole" or "real" numbers.
    """
    usual = RANGES if kind == "real" else RANGES[1:]
    top = next((top for top in usual if low >= 0 and high <= top), None)
    if top is not None and (high - low >= top / 2 or low >= high):
        return 0, top
    return (low, high) if high > low else (low - 1, high + 1)


def _ground(some: Sequence[Use]) -> int:
    """White; black if a drawing is near white; grey if another is near black too."""
    if all(use.low < 192 for use in some):
        return 255
    return 0 if all(use.high > 63 for use in some) else 128


def check_wide(uses: Mapping[str, Use]) -> None:
    """Raises BadInput if colour images of 16 bits per channel would be dark: Pillow reads the upper 8 bits only."""
    wide = {name: use.high for name, use in uses.items() if use.kind == "wide"}
    if wide and max(wide.values()) < 64:
        raise bad_files(
            f"{next(iter(wide))} has 16 bits per channel but uses at most the lowest 14 of them and would look black; "
            "save such images with 8 bits per channel"
        )


def use_of(image: "PillowImage", wide: bool) -> Use | None:
    """None for an opaque image of 8 bits per channel."""
    if _is_deep(image):
        values = np.asarray(image)
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (math.inf, -math.inf)
        return Use("real" if image.mode == "F" else "whole", low, high)
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
        low, high = how.real if image.mode == "F" else how.whole
        return Image.fromarray(to_bytes(np.asarray(image), low, high)).convert("RGB")
    if image.has_transparency_data:
        drawing = image.convert("RGBA")
        if drawing.getchannel("A").getextrema() != (255, 255):
            ground = Image.new("RGBA", drawing.size, (how.ground,) * 3 + (255,))
            return Image.alpha_composite(ground, drawing).convert("RGB")
    return image.convert("RGB")


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
