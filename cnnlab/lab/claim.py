"""A claim: what it says, the arms that test it, and what is expected of them; read from a YAML file."""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cnnlab.config import RunConfig, changed, read_config
from cnnlab.config.messages import nearest
from cnnlab.config.reading import read_yaml_mapping
from cnnlab.errors import BadInput, quoted
from cnnlab.intervals import LEAST
from cnnlab.search.plan import digest_of, what_it_is

HERE = Path("experiments/claims")
"""In a clone."""
PACKED = Path(__file__).parent / "claims"
"""Their copy in an installed package."""
KEYS = ("claim", "section", "base", "arms", "over", "expect", "seeds", "note", "quick")
SEEDS = 5
MOST_SEEDS = 100
OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
SIGNS = {ast.Gt: ">", ast.Lt: "<", ast.Eq: "=="}


@dataclass(frozen=True)
class Expectation:
    """A relation between the arms, in what one measure says of them."""

    measure: str
    """As written: a name, or a name with numbers, as in `epochs_to(0.9)`."""
    relation: str
    """As in `batch - batch_bad < none - none_bad`."""

    @cached_property
    def call(self) -> tuple[str, tuple[float, ...]]:
        """The measure's name and its numbers. Raises ValueError if it has another form."""
        node = ast.parse(self.measure, mode="eval").body
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return node.func.id, tuple(float(ast.literal_eval(argument)) for argument in node.args)
        if not isinstance(node, ast.Name):
            raise ValueError("a measure is a name, or a name with numbers")
        return node.id, ()

    @cached_property
    def sides(self) -> tuple[ast.expr, str, ast.expr]:
        """Left, <, > or ==, right. Raises ValueError if it has another form."""
        node = ast.parse(self.relation, mode="eval").body
        if not isinstance(node, ast.Compare) or len(node.ops) != 1 or type(node.ops[0]) not in SIGNS:
            raise ValueError("a relation has one of <, > and ==")
        return node.left, SIGNS[type(node.ops[0])], node.comparators[0]

    @property
    def names(self) -> list[str]:
        """The arms in it, in their order."""
        left, _, right = self.sides
        return [node.id for side in (left, right) for node in ast.walk(side) if isinstance(node, ast.Name)]

    def at(self, values: Mapping[str, float | None]) -> tuple[float | None, float | None]:
        """The left and the right side for one value per arm; None for a side in which one is missing."""
        left, _, right = self.sides
        return _value(left, values), _value(right, values)


def _value(node: ast.expr, values: Mapping[str, float | None]) -> float | None:
    """Raises ValueError for anything but arms, numbers, and + - * / of them."""
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if not isinstance(node, ast.BinOp) or type(node.op) not in OPERATIONS:
        raise ValueError(f"{ast.unparse(node)} is no sum or product of arms and numbers")
    left, right = _value(node.left, values), _value(node.right, values)
    return None if left is None or right is None else OPERATIONS[type(node.op)](left, right)


@dataclass(frozen=True)
class Claim:
    """One claim, in its full form or its quick one."""

    name: str
    claim: str
    """One sentence."""
    section: str
    """Of the course page."""
    arms: Mapping[str, RunConfig]
    over: tuple[str, tuple[Any, ...]] | None
    """A setting and its values: each arm is trained with each of them, and its value is the mean over them."""
    expect: tuple[Expectation, ...]
    seeds: int
    note: str
    """Why the verdict may be another one than the page's; shown with such a verdict."""
    quick: bool = False

    @property
    def study(self) -> str:
        """A name that only the same trainings have; `expect` may be changed without training anything again."""
        arms = {name: what_it_is(config) for name, config in self.arms.items()}
        identity = {"arms": arms, "over": self.over, "seeds": self.seeds}
        return f"lab-{self.name}{'-quick' * self.quick}-{digest_of(identity)}"

    @property
    def trainings(self) -> dict[str, list[tuple[str, RunConfig]]]:
        """Arm -> the names and configs of what is trained for it, on each seed."""
        if self.over is None:
            return {name: [(name, config)] for name, config in self.arms.items()}
        path, values = self.over
        return {
            name: [(f"{name}-at-{value}", changed(config, {path: value})) for value in values]
            for name, config in self.arms.items()
        }


