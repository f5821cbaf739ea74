"""YAML as experiments need it: numbers are decimal, a repeated key is an error, and nothing but plain data is built."""

import os
import re
import select
import stat
from pathlib import Path
from typing import Any

import yaml

from cnnlab.config.messages import nearest_path
from cnnlab.errors import LONGEST_REASON, BadInput, one_line, quoted, shortened

INT, FLOAT, BOOL = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool"))
INT_PATTERN = re.compile(r"^[-+]?[0-9]+$")
FLOAT_PATTERN = re.compile(
    r"^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
)
"""An integer matches it too."""
FIRST = list("-+.0123456789")
"""How a number begins."""
BOOL_PATTERN = re.compile(r"^(true|True|TRUE|false|False|FALSE)$")
MOST_BYTES = 2**20
"""Of an experiment."""
MOST_VALUES = 100_000
"""Of a document, each as often as aliases repeat it: 500 bytes of them can stand for 10^9."""
PATIENCE = 10.0
"""Seconds that a pipe may be silent."""
NOT_PLAIN = ("binary", "timestamp", "set", "omap", "pairs")
"""What SafeLoader builds beside words, numbers, lists and mappings."""


class _Loader(yaml.SafeLoader):
    """SafeLoader for plain data, with YAML 1.2's decimal numbers and booleans and without repeated keys.

    To YAML 1.1, 1e-4 is text, 064 is 52, 08 is 8.0, 1_0 is 10, 1:30 is 90 and no is false.
    """

    def construct_document(self, node: yaml.Node) -> Any:
        if _count(node, {}) > MOST_VALUES:
            raise yaml.YAMLError(f"it has more than {MOST_VALUES:,} values, each alias counted; write fewer")
        self.deep_construct = True  # then a value that contains itself is an error
        return super().construct_document(node)

    def refuse(self, node: yaml.Node) -> None:
        kind = node.tag.rpartition(":")[2]
        raise yaml.constructor.ConstructorError(
            None, None, f"no setting takes YAML's {kind}; in quotes it is text", node.start_mark
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
_Loader.add_implicit_resolver(INT, INT_PATTERN, FIRST)  # before the other: the first that matches counts
_Loader.add_implicit_resolver(FLOAT, FLOAT_PATTERN, FIRST)
_Loader.add_implicit_resolver(BOOL, BOOL_PATTERN, list("tTfF"))
_Loader.add_constructor(INT, _Loader.construct_decimal)
for _kind in NOT_PLAIN:
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.refuse)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that puts text into quotes if `_Loader`, or a reader of YAML 1.1, would read something else."""


_Dumper.add_implicit_resolver(FLOAT, FLOAT_PATTERN, FIRST)


def dump_yaml(values: dict[str, Any]) -> str:
    """The YAML text of plain data, in its order."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110)


def parse_yaml(text: str) -> Any:
    """Plain data from YAML text. Raises BadInput, in one line, for all else."""
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
        raise BadInput(f"{path}: an experiment is a mapping of settings, but this file holds {type(values).__name__}")
    return values


def _read(path: Path) -> bytes:
    """All of a file, or of a pipe as `<(...)` makes one.

    Raises:
        BadInput: it is something else, it is too large, or nobody writes to the pipe.
        OSError: it cannot be read.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
        raise BadInput(f"{path}: neither a file nor a pipe, so it cannot hold an experiment")
    # a pipe that nobody has opened for writing is opened at once too; a file takes no notice
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
        content = b""
        while len(content) <= MOST_BYTES:
            if not select.select([file], [], [], PATIENCE)[0]:
                raise BadInput(f"{path}: nobody has written to this pipe for {PATIENCE:g} s")
            if not (piece := file.read(MOST_BYTES)):
                return content
            content += piece
    raise BadInput(f"{path}: larger than {MOST_BYTES >> 20} MiB, so it is no experiment")


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """The values in a node, itself among them; `known` has those that were counted already, by their ids."""
    if id(node) not in known:
        known[id(node)] = 1  # of a node that contains itself, until it is counted
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for one in inner for part in (one if isinstance(one, tuple) else (one,))]
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(node)]
