"""A search space: ranges and choices of settings; some have a condition on another choice."""

import itertools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeGuard

Params: TypeAlias = dict[str, Any]
"""A point of a space: name of a dimension -> value of its setting."""

MOST_POINTS = 100_000
"""The largest size of a grid."""


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    integer: bool = False
    complement: bool = False
    """`log` means the log of 1 - value."""

    def __contains__(self, value: Any) -> bool:
        return _is_number(value) and bool(self.low <= value <= self.high)

    def position(self, value: float) -> float:
        """The position of a value in the range, on its scale: 0 at `low`, 1 at `high`."""
        low, high, here = (self._scaled(number) for number in (self.low, self.high, value))
        return (here - low) / (high - low)

    def at(self, position: float) -> float:
        """The inverse of `position`; integers are rounded."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        scaled = low + position * (high - low)
        value = scaled if not self.log else 1 - math.exp(-scaled) if self.complement else math.exp(scaled)
        return round(value) if self.integer else value

    def nearest(self, value: Any) -> float | None:
        """The value itself if it is inside, else the nearer end; None if it is not a number."""
        return min(max(value, self.low), self.high) if _is_number(value) else None

    def to_json(self) -> dict[str, Any]:
        marks = {key: True for key in ("log", "integer", "complement") if getattr(self, key)}
        return {"low": self.low, "high": self.high, **marks}

    def __str__(self) -> str:
        scale = (" (log of 1 - value)" if self.complement else " (log)") if self.log else ""
        return f"{self.low:g} .. {self.high:g}{scale}"

    def _scaled(self, value: float) -> float:
        if not self.log:
            return value
        return -math.log(1 - value) if self.complement else math.log(value)


@dataclass(frozen=True)
class Choices:
    """One of these values."""

    values: tuple[Any, ...]

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    def nearest(self, value: Any) -> Any | None:
        """The value itself if it is a choice, else the nearest number; None if that or the value is no number."""
        if value in self.values:
            return value
        numbers = [choice for choice in self.values if _is_number(choice) and _is_number(value)]
        return min(numbers, key=lambda choice: abs(choice - value), default=None)

    def to_json(self) -> list[Any]:
        return list(self.values)

    def __str__(self) -> str:
        return ", ".join(str(value) for value in self.values)


@dataclass(frozen=True)
class Condition:
    """The setting `path` has one of these values."""

    path: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Dimension:
    """One setting and its domain."""

    name: str
    """Unique in the space: the setting's path, or section.kind.key if only that kind has this dimension."""
    path: str
    domain: Range | Choices
    only: Condition | None = None
    offered: bool = field(default=False, compare=False)
    """Whether it is a default range, which may be cut to what the data allows."""


@dataclass(frozen=True)
class Space:
    """Dimensions; a setting comes before the dimensions with a condition on it."""

    dimensions: tuple[Dimension, ...]

    def choose(self, pick: Callable[[Dimension], Any]) -> Params:
        """A point: `pick` gives the value of each dimension whose condition holds, in order."""
        params: Params = {}
        for dimension in self.dimensions:
            if self._applies(dimension, params):
                params[dimension.name] = pick(dimension)
        return params

    def settings(self, params: Params) -> dict[str, Any]:
        """A point as settings: dotted path -> value."""
        return {self[name].path: value for name, value in params.items()}

    def contains(self, params: Params) -> bool:
        """Whether a point of another space is one of this space; dimensions are matched by name."""
        known = {dimension.name for dimension in self.dimensions}
        try:
            mine = self.choose(lambda dimension: params[dimension.name])
        except KeyError:
            return False
        return set(mine) == set(params) & known == set(params) and all(mine[n] in self[n].domain for n in mine)

    def points(self) -> Iterator[Params]:
        """Every point, in order; all dimensions have to be choices."""
        points: Iterator[Params] = iter([{}])
        for dimension in self.dimensions:
            points = self._extended(points, dimension)
        return points

    def _extended(self, points: Iterator[Params], dimension: Dimension) -> Iterator[Params]:
        assert isinstance(dimension.domain, Choices)
        for point in points:
            if self._applies(dimension, point):
                yield from ({**point, dimension.name: value} for value in dimension.domain.values)
            else:
                yield point

    @property
    def size(self) -> int | None:
        """The number of points, at most MOST_POINTS; None if a dimension is a range."""
        if not all(isinstance(dimension.domain, Choices) for dimension in self.dimensions):
            return None
        return sum(1 for _ in itertools.islice(self.points(), MOST_POINTS))

    def to_json(self) -> dict[str, Any]:
        """As plain data: two spaces are equal if this is."""
        return {
            dimension.name: {
                "path": dimension.path,
                "domain": dimension.domain.to_json(),
                **({"only": [dimension.only.path, *dimension.only.values]} if dimension.only else {}),
            }
            for dimension in self.dimensions
        }

    @classmethod
    def from_json(cls, space: dict[str, Any]) -> "Space":
        """The inverse of `to_json`."""
        dimensions = []
        for name, values in space.items():
            domain = values["domain"]
            only = Condition(values["only"][0], tuple(values["only"][1:])) if "only" in values else None
            parsed = Choices(tuple(domain)) if isinstance(domain, list) else Range(**domain)
            dimensions.append(Dimension(name, values["path"], parsed, only))
        return cls(tuple(dimensions))

    def __getitem__(self, name: str) -> Dimension:
        return next(dimension for dimension in self.dimensions if dimension.name == name)

    def _applies(self, dimension: Dimension, params: Params) -> bool:
        return dimension.only is None or params.get(dimension.only.path) in dimension.only.values


def is_finite(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number; True and False are not."""
    return _is_number(value) and abs(value) <= sys.float_info.max


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
