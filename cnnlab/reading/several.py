"""Several runs side by side: the settings that differ, a row of values for each, and rows chosen by a condition.

Configs are plain values, as journals hold them, so that runs of another version can be read too.
"""

import ast
import operator
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from cnnlab.config import RunConfig, as_config, flat, flatten
from cnnlab.config.messages import nearest
from cnnlab.config.run_config import FLAGS, REGISTRIES, is_place
from cnnlab.errors import BadInput, CnnlabError, quoted, shortened
from cnnlab.result import settings_text

COMPARISONS = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
FORM = "write comparisons of names, numbers and 'text' with and, or, not, as in \"epochs > 5 and lr < 0.01\""


def own_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that somebody chose: those that are not the defaults for its dataset, model, optimizer and so on."""
    settings = flatten(dict(config))
    names = tuple((section, settings.get(f"{section}.name")) for section in REGISTRIES)
    defaults = _defaults(settings.get("data.dataset"), names)
    return {path: value for path, value in settings.items() if value != defaults.get(path)}


@cache
def _defaults(dataset: str, names: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Empty if this version knows one of the names no longer."""
    with suppress(CnnlabError):
        by_dataset = flat(as_config({"data": {"dataset": dataset}}))
        by_name = flat(
            as_config({"data": {"dataset": dataset}, **{section: {"name": name} for section, name in names}})
        )
        chosen = {f"{section}.name": by_dataset[f"{section}.name"] for section, _ in names}
        return {**by_name, **chosen, "data.dataset": RunConfig().data.dataset}
    return {}


def differing(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each config, the settings in which they differ: dotted path -> value.

    A setting that follows from another one that differs (Adam's betas beside SGD) is left out. So is the place, and the
    name.
    """
    settings = [flatten(dict(config)) for config in configs]
    chosen = dict.fromkeys(path for config in configs for path in own_settings(config))
    paths = [
        path
        for path in chosen
        if path != "name" and not is_place(path) and any(one.get(path) != settings[0].get(path) for one in settings)
    ]
    paths.sort(key=lambda path: not path.endswith(".name"))  # adam, lr 0.1
    return [{path: one[path] for path in paths if path in one} for one in settings]


def labels(configs: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> list[str]:
    """A label for each run: the settings that differ; with its id if another run has the same."""
    texts = [settings_text(settings) for settings in differing(configs)]
    return [
        text if text and texts.count(text) == 1 else f"{text} ({run_id})" if text else run_id
        for text, run_id in zip(texts, ids, strict=True)
    ]


def row_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> value: the keys of `run_result`, settings by their paths, and settings by their flags."""
    settings = flatten(result["config"])
    flags = {flag: settings.get(path) for flag, path in FLAGS.items()}
    return {**settings, **flags, **{key: value for key, value in result.items() if not isinstance(value, dict)}}


def chosen(rows: Sequence[dict[str, Any]], where: str | None, sort: str | None) -> list[dict[str, Any]]:
    """The rows for which a condition holds, sorted.

    Args:
        where: a condition, as in `test_accuracy > 0.9 and lr < 0.01`. A comparison with a missing value is false.
        sort: a name, lowest value first; the highest first with a minus before it. Missing values come last.

    Raises:
        BadInput: it is not a condition, or no row has the name.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    if where is not None:
        try:
            condition = ast.parse(where.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise BadInput(f"--where {quoted(where)}: not a condition; {FORM}") from None
        rows = [row for row in rows if _holds(condition, {**dict.fromkeys(names), **row}, where)]
    if sort is None:
        return list(rows)
    name = sort.removeprefix("-")
    check_names([name], names, "--sort")
    known = [row for row in rows if row.get(name) is not None]
    known.sort(key=lambda row: (isinstance(row[name], str), row[name] if _is_plain(row[name]) else str(row[name])))
    return [*(reversed(known) if sort != name else known), *(row for row in rows if row.get(name) is None)]


def check_names(asked: Sequence[str], known: Mapping[str, object], option: str) -> None:
    """Raises BadInput for the first name that is not known."""
    for name in asked:
        if known and name not in known:
            hint = (
                nearest(name, known) or "; names are the keys of cnnlab runs --json, and settings as lr or data.resize"
            )
            raise BadInput(f"{option}: no run has {quoted(name)}{hint}")


def _holds(node: ast.expr, row: Mapping[str, Any], where: str) -> bool:
    if isinstance(node, ast.BoolOp):
        return (all if isinstance(node.op, ast.And) else any)([_holds(part, row, where) for part in node.values])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _holds(node.operand, row, where)
    if not isinstance(node, ast.Compare) or not all(type(op) in COMPARISONS for op in node.ops):
        raise BadInput(f"--where {quoted(where)}: {shortened(ast.unparse(node))} is not a comparison; {FORM}")
    values = [_value(part, row, where) for part in (node.left, *node.comparators)]
    if None in values:
        return False
    try:
        return all(COMPARISONS[type(op)](a, b) for op, a, b in zip(node.ops, values, values[1:], strict=False))
    except TypeError:
        raise BadInput(
            f"--where {quoted(where)}: {' and '.join(map(quoted, values))} cannot be compared; {FORM}"
        ) from None


def _value(node: ast.expr, row: Mapping[str, Any], where: str) -> Any:
    if isinstance(node, ast.Name | ast.Attribute):
        name = ast.unparse(node)
        if name not in row:
            check_names([name], row, f"--where {quoted(where)}")
        return row[name]
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise BadInput(f"--where {quoted(where)}: {shortened(ast.unparse(node))} is not a value; {FORM}") from None


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float | str)
