"""What is wrong with a config, as one line: the field, the value, what is allowed, and the nearest known name."""

import os
from difflib import get_close_matches
from pathlib import Path
from re import fullmatch
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cnnlab.config.moved import MOVED
from cnnlab.config.run import REGISTRIES, RunConfig, classes_of
from cnnlab.errors import BadInput


def check_name(name: str, where: str) -> None:
    """Raises BadInput for a name that a path or a shell would not take as it is."""
    if not fullmatch(r"[a-zA-Z0-9_-]+", name):
        raise BadInput(f"{where}: a name is made of letters, digits, - and _")


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
        allowed = [tag.strip("'") for tag in first["ctx"]["expected_tags"].split(", ")]
        return f"{name}.name: {first['ctx']['tag']!r} is unknown; it must be one of {', '.join(allowed)}" + nearest(
            first["ctx"]["tag"], allowed
        )
    if first["type"] == "value_error":
        return _prefixed(name, str(first["ctx"]["error"]))
    if first["type"] == "union_tag_not_found" and isinstance(first["input"], dict):
        return f"{name}.name: {first['input'].get('name')!r} is not allowed; it must be a word"
    if first["type"] in ("model_type", "model_attributes_type", "union_tag_not_found"):
        return f"{name}: {first['input']!r} is not allowed; it must be a mapping of settings"
    rules = " or ".join(dict.fromkeys(_rule(problem) for problem in same_field))
    value = first["input"]
    suggestion = ""
    if isinstance(value, str) and any(problem["type"] == "literal_error" for problem in same_field):
        suggestion = nearest(value, rules.replace("'", "").replace(" or ", ", ").split(", "))
    return f"{name}: {value!r} is not allowed; it must be {rules}{suggestion}"


def no_such_setting(name: str, known: list[str]) -> str:
    """The end of a line about a setting that does not exist."""
    return f"there is no such setting{nearest(name, known) or '; cnnlab train --dry-run prints all that there are'}"


def nearest(word: str, known: list[str]) -> str:
    """Returns "; did you mean X?" if a known name is near, else nothing."""
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def nearest_path(path: Path) -> str:
    """Returns "; did you mean X?" for a path that does not exist, if a near name does."""
    missing = next((part for part in reversed((path, *path.parents)) if not os.path.exists(part)), path)
    try:
        close = get_close_matches(missing.name, os.listdir(missing.parent), n=1)
    except OSError:
        close = []
    return f"; did you mean {missing.with_name(close[0]) / path.relative_to(missing)}?" if close else ""


def _path(problem: ErrorDetails, values: Any) -> list[str]:
    """Where the problem is, as a user writes it: pydantic's location less the names of a union's branches."""
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
        return f"text of the form {problem['ctx']['pattern'].strip('^$')}"
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
    if new := MOVED.get(".".join(path)):
        return f"{'.'.join(path)}: it is {new} now, which is given too; leave one of them out"
    if not section:
        known = list(RunConfig.model_fields)
        homes = [f"{s}.{key}" for s in known if any(key in c.model_fields for c in classes_of(s))]
        hint = f"; did you mean {homes[0]}?" if homes else nearest(key, known)
        return f"{key}: unknown setting; known are {', '.join(known)}{hint}"
    tag = str(problem["loc"][1])
    if section[0] in REGISTRIES and tag in REGISTRIES[section[0]]:
        known = list(REGISTRIES[section[0]][tag].config.model_fields)
        owner = f"{tag} has no {key}; it takes"
    else:
        known = list(classes_of(section[0])[0].model_fields)
        owner = "unknown setting; known are"
    return f"{'.'.join(path)}: {owner} {', '.join(known)}{nearest(key, known)}"


def _prefixed(name: str, message: str) -> str:
    return f"{name}: {message}" if name else message
