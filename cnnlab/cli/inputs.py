"""What a command reads: an experiment with the flags laid over it."""

from pathlib import Path
from typing import Any

from cnnlab.cli.messages import complain
from cnnlab.config import RunConfig, read_config
from cnnlab.config.data import DATASETS
from cnnlab.config.flags import FLAGS
from cnnlab.errors import BadInput


def taken_flags(options: dict[str, Any]) -> dict[str, str | None]:
    """Take the flags of settings out of all that Click has read."""
    return {flag: options.pop(flag) for flag in FLAGS}


def read_experiment(experiment: Path | None, settings: dict[str, Any]) -> RunConfig:
    """The config of a file, or of a folder of images, with `settings` over it; what is left out is said on stderr.

    Raises:
        BadInput: naming the field, the value and what is allowed.
    """
    if experiment is not None and experiment.is_dir():
        settings, experiment = _of_folder(experiment, settings), None
    config, notes = read_config(experiment, settings)
    for note in notes:
        complain(note)
    return config


def _of_folder(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings for images in `folder`, which was given in place of an experiment."""
    dataset = str(settings.get("data.dataset", "folder"))
    if "data.root" in settings or (dataset in DATASETS and DATASETS[dataset].root != "own"):
        raise BadInput(
            f"{folder}: a folder in place of an experiment means --dataset folder --data-root {folder}; leave out the "
            f"{'--data-root' if 'data.root' in settings else f'--dataset {dataset}'} that was given too"
        )
    return {**settings, "data.dataset": dataset, "data.root": str(folder)}
