"""A `RunConfig` from a YAML file, settings of the command line or values of Python, and back to YAML."""

import os
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError

from cnnlab.config.data import DATASETS, DataConfig
from cnnlab.config.messages import explain
from cnnlab.config.run_config import QUESTIONS, REGISTRIES, RunConfig, as_named, name_in
from cnnlab.config.section import tag_of
from cnnlab.config.yaml_file import dump_yaml, parse_yaml, read_yaml_mapping
from cnnlab.errors import BadInput

Given: TypeAlias = RunConfig | Mapping[str, Any] | str | Path | None
"""A config as Python code gives it: whole, as values, as a YAML file or a folder of images; None is all defaults.

Values are nested as in YAML, or have dotted paths: `{"optimizer.lr": 0.1}`.
"""


def read_config(file: Path | None, settings: dict[str, Any]) -> tuple[RunConfig, list[str]]:
    """The config of `file` (all defaults if None) with `settings` (dotted path -> value) laid over it.

    A folder in place of a file is one of images.

    If a setting names another kind of model, optimizer, schedule or loss than the file does, those of the file's
    settings that the new kind does not have are left out; the notes that come with the config name each of them.

    Raises:
        BadInput: naming the field, the value and what is allowed.
    """
    settings = collected((str(path), value, str(path)) for path, value in settings.items())
    if file and os.path.isdir(file):  # unlike Path.is_dir, not an error for a name that is too long
        settings, file = _of_folder(file, settings), None
    values = as_named(read_yaml_mapping(file)) if file else {}
    if file:
        as_config(values, f"{file}: ")
    notes = [*_leave_out_foreign(values, settings), *_leave_out_root(values, settings)]
    for path, value in settings.items():
        _set(values, path, value)
    config = as_config(values)
    _check_root_is_read(config.data)
    return config, notes


def config_given(config: Given) -> RunConfig:
    """The config that Python code means. Raises BadInput naming the field, the value and what is allowed."""
    if isinstance(config, RunConfig):
        return config
    if isinstance(config, str | Path):
        return read_config(Path(config), {})[0]
    return read_config(None, deepcopy(dict(config or {})))[0]


def collected(given: Iterable[tuple[str, Any, str]]) -> dict[str, Any]:
    """Settings by their dotted path, a section's one by one, with names in small letters.

    Args:
        given: path, value and how it was given, in words.

    Raises:
        BadInput: one is given twice, perhaps by two names.
    """
    settings: dict[str, Any] = {}
    said: dict[str, str] = {}
    for name, value, how in given:
        whole = not isinstance(value, dict) or name in QUESTIONS
        for path, part in [(name, value)] if whole else [(f"{name}.{key}", part) for key, part in value.items()]:
            if path in settings:
                raise BadInput(f"{path} is given twice, by {said[path]} and by {how}; keep one")
            settings[path], said[path] = name_in(path, part), how
    return settings


def changed(config: RunConfig, settings: dict[str, Any]) -> RunConfig:
    """`config` with `settings` (dotted path -> value) laid over it, without its `search` and `compare`.

    What was set for another kind of model, optimizer, schedule or loss is left out, as by `read_config`.

    Raises:
        BadInput: naming the field, the value and what is allowed.
    """
    values = config.model_dump(mode="json", exclude_unset=True, exclude={*QUESTIONS})
    settings = {path: name_in(path, value) for path, value in settings.items()}
    _leave_out_foreign(values, settings)
    for path, value in settings.items():
        _set(values, path, value)
    return as_config(values)


def parse_value(text: str) -> Any:
    """A value as YAML reads it: `0.1`, `[32, 64]`, `null`, `relu`. Raises BadInput."""
    return parse_yaml(text)


def to_yaml(config: RunConfig) -> str:
    """YAML that reads back as an equal config."""
    return dump_yaml(config.model_dump(mode="json", exclude_none=False))


def flat(config: RunConfig) -> dict[str, Any]:
    """Dotted path -> value, one entry per setting; lists stay lists. QUESTIONS are no settings of a run."""
    return flatten(config.model_dump(mode="json"))


def flatten(config: dict[str, Any]) -> dict[str, Any]:
    """`flat` of a config as JSON holds it."""
    flattened: dict[str, Any] = {}
    for section, values in config.items():
        if section in QUESTIONS:
            continue
        if isinstance(values, dict):
            flattened.update({f"{section}.{key}": value for key, value in values.items()})
        else:
            flattened[section] = values
    return flattened


def as_config(values: dict[str, Any], where: str = "") -> RunConfig:
    """Plain values as a config. Raises BadInput, beginning with `where`, if one of them is not allowed."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise BadInput(where + explain(error, values)) from None


def _of_folder(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings for images in `folder`, which was given in place of an experiment."""
    dataset = str(settings.get("data.dataset", "folder"))
    if "data.root" in settings or (dataset in DATASETS and DATASETS[dataset].root != "own"):
        raise BadInput(
            f"{folder}: a folder in place of an experiment means --dataset folder --data-root {folder}; leave out the "
            f"{'--data-root' if 'data.root' in settings else f'--dataset {dataset}'} that was given too"
        )
    return {**settings, "data.dataset": dataset, "data.root": str(folder)}


def _leave_out_foreign(values: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    notes = []
    for section, kinds in REGISTRIES.items():
        new = settings.get(f"{section}.name")
        given = values.get(section, {})
        tag = tag_of(kinds, new) if isinstance(new, str) else ""
        if tag not in kinds or given.get("name") == new:
            continue
        foreign = [key for key in given if key not in kinds[tag].config.model_fields]
        for key in foreign:
            del given[key]
            notes.append(f"{section}.{key} of the file is left out: {new} has none")
    return notes


def _leave_out_root(values: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    dataset, given = str(settings.get("data.dataset")), values.get("data", {})
    if dataset not in DATASETS or DATASETS[dataset].root != "unread" or given.get("root") is None:
        return []
    del given["root"]
    return [f"data.root of the file is left out: {dataset} has none"]


def _check_root_is_read(data: DataConfig) -> None:
    if data.root is not None and DATASETS[data.dataset].root == "unread":
        raise BadInput(
            f"data.root: {data.dataset} is built in and reads no folder; for images of your own in {data.root} add "
            "--dataset folder (data.dataset: folder)"
        )


def _set(values: dict[str, Any], path: str, value: Any) -> None:
    *sections, key = path.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise BadInput(f"{path}: {section} is no section, so nothing can be set in it")
    values[key] = value
