"""A claim: what it says, the arms that test it, and what is expected of them; read from a YAML file."""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from cnnlab.config import RunConfig, changed, collected, read_config
from cnnlab.config.messages import explain, nearest
from cnnlab.config.reading import read_yaml_mapping
from cnnlab.config.section import Section
from cnnlab.errors import BadInput, quoted
from cnnlab.intervals import LEAST
from cnnlab.search.plan import digest_of

HERE = Path("experiments/claims")
"""In a clone."""
PACKED = Path(__file__).parent / "claims"
"""Their copy in an installed package."""
OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
SIGNS = {ast.Gt: ">", ast.Lt: "<", ast.Eq: "=="}
MEASURES = (
    *("best_score", "last_score", "last_loss", "loss_rise", "gap", "loss_noise", "epochs_to", "trains"),
    *("first_gradient", "images_per_second", "shift_drop", "linear_probe", "low_frequencies"),
)
"""What can be measured of a run: functions of `measures.py`, which imports PyTorch."""
EXACT = ("parameters", "first_parameters", "first_outputs", "size_kept")
"""What is arithmetic, so that nothing has to be trained for it."""
NUMBERS = {"epochs_to": "target", "trains": "target", "shift_drop": "pixels"}
"""Those that take a number."""


class Form(Section):
    """What may be different with --quick."""

    base: dict[str, Any] = Field({})
    arms: dict[str, dict[str, Any]] = Field({})
    over: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field({}, max_length=1)
    expect: dict[str, str | list[str]] = Field({})
    seeds: int = Field(5, ge=LEAST, le=100)
    note: str = ""


class ClaimFile(Form):
    claim: str
    section: str
    quick: Form = Form()


@dataclass(frozen=True)
class Expectation:
    """A relation between the arms, in what one measure says of them."""

    measure: str
    """As written: a name, or a name with numbers, as in `epochs_to(0.9)`."""
    relation: str
    """As in `batch - batch_bad < none - none_bad`."""

    @property
    def exact(self) -> bool:
        """Whether the measure is arithmetic."""
        return self.call[0] in EXACT

    @cached_property
    def call(self) -> tuple[str, tuple[float, ...]]:
        """The measure's name and its numbers. Raises ValueError if it has another form."""
        node = ast.parse(self.measure, mode="eval").body
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return node.func.id, tuple(map(_number, node.args))
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