def find_claims(folder: Path | None) -> dict[str, Path]:
    """Name -> file of the claims in a folder, in the order of the files' names; 01-xor.yaml is xor.

    Args:
        folder: None for that of a clone, or else that of the installed package.

    Raises:
        BadInput: it has none.
    """
    where = folder or (HERE if HERE.is_dir() or not PACKED.is_dir() else PACKED)
    files = {re.sub(r"^\d+-", "", path.stem): path for path in sorted(where.glob("*.yaml"))}
    if not files:
        raise BadInput(
            f"--claims {where}: there are no claim files (*.yaml); work in a clone of cnnlab, or name another"
        )
    return files


def chosen_claims(names: tuple[str, ...], files: Mapping[str, Path]) -> dict[str, Path]:
    """Those with these names; all of them for `all`. Raises BadInput for a name that is not known."""
    for name in names:
        if name not in files and name != "all":
            raise BadInput(f"{quoted(name)}: no such claim; known are {', '.join(files)}{nearest(name, files)}")
    return {name: file for name, file in files.items() if name in names or "all" in names}


def read_claim(name: str, path: Path, *, quick: bool = False) -> Claim:
    """The claim in a file. Raises BadInput naming the file, the key, its value and what is allowed."""
    try:
        return _read(name, path, quick)
    except (BadInput, ValueError, SyntaxError) as error:
        raise BadInput(f"{path}: {error}") from None


def _read(name: str, path: Path, quick: bool) -> Claim:
    values = read_yaml_mapping(path)
    faster = values.pop("quick", {}) or {}
    for key in [*values, *faster]:
        if key not in KEYS:
            raise BadInput(f"{key}: unknown key; known are {', '.join(KEYS)}{nearest(key, KEYS)}")
    if missing := [key for key in ("claim", "section", "arms", "expect") if not values.get(key)]:
        raise BadInput(f"{missing[0]}: missing; a claim has claim, section, arms and expect")
    for key in ("base", "arms"):
        for one in (values, faster):
            if not isinstance(one.get(key) or {}, dict):
                raise BadInput(f"{key}: {quoted(one[key])} is not a mapping of settings")
    base = {**_flat(values.get("base")), **(_flat(faster.get("base")) if quick else {})}
    changes = faster if quick else {}
    arms = {
        arm: _config({**base, **(settings or {}), **(changes.get("arms", {}).get(arm) or {})}, f"arms.{arm}")
        for arm, settings in values["arms"].items()
    }
    chosen = {**values, **changes}
    over = chosen.get("over") or {}
    seeds = chosen.get("seeds", SEEDS)
    if not isinstance(seeds, int) or not LEAST <= seeds <= MOST_SEEDS:
        raise BadInput(f"seeds: {quoted(seeds)} is not allowed; it must be a number from {LEAST} to {MOST_SEEDS}")
    if over and not (isinstance(over, dict) and [type(some) for some in over.values()] == [list]):
        raise BadInput(f"over: {quoted(over)} is not a setting with a list of values, as in optimizer.lr: [0.01, 0.1]")
    return Claim(
        name=name,
        claim=str(chosen["claim"]),
        section=str(chosen["section"]),
        arms=arms,
        over=next(((setting, tuple(some)) for setting, some in over.items()), None),
        expect=tuple(_expectations(chosen["expect"], arms)),
        seeds=seeds,
        note=str(chosen.get("note") or ""),
        quick=quick,
    )


def _flat(settings: dict[str, Any] | None) -> dict[str, Any]:
    """Nested as in an experiment, or dotted paths -> dotted paths."""
    flattened: dict[str, Any] = {}
    for key, value in (settings or {}).items():
        flattened.update({f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value})
    return flattened


def _config(settings: dict[str, Any], where: str) -> RunConfig:
    try:
        return read_config(None, _flat(settings))[0]
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def _expectations(expect: Any, arms: Mapping[str, RunConfig]) -> list[Expectation]:
    from cnnlab.lab.measures import check_measure

    if not isinstance(expect, dict):
        raise BadInput(f"expect: {quoted(expect)} is not a mapping, as in best_score: relu > sigmoid")
    parts = []
    for measure, relations in expect.items():
        for relation in relations if isinstance(relations, list) else [relations]:
            part = Expectation(measure, str(relation))
            try:
                exact = check_measure(*part.call)
                if unknown := [arm for arm in part.names if arm not in arms]:
                    raise ValueError(f"{unknown[0]} is not an arm; they are {', '.join(arms)}")
                part.at(dict.fromkeys(arms, 1.0))
                if part.sides[1] == "==" and not exact:
                    raise ValueError("== is for measures of arithmetic; use < or >")
            except (ValueError, SyntaxError) as error:
                raise BadInput(f"expect.{measure}: {quoted(relation)}: {error}") from None
            parts.append(part)
    return parts
