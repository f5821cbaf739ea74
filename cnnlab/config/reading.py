"""A `RunConfig` from YAML, settings of the command line or values of Python, and back to YAML.

The YAML is what experiments need: numbers are decimal, a repeated key is an error, and only plain values are built.
"""

import os
import re
import select
import stat
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import ValidationError

from cnnlab.config.data import DATASETS
from cnnlab.config.messages import explain, nearest_path
from cnnlab.config.run_config import NEEDS, QUESTIONS, REGISTRIES, RunConfig, as_named, name_in
from cnnlab.config.section import tag_of
from cnnlab.errors import LONGEST_REASON, BadInput, one_line, quoted, shortened

Given: TypeAlias = RunConfig | Mapping[str, Any] | str | Path | None
"""A config as Python code gives it: a `RunConfig`, values, a YAML file or a folder of images; None is all defaults.

Values are nested as in YAML, or have dotted paths: `{"optimizer.lr": 0.1}`.
"""

INT, FLOAT, BOOL = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool"))
INT_PATTERN = re.compile(r"^[-+]?[0-9]+$")
FLOAT_PATTERN = re.compile(
    r"^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
)
"""An integer matches it too."""
FIRST = list("-+.0123456789")
"""The first characters of numbers."""
BOOL_PATTERN = re.compile(r"^(true|True|TRUE|false|False|FALSE)$")
NOT_PLAIN = ("binary", "timestamp", "set", "omap", "pairs")
"""What SafeLoader builds beside words, numbers, lists and mappings."""
MOST_BYTES = 2**20
"""The size limit of a file."""
MOST_VALUES = 100_000
"""The number of values in a file, each alias counted: 500 bytes of aliases can stand for 10^9 values."""
PATIENCE = 10.0
"""Seconds to wait for the next bytes from a pipe."""


def read_config(file: Path | None, settings: dict[str, Any]) -> tuple[RunConfig, list[str]]:
    """The config of `file` (None: all defaults) with `settings` (dotted path -> value) over it, and notes.

    `file` may be a folder of images. If a setting names another model, optimizer, schedule or loss than the file, the
    file's settings that the new one does not have are left out, and so are those that lose their effect by a setting.
    There is a note for each of them.

    Raises:
        BadInput: naming the field, the value and what is allowed.
    """
    settings = collected((str(path), value, str(path)) for path, value in settings.items())
    if file and os.path.isdir(file):  # Path.is_dir raises for a name that is too long
        settings, file = _of_folder(file, settings), None
    values = as_named(read_yaml_mapping(file)) if file else {}
    if file:
        as_config(values, f"{file}: ")
    notes = _put(settings, values)
    config = as_config(values)
    for path, reason in idle(config).items():
        if path in settings or NEEDS[path][0] not in settings:
            raise BadInput(f"{path}: {reason}; leave it out or change {NEEDS[path][0]}")
        notes.append(f"{path} of the file is left out: {reason}")
    config, data = _without_idle(config, values), config.data
    if data.root is not None and DATASETS[data.dataset].root == "unread":
        raise BadInput(
            f"data.root: {data.dataset} is built in and reads no folder; for images of your own in {data.root} add "
            "--dataset folder (data.dataset: folder)"
        )
    return config, notes


def config_given(config: Given) -> RunConfig:
    """The config that Python code gives. Raises BadInput naming the field, the value and what is allowed."""
    if isinstance(config, RunConfig):
        return config
    if isinstance(config, str | Path):
        return read_config(Path(config), {})[0]
    return read_config(None, deepcopy(dict(config or {})))[0]


