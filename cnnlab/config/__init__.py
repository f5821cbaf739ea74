"""What one run is, and reading it from YAML and flags."""

from cnnlab.config.data import DataConfig
from cnnlab.config.reading import (
    Given,
    as_config,
    changed,
    collected,
    config_given,
    flat,
    flatten,
    parse_yaml,
    read_config,
    to_yaml,
)
from cnnlab.config.run_config import QUESTIONS, RunConfig

__all__ = [
    "QUESTIONS",
    "DataConfig",
    "Given",
    "RunConfig",
    "as_config",
    "changed",
    "collected",
    "config_given",
    "flat",
    "flatten",
    "parse_yaml",
    "read_config",
    "to_yaml",
]
