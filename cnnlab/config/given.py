"""A config as Python code gives it: a `RunConfig`, plain values, or a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from cnnlab.config.reading import read_config
from cnnlab.config.run import RunConfig

Given: TypeAlias = RunConfig | Mapping[str, Any] | str | Path | None
"""None is all defaults. Values are nested as in YAML, or have dotted paths: `{"optimizer.lr": 0.1}`."""


def config_given(config: Given) -> RunConfig:
    """The config that is meant. Raises BadInput naming the field, the value and what is allowed."""
    if isinstance(config, RunConfig):
        return config
    if isinstance(config, str | Path):
        return read_config(Path(config), {})[0]
    return read_config(None, dict(config or {}))[0]
