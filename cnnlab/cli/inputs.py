"""What a command reads: an experiment, or a folder of images in its place, with the flags laid over it."""

from pathlib import Path
from typing import Any

from cnnlab.cli.messages import complain
from cnnlab.config import RunConfig, read_config
from cnnlab.config.flags import FLAGS


def taken_flags(options: dict[str, Any]) -> dict[str, str | None]:
    """Take the flags of settings out of all that Click has read."""
    return {flag: options.pop(flag) for flag in FLAGS}


def read_experiment(experiment: Path | None, settings: dict[str, Any]) -> RunConfig:
    """The config of a file, or of a folder of images, with `settings` over it; what is left out is said on stderr.

    Raises:
        BadInput: naming the field, the value and what is allowed.
    """
    config, notes = read_config(experiment, settings)
    for note in notes:
        complain(note)
    return config
