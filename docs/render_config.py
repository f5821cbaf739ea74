"""Renders docs/config.md from the fields of the config:   uv run python docs/render_config.py > docs/config.md"""

import json
from typing import Any

from cnnlab.config import RunConfig
from cnnlab.config.run_config import REGISTRIES, classes_of

INTRODUCTION = """# Every setting

Rendered from the fields in `cnnlab/config/` by `docs/render_config.py`. In an experiment file a setting is a key
of its section; on the command line it is `-s section.key=value`. `cnnlab train --help` lists those with a flag. A
setting may be given once: `--lr 0.1 -s optimizer.lr=0.2` is refused. So is a setting without effect:
`-s model.pool=none -s model.pool_size=3`. A sweep may search both, and a trial without a pool then has no size.

Names may be written in any capitals: `Adam` is `adam`, `ReLU` is `relu`. Three libraries have more: `torchvision/vgg16`
is a network of torchvision, `timm/resnet18` one of timm (the extra `timm`), `torch.optim.ASGD` a class of torch.optim
with PyTorch's own defaults, except that the learning rate is 0.001.
"""
BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def render() -> str:
    """The page as Markdown."""
    sections = [name for name in RunConfig.model_fields if classes_of(name)]
    return "\n".join([INTRODUCTION, *(block for section in sections for block in _section(section))])


def _section(section: str) -> list[str]:
    blocks = []
    for kind in classes_of(section):
        tags = ", ".join(tag for tag, entry in REGISTRIES.get(section, {}).items() if entry.config is kind)
        title = f"## {section}: {tags}" if tags else f"## {section}"
        fields = kind.model_json_schema()["properties"]
        rows = [
            f"| `{key}` | {_allowed(field)} | {_default(field)} | {_help(field)} |" for key, field in fields.items()
        ]
        blocks += [title, "", "| key | allowed | default | meaning |", "|---|---|---|---|", *rows, ""]
    return blocks


def _allowed(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_allowed(branch) for branch in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field["type"] == "array":
        item = field["items"] if "items" in field else field["prefixItems"][0]
        length = f"{len(field['prefixItems'])} of: " if "prefixItems" in field else "list of: "
        return length + _allowed(item)
    words = {
        "integer": "whole number",
        "number": "number",
        "boolean": "`true`, `false`",
        "string": "text",
        "object": "mapping of names to text",
    }
    bounds = [f"{sign} {field[key]:g}" for key, sign in BOUNDS.items() if key in field and field[key] < 2**31]
    return " ".join([words.get(field["type"], "`null`"), " and ".join(bounds)]).strip()


def _default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return "required"
    value = field["default"]
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _help(field: dict[str, Any]) -> str:
    return str(field.get("description", "")).replace("|", "\\|")


if __name__ == "__main__":
    print(render(), end="")