def collected(given: Iterable[tuple[str, Any, str]]) -> dict[str, Any]:
    """Settings (dotted path -> value); sections are split into their settings, names are in small letters.

    Args:
        given: path, value, and the words by which it was given.

    Raises:
        BadInput: a setting is given twice.
    """
    settings: dict[str, Any] = {}
    words: dict[str, str] = {}
    for name, value, how in given:
        whole = not isinstance(value, dict) or name in QUESTIONS
        for path, part in [(name, value)] if whole else [(f"{name}.{key}", part) for key, part in value.items()]:
            if path in settings:
                raise BadInput(f"{path} is given twice, by {words[path]} and by {how}; keep one")
            settings[path], words[path] = name_in(path, part), how
    return settings


def changed(config: RunConfig, settings: dict[str, Any]) -> RunConfig:
    """`config` with `settings` (dotted path -> value) over it, without its `search` and `compare`.

    Settings of another model, optimizer, schedule or loss are left out, as by `read_config`, and so are all without
    effect: in a search over model.pool and model.pool_size, a trial without a pool has no size.

    Raises:
        BadInput: naming the field, the value and what is allowed.
    """
    values = config.model_dump(mode="json", exclude_unset=True, exclude={*QUESTIONS})
    _put({path: name_in(path, value) for path, value in settings.items()}, values)
    return _without_idle(as_config(values), values)


def idle(config: RunConfig) -> dict[str, str]:
    """Each setting that is not at its default and has no effect -> why."""
    settings, reasons = flat(config), {}
    for path in NEEDS:
        section, _, key = path.partition(".")
        field = type(getattr(config, section)).model_fields.get(key)
        if field and settings[path] != field.default and (other := lacking(path, settings)):
            reasons[path] = f"{quoted(settings[path])} has no effect with {other}"
    return reasons


def lacking(path: str, settings: Mapping[str, Any]) -> str:
    """What keeps a setting without effect, as in `model.pool 'none'`; empty if nothing does."""
    other, has_effect = NEEDS.get(path, ("", bool))
    return f"{other} {quoted(settings[other])}" if other in settings and not has_effect(settings[other]) else ""


def _without_idle(config: RunConfig, values: dict[str, Any]) -> RunConfig:
    """The config, of these values, without its settings that have no effect."""
    paths = [*idle(config)]
    for path in paths:
        section, _, key = path.partition(".")
        del values[section][key]
    return as_config(values) if paths else config


def to_yaml(config: RunConfig) -> str:
    """YAML that reads back as an equal config."""
    return dump_yaml(config.model_dump(mode="json", exclude_none=False))


def flat(config: RunConfig) -> dict[str, Any]:
    """Dotted path -> value of each setting; lists stay lists. QUESTIONS are left out."""
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
    """The config with these plain values. Raises BadInput, which begins with `where`, if one is not allowed."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise BadInput(where + explain(error, values)) from None


def dump_yaml(values: dict[str, Any]) -> str:
    """The YAML text of plain values, in their order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110)


