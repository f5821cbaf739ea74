"""The base class of all sections of a config, and sections of several kinds, which a registry knows by name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class Section(BaseModel):
    """A section of a config: frozen, strict about types, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Ranges = dict[str, Any]
"""A setting -> {low, high, log} or a list of choices, as in YAML."""

CLASSIFICATION = ("classification",)
SEGMENTATION = ("segmentation",)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The config's knowledge of one model, optimizer, schedule or loss."""

    config: type[Section]
    search: Ranges = field(default_factory=dict)
    """The default ranges of a sweep."""
    members: tuple[str, ...] = ()
    """With what a library's names begin. Here each needs the library's prefix: vgg16 is torchvision/vgg16."""
    tasks: tuple[str, ...] | None = None
    """Its tasks; None for any task."""


FAMILY = "NAME"
"""The end of the key of an entry for all names of a library: torchvision/NAME."""


def tag_of(registry: Mapping[str, Entry], name: str) -> str:
    """The key of the entry for `name`; the name itself if there is none."""
    families = (tag for tag in registry if tag.endswith(FAMILY) and name.startswith(tag.removesuffix(FAMILY)))
    return name if name in registry else next(families, name)


@dataclass(frozen=True)
class OneOf:
    """Annotates a section that is one of a registry's classes, chosen by its `name`; without one, `default`."""

    registry: Mapping[str, Entry]
    default: str

    def __get_pydantic_core_schema__(self, source: type[Section], handler: GetCoreSchemaHandler) -> CoreSchema:
        branches = {name: handler.generate_schema(entry.config) for name, entry in self.registry.items()}
        return core_schema.tagged_union_schema(branches, discriminator=self._tag)

    def _tag(self, value: Any) -> str | None:
        name = value.get("name", self.default) if isinstance(value, dict) else getattr(value, "name", None)
        return tag_of(self.registry, name) if isinstance(name, str) else None


@dataclass(frozen=True)
class NameIn:
    """Annotates text that is one of these names."""

    names: Iterable[str]

    def __get_pydantic_core_schema__(self, source: type[str], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))
