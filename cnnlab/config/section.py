"""What every part of a config has in common."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of a config: frozen, strict about types, closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def by_name(default: str, tag: Callable[[str], str] = str) -> Callable[[Any], str | None]:
    """A discriminator: which class of a union a section means, by its `name` (`default` where none is given)."""

    def discriminate(value: Any) -> str | None:
        name = value.get("name", default) if isinstance(value, dict) else getattr(value, "name", None)
        return tag(name) if isinstance(name, str) else None

    return discriminate