def parse_yaml(text: str) -> Any:
    """Plain values from YAML text. Raises BadInput with one line if the text is anything else."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        problem = str(error.problem).replace("found unconstructable recursive node", "a value contains itself")
        raise BadInput(f"{where}{shortened(one_line(problem), LONGEST_REASON)}") from None
    except (yaml.YAMLError, ValueError, LookupError, RecursionError) as error:  # LookupError: !!bool maybe
        raise BadInput(shortened(one_line(str(error)), LONGEST_REASON)) from None


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping. Raises BadInput naming the file."""
    try:
        text = _read(path).decode("utf-8")
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such file or folder{nearest_path(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read as text ({shortened(str(error), LONGEST_REASON)})") from None
    try:
        values = parse_yaml(text)
    except BadInput as error:
        raise BadInput(f"{path}: not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BadInput(f"{path}: an experiment is a mapping of settings, but this file has a {type(values).__name__}")
    return values


def _of_folder(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings for a folder of images that was given as the experiment."""
    dataset = str(settings.get("data.dataset", "folder"))
    if "data.root" in settings or (dataset in DATASETS and DATASETS[dataset].root != "own"):
        raise BadInput(
            f"{folder}: a folder as the experiment stands for --dataset folder --data-root {folder}; leave out "
            f"{'--data-root' if 'data.root' in settings else f'--dataset {dataset}'}"
        )
    return {**settings, "data.dataset": dataset, "data.root": str(folder)}


def _put(settings: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """Put settings (dotted path -> value) into plain values. Values of another kind are left out; returns notes."""
    notes = []
    for section, kinds in REGISTRIES.items():
        new, given = settings.get(f"{section}.name"), values.get(section, {})
        tag = tag_of(kinds, new) if isinstance(new, str) else ""
        if tag in kinds and given.get("name") != new:
            for key in [key for key in given if key not in kinds[tag].config.model_fields]:
                del given[key]
                notes.append(f"{section}.{key} of the file is left out: {new} has none")
    dataset, given = str(settings.get("data.dataset")), values.get("data", {})
    if dataset in DATASETS and DATASETS[dataset].root == "unread" and given.get("root") is not None:
        del given["root"]
        notes.append(f"data.root of the file is left out: {dataset} has none")
    for path, value in settings.items():
        *sections, key = path.split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise BadInput(f"{path}: {section} has a single value; set {section} itself")
        inner[key] = value
    return notes


def _read(path: Path) -> bytes:
    """The content of a file, or of a pipe such as `<(...)`.

    Raises:
        BadInput: it is something else, it is too large, or nobody writes to the pipe.
        OSError: it cannot be read.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
        raise BadInput(f"{path}: neither a file nor a pipe; name a YAML file or a folder of images")
    # O_NONBLOCK: opening a pipe does not wait for its writer
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
        content = b""
        while len(content) <= MOST_BYTES:
            if not select.select([file], [], [], PATIENCE)[0]:
                raise BadInput(f"{path}: nobody has written to this pipe for {PATIENCE:g} s")
            if not (piece := file.read(MOST_BYTES)):
                return content
            content += piece
    raise BadInput(f"{path}: larger than {MOST_BYTES >> 20} MiB; an experiment is a YAML file of settings")


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """The number of values in a node and of the node itself; `known`: id of a node -> its number."""
    if id(node) not in known:
        known[id(node)] = 1  # for a node that contains itself
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for one in inner for part in (one if isinstance(one, tuple) else (one,))]
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(node)]


class _Loader(yaml.SafeLoader):
    """SafeLoader for plain values, with the decimal numbers and booleans of YAML 1.2 and without repeated keys.

    In YAML 1.1, 1e-4 is text, 064 is 52, 08 is 8.0, 1_0 is 10, 1:30 is 90 and no is false.
    """

    def construct_document(self, node: yaml.Node) -> Any:
        if _count(node, {}) > MOST_VALUES:
            raise yaml.YAMLError(f"it has more than {MOST_VALUES:,} values, each alias counted; write fewer")
        self.deep_construct = True  # then a value that contains itself is an error
        return super().construct_document(node)

    def refuse(self, node: yaml.Node) -> None:
        kind = node.tag.rpartition(":")[2]
        raise yaml.constructor.ConstructorError(
            None, None, f"no setting takes YAML's {kind}; put it in quotes to make it text", node.start_mark
        )

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key must be a word, but got {quoted(key)}", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} is repeated", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (INT, FLOAT, BOOL)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(INT, INT_PATTERN, FIRST)  # before FLOAT: the first match counts
_Loader.add_implicit_resolver(FLOAT, FLOAT_PATTERN, FIRST)
_Loader.add_implicit_resolver(BOOL, BOOL_PATTERN, list("tTfF"))
_Loader.add_constructor(INT, _Loader.construct_decimal)
for _kind in NOT_PLAIN:
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.refuse)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes text which `_Loader`, or a reader of YAML 1.1, would not read as text."""


_Dumper.add_implicit_resolver(FLOAT, FLOAT_PATTERN, FIRST)