def _number(node: ast.expr) -> float:
    """Raises ValueError for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    raise ValueError(f"{ast.unparse(node)} is not a number")


def _value(node: ast.expr, values: Mapping[str, float | None]) -> float | None:
    """Raises ValueError for anything but arms, numbers, and + - * / of them."""
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.Constant):
        return _number(node)
    if not isinstance(node, ast.BinOp) or type(node.op) not in OPERATIONS:
        raise ValueError(f"{ast.unparse(node)} is no sum or product of arms and numbers")
    left, right = _value(node.left, values), _value(node.right, values)
    divided_by_0 = isinstance(node.op, ast.Div) and right == 0
    return None if left is None or right is None or divided_by_0 else OPERATIONS[type(node.op)](left, right)


@dataclass(frozen=True)
class Claim:
    """One claim, in its full form or its quick one."""

    name: str
    claim: str
    """One sentence."""
    section: str
    """Of the course page."""
    arms: Mapping[str, RunConfig]
    written: Mapping[str, Mapping[str, Any]]
    """Arm -> its settings as the file has them: dotted path -> value."""
    over: tuple[str, tuple[Any, ...]] | None
    """A setting and its values: each arm is trained with each of them, and its value is the mean over them."""
    trainings: Mapping[str, Sequence[tuple[str, RunConfig]]]
    """Arm -> the names and configs of what is trained for it, on each seed."""
    expect: tuple[Expectation, ...]
    seeds: int
    note: str
    """Why the verdict may be another one than the page's; shown with such a verdict."""
    quick: bool = False

    @property
    def study(self) -> str:
        """A name that only the same trainings have; `expect` may be changed without training anything again."""
        # The digest is of the file's words and not of the whole configs: a setting that a later version adds would
        # rename all studies. The studies keep the whole configs, so a default that changed is refused, not continued.
        identity = {"arms": self.written, "over": self.over, "seeds": self.seeds}
        return f"lab-{self.name}{'-quick' * self.quick}-{digest_of(identity)}"

    @property
    def exact(self) -> bool:
        """Whether nothing has to be trained for it."""
        return all(part.exact for part in self.expect)


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
    values = read_yaml_mapping(path)
    try:
        _check_keys(values)
        file = ClaimFile.model_validate(values)
        changes = file.quick.model_dump(exclude_unset=True) if quick else {}
        base = {**_flat(file.base), **_flat(changes.get("base", {}))}
        form = file.model_copy(update=changes)
        written = {
            arm: {**base, **_flat(settings), **_flat(changes.get("arms", {}).get(arm, {}))}
            for arm, settings in file.arms.items()
        }
        arms = {arm: _config(settings, arm) for arm, settings in written.items()}
        over = next(((setting, tuple(some)) for setting, some in form.over.items()), None)
        return Claim(
            name=name,
            claim=file.claim,
            section=file.section,
            arms=arms,
            written=written,
            over=over,
            trainings={arm: _trainings(arm, config, over) for arm, config in arms.items()},
            expect=_expectations(form.expect, arms),
            seeds=form.seeds,
            note=form.note,
            quick=quick,
        )
    except ValidationError as error:
        raise BadInput(f"{path}: {explain(error, values)}") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _check_keys(values: dict[str, Any]) -> None:
    quick = values.get("quick")
    for keys, form in ((values, ClaimFile), (quick if isinstance(quick, dict) else {}, Form)):
        known = list(form.model_fields)
        for key in keys:
            if key not in known:
                raise BadInput(f"{key}: unknown key; known are {', '.join(known)}{nearest(str(key), known)}")
    if missing := [key for key in ("claim", "section", "arms", "expect") if not values.get(key)]:
        raise BadInput(f"{missing[0]}: missing; a claim has claim, section, arms and expect")


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Nested as in an experiment, or dotted paths -> dotted paths."""
    return collected((path, value, path) for path, value in settings.items())


def _config(settings: dict[str, Any], arm: str) -> RunConfig:
    try:
        return read_config(None, settings)[0]
    except BadInput as error:
        raise BadInput(f"arms.{arm}: {error}") from None


def _trainings(arm: str, config: RunConfig, over: tuple[str, tuple[Any, ...]] | None) -> list[tuple[str, RunConfig]]:
    if over is None:
        return [(arm, config)]
    setting, values = over
    try:
        return [(f"{arm}-at-{value}", changed(config, {setting: value})) for value in values]
    except BadInput as error:
        raise BadInput(f"over: {error}") from None


def _expectations(expect: Mapping[str, str | list[str]], arms: Mapping[str, RunConfig]) -> tuple[Expectation, ...]:
    return tuple(
        _expectation(measure, relation, arms)
        for measure, relations in expect.items()
        for relation in ([relations] if isinstance(relations, str) else relations)
    )


def _expectation(measure: str, relation: str, arms: Mapping[str, RunConfig]) -> Expectation:
    part = Expectation(measure, relation)
    try:
        _check_measure(*part.call)
        if unknown := [arm for arm in part.names if arm not in arms]:
            raise ValueError(f"{unknown[0]} is not an arm; they are {', '.join(arms)}")
        if not part.names:
            raise ValueError(f"it names no arm; they are {', '.join(arms)}")
        part.at(dict.fromkeys(arms, 1.0))
        if part.sides[1] == "==" and not part.exact:
            raise ValueError("== is for measures of arithmetic; use < or >")
    except (ValueError, SyntaxError, OverflowError) as error:
        raise BadInput(f"expect.{measure}: {quoted(relation)}: {error}") from None
    return part


def _check_measure(name: str, numbers: tuple[float, ...]) -> None:
    known = (*MEASURES, *EXACT)
    if name not in known:
        raise ValueError(f"no such measure; known are {', '.join(known)}{nearest(name, known)}")
    if len(numbers) != (name in NUMBERS):
        raise ValueError(f"{name} takes {NUMBERS.get(name, 'no number')}, but got {len(numbers)} numbers")
