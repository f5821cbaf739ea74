"""YAML as experiments need it: 1e-4 is a number, a repeated key is an error, and nothing but plain data is built."""

import re
from pathlib import Path
from typing import Any

import yaml

from cnnlab.errors import BadInput


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's floats (1.1 reads 1e-4 as text) and without repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key must be a word, but got {key!r}", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key} is repeated", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)
# An integer matches the float pattern too and its resolver comes first in the list, so integers stay integers.


def parse_yaml(text: str) -> Any:
    """Plain data from YAML text. Raises BadInput, in one line, for all else."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise BadInput(f"{where}{_one_line(str(error.problem))}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(_one_line(str(error))) from None


def read_yaml_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping. Raises BadInput naming the file."""
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read as text ({_one_line(str(error))})") from None
    except BadInput as error:
        raise BadInput(f"{path}: not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise BadInput(f"{path}: an experiment is a mapping of settings, but this file holds {type(values).__name__}")
    return values


def _one_line(text: str) -> str:
    return " ".join(text.split())
