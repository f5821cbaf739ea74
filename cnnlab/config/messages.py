"""Error messages about a config, one line each: the field, its value, what is allowed, and the nearest known name."""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cnnlab.config.run_config import FLAGS, REGISTRIES, RunConfig, classes_of
from cnnlab.config.section import FAMILY
from cnnlab.errors import quoted, shortened

SYNONYMS = {
    "arch": "model.name",
    "augmentation": "data.augment",
    "clip": "training.clip_norm",
    "criterion": "loss.name",
    "data": "data.dataset",
    "early_stopping": "training.patience",
    "filters": "model.channels",
    "gpu": "cuda",
    "image_size": "data.resize",
    "learning_rate": "optimizer.lr",
    "num_workers": "place.workers",
    "optim": "optimizer.name",
    "random_state": "training.seed",
    "scheduler": "schedule.name",
    "units": "model.hidden",
    "warmup": "schedule.warmup_epochs",
    "wd": "optimizer.weight_decay",
}
"""The name of a setting or a value in other tools -> its name here."""


def explain(error: ValidationError, values: dict[str, Any]) -> str:
    """The first problem of `error` in one line; alternatives of one field (as of a union) are joined."""
    problems = error.errors(include_url=False)
    path = _path(problems[0], values)
    same_field = [problem for problem in problems if _path(problem, values) == path]
    first = same_field[0]
    name = ".".join(path)
    if first["type"] == "extra_forbidden":
        return _unknown_key(path, first)
    if first["type"] == "union_tag_invalid":
        return unknown_kind(f"{name}.name", name, first["ctx"]["tag"])
    if first["type"] == "value_error":
        return f"{name}: " * bool(name) + str(first["ctx"]["error"])
    if first["type"] == "union_tag_not_found" and isinstance(first["input"], dict):
        return f"{name}.name: {quoted(first['input'].get('name'))} is not allowed; it must be a word"
    if first["type"] in ("model_type", "model_attributes_type", "union_tag_not_found"):
        hint = f"; did you mean {name}.name?" if name in REGISTRIES else ""
        return f"{name}: {quoted(first['input'])} is not allowed; it must be a mapping of settings{hint}"
    rules = " or ".join(dict.fromkeys(_rule(problem) for problem in same_field))
    value, kinds = first["input"], {problem["type"] for problem in same_field}
    suggestion = ""
    if isinstance(value, str) and kinds & {"literal_error", "string_pattern_mismatch"}:
        suggestion = nearest(value, rules.replace("'", "").replace(" or ", ", ").split(", "))
    elif isinstance(value, str | int | float) and kinds & {"list_type", "tuple_type"}:
        suggestion = f"; did you mean [{value}]?"
    return f"{name}: {quoted(value)} is not allowed; it must be {rules}{suggestion}"


def unknown_kind(where: str, section: str, name: str, known: Iterable[str] = ()) -> str:
    """The message about a name that the section's registry, or `known` instead, does not have."""
    known = list(dict.fromkeys(known or REGISTRIES[section]))
    hint = nearest(name, known)
    for tag, entry in REGISTRIES[section].items():
        for start in entry.members:
            if name.lower().startswith(start.lower()):
                hint = f"; did you mean {tag.removesuffix(FAMILY)}{start}{name[len(start) :].lower()}?"
    return f"{where}: {quoted(name)} is unknown; it must be one of {', '.join(known)}{hint}"


def no_such_setting(name: str) -> str:
    """The end of a message about a setting that does not exist."""
    hint = nearest(name, [*FLAGS, *settings()])
    return f"there is no such setting{hint or '; cnnlab train --dry-run prints all settings'}"


def settings() -> list[str]:
    """The dotted path of each setting."""
    kinds = [(section, kind) for section in RunConfig.model_fields for kind in classes_of(section)]
    return ["name", *dict.fromkeys(f"{section}.{key}" for section, kind in kinds for key in kind.model_fields)]


def nearest(word: str, known: Iterable[str]) -> str:
    """The words `; did you mean X?` if a known name is near, else no words."""
    close = closest(word, known)
    return f"; did you mean {close}?" if close else ""


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known name, or dotted path, that a word most likely means; None if none is near.

    Capitals and hyphens do not matter. The last part of a path is enough; so is the word of another tool.
    """
    word, known = word.lower().replace("-", "_"), list(known)
    whole = {name.lower().replace("-", "_"): name for name in reversed(known)}
    named = {path.rpartition(".")[2]: name for path, name in whole.items()} | whole
    meant = SYNONYMS.get(word.rpartition(".")[2], word)
    for guess in (meant, meant.rpartition(".")[2]):
        if guess in named:
            return named[guess]
    return next((named[close] for close in get_close_matches(word, named, n=1)), None)


def nearest_path(path: Path) -> str:
    """The words `; did you mean X?` for a path that does not exist, if a near name does."""
    missing = next((part for part in reversed((path, *path.parents)) if not os.path.exists(part)), path)
    try:
        close = get_close_matches(missing.name, os.listdir(missing.parent), n=1)
    except OSError:
        close = []
    return f"; did you mean {missing.with_name(close[0]) / path.relative_to(missing)}?" if close else ""


def _path(problem: ErrorDetails, values: Any) -> list[str]:
    """The path of the setting: pydantic's location without the names of a union's branches."""
    path = []
    for item in problem["loc"]:
        if isinstance(values, dict) and item in values:
            values = values[item]
        elif isinstance(values, list | tuple) and isinstance(item, int):
            values = values[item] if item < len(values) else None
        else:
            continue
        path.append(str(item))
    return path


def _rule(problem: ErrorDetails) -> str:
    if problem["type"] == "string_pattern_mismatch":
        *others, form = problem["ctx"]["pattern"].strip("^()$").replace(r"\d+", "N").split("|")
        return f"{', '.join(others)} or {form}" if others else f"text of the form {form}"
    if problem["type"] == "string_too_short":
        return "at least one character"
    if problem["type"] == "missing":
        return "complete, but an item is missing"
    if problem["type"].startswith("bool"):
        return "true or false"
    message = problem["msg"].replace(" after validation", "")
    for theirs, ours in (("valid tuple", "list"), ("valid list", "list"), ("valid dictionary", "mapping, NAME: ...")):
        message = message.replace(theirs, ours)
    for opening in ("Input should be ", "Tuple should have "):
        if message.startswith(opening):
            return ("a list of " if opening.startswith("Tuple") else "") + message.removeprefix(opening)
    return message[:1].lower() + message[1:]


def _unknown_key(path: list[str], problem: ErrorDetails) -> str:
    section, key = path[:-1], path[-1]
    if not section:
        known = list(RunConfig.model_fields)
        return f"{shortened(key)}: unknown setting; known are {', '.join(known)}{nearest(key, [*known, *settings()])}"
    tag = str(problem["loc"][1])
    if section[0] in REGISTRIES and tag in REGISTRIES[section[0]]:
        known = list(REGISTRIES[section[0]][tag].config.model_fields)
        owner = f"{tag} has no {key}; it takes"
    else:
        known = list(classes_of(section[0])[0].model_fields)
        owner = "unknown setting; known are"
    return f"{shortened('.'.join(path))}: {owner} {', '.join(known)}{nearest(key, known)}"
