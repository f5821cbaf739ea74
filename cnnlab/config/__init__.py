"""What one run is, and reading it from YAML and flags."""

from cnnlab.config.data import DataConfig
from cnnlab.config.losses import LossConfig
from cnnlab.config.reading import as_config, changed, flat, flatten, parse_value, read_config, to_yaml
from cnnlab.config.run import QUESTIONS, PlaceConfig, RunConfig, TrainingConfig

__all__ = [
    "QUESTIONS",
    "DataConfig",
    "LossConfig",
    "PlaceConfig",
    "RunConfig",
    "TrainingConfig",
    "as_config",
    "changed",
    "flat",
    "flatten",
    "parse_value",
    "read_config",
    "to_yaml",
]
