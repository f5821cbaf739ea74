"""The design's table of imports held against the code; a module that is started by its name counts as imported."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import cnnlab

ROOT = Path(cnnlab.__file__).parent

FLOOR_0 = {
    "errors",
    "seeds",
    "metrics",
    "intervals",
    "records",
    "config",
    "process",
    "result",
    "interrupts",
    "files",
    "page",
    "look",
}
FLOOR_0 |= {""}
FLOOR_1 = FLOOR_0 | {"data", "models", "tasks", "tracking"}
FLOOR_2 = FLOOR_1 | {"training"}
MAY_IMPORT: dict[str, set[str]] = {
    "process": set(),
    "errors": set(),
    "seeds": {"errors"},
    "result": set(),
    "page": set(),
    "look": {"errors"},
    "files": {"process"},
    "interrupts": {"errors", "process"},
    "metrics": set(),
    "intervals": set(),
    "records": {"errors", "metrics"},
    "config": {"errors", "metrics"},
    "data": FLOOR_0,
    "models": FLOOR_0,
    "tasks": FLOOR_0 | {"models"},
    "tracking": FLOOR_0,
    "training": FLOOR_0 | {"data", "models", "tasks"},
    "run": FLOOR_2,
    "reading": FLOOR_2 | {"run"},
    "courier": FLOOR_0 | {"tracking", "run", "reading"},
    "work": FLOOR_2 | {"courier", "run", "reading"},
    "search": FLOOR_2 | {"run", "courier", "work"},
    "comparison": FLOOR_2 | {"run", "search", "reading", "work"},
    "lab": FLOOR_2 | {"run", "search", "reading", "work", "comparison"},
    "api": FLOOR_2 | {"run", "work", "search", "comparison", "reading"},
    "cli": FLOOR_2 | {"run", "courier", "work", "search", "comparison", "reading", "lab", "api"},
}
"""Room -> the rooms of cnnlab that it may import beside itself; "" is the package's own face."""

AT_HOME = {
    "mlflow": {"tracking"},
    "optuna": {"search"},
    "torch": {"data", "models", "tasks", "training", "run", "reading", "search", "lab", "api"},
}
"""A library -> the only rooms that may import it."""

OPTUNAS_INTERNALS = "search/optuna_internals.py"

HEAVY = {"torch", "torchvision", "mlflow", "optuna", "PIL", "matplotlib", "sklearn", "plotext", "rich"}

HEAVY_DISPLAYS = {
    "comparison_display",
    "description_display",
    "filtering_display",
    "inspection_display",
    "run_display",
    "runs_display",
    "sweep_display",
    "terminal",
}
"""The modules of cli/display that import Rich; commands import them in their bodies."""

PATHS = sorted(ROOT.rglob("*.py"))
NAMES = {".".join(("cnnlab", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): p for p in PATHS}
MODULE = re.compile(r"\bcnnlab(?:\.\w+)+")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(name: str) -> str:
    """`cnnlab.search.plan` -> search; what `python -m cnnlab` starts is the command line."""
    room = name.partition(".")[2].partition(".")[0]
    return {"__main__": "cli", "__init__": ""}.get(room, room)


def imported(tree: ast.AST) -> set[str]:
    """Modules by their whole names, wherever a file imports them; of `from package import module`, it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in NAMES else node.module or "")
    return found


def started_by_name(tree: ast.AST) -> set[str]:
    """Modules named in strings: a subprocess's `-m`, `import_module`, a fork server's preloads, code given to `-c`."""
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            found.update(word for word in MODULE.findall(node.value) if word in NAMES)
        elif isinstance(node, ast.List | ast.Tuple):
            words = [part.value if isinstance(part, ast.Constant) else None for part in node.elts]
            found.update("cnnlab.__main__" for pair in pairwise(words) if pair == ("-m", "cnnlab"))
    return found


def used(path: Path, *, for_types: bool = True) -> set[str]:
    """What a file imports and starts.

    Args:
        for_types: whether what only a type checker imports counts.
    """
    tree = ast.parse(path.read_text())
    if not for_types:
        tree = Running().visit(tree)
    return imported(tree) | started_by_name(tree)


class Running(ast.NodeTransformer):
    """Without `if TYPE_CHECKING:`."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node


def test_what_is_started_by_its_name_is_seen() -> None:
    code = """
'''Starts cnnlab.run, says this docstring.'''
COMMAND = (sys.executable, "-m", "cnnlab.courier")
subprocess.run([sys.executable, "-m", "cnnlab", "sync"])
import_module(f"cnnlab.cli.{name}")
context.set_forkserver_preload(["cnnlab.search.workers"])
subprocess.run(["python", "-c", "from cnnlab.work import Training"])
tags["cnnlab.status"] = "cnnlab"
"""
    assert started_by_name(ast.parse(code)) == {
        "cnnlab.courier",
        "cnnlab.__main__",
        "cnnlab.cli",
        "cnnlab.search.workers",
        "cnnlab.work",
    }


def test_every_room_has_its_floor() -> None:
    assert {room_of(name) for name in NAMES} <= {*MAY_IMPORT, ""}


@pytest.mark.parametrize("path", PATHS, ids=relative)
def test_a_file_imports_only_what_its_floor_may(path: Path) -> None:
    here = room_of(".".join(("cnnlab", *path.relative_to(ROOT).with_suffix("").parts)))
    for name in used(path):
        top = name.partition(".")[0]
        if top == "cnnlab" and here:
            there = room_of(name)
            assert there == here or there in MAY_IMPORT[here], f"{path.name} imports {name}"
        if top in AT_HOME:
            assert here in AT_HOME[top], f"{path.name} imports {name}"


def test_optunas_private_parts_are_used_in_one_file() -> None:
    for path in (ROOT / "search").rglob("*.py"):
        text = path.read_text()
        private = [name for name in imported(ast.parse(text)) if name.startswith("optuna.") and "._" in name]
        reached = re.findall(r"\._(?:storage|study_id|trial_id|backend)\b", text)
        assert relative(path) == OPTUNAS_INTERNALS or not private + reached, f"{path.name}: {private} {reached}"


@pytest.mark.parametrize("path", sorted((ROOT / "cli").rglob("*.py")), ids=relative)
def test_a_command_imports_heavy_things_in_its_body_only(path: Path) -> None:
    if path.stem in HEAVY_DISPLAYS:
        return
    tree = ast.parse(path.read_text())
    at_the_top = {
        name
        for node in tree.body
        for name in imported(ast.Module([node], []))
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If)
    }
    assert not {name.partition(".")[0] for name in at_the_top} & HEAVY
    assert not at_the_top & {f"cnnlab.cli.display.{name}" for name in HEAVY_DISPLAYS}


def packages() -> list[str]:
    return sorted(name for name, path in NAMES.items() if path.name == "__init__.py")


def parts(package: str) -> Iterator[tuple[str, str]]:
    """(part, other part that it uses) of what lies directly in a package; the package's own face is the part ""."""

    def part(name: str) -> str | None:
        if name == package:
            return ""
        return name.removeprefix(f"{package}.").partition(".")[0] if name.startswith(f"{package}.") else None

    for name, path in NAMES.items():
        here = part(name)
        if here:  # the face shows its parts, so it uses them; no part may use the face
            yield from (
                (here, there)
                for other in used(path, for_types=False)
                if (there := part(other)) is not None and there != here
            )


@pytest.mark.parametrize("package", packages())
def test_no_circle(package: str) -> None:
    """Between the rooms, between the parts of a room, and with imports in the bodies of functions."""
    edges: dict[str, set[str]] = {}
    for here, there in parts(package):
        edges.setdefault(here, set()).add(there)
    if package == "cnnlab":  # the version, and the verbs of the Python API, which import in bodies
        edges = {here: there - {""} for here, there in edges.items()}
    done: set[str] = set()

    def visit(part: str, way: tuple[str, ...]) -> None:
        assert part not in way, " -> ".join([*way, part])
        if part not in done:
            for other in sorted(edges.get(part, ())):
                assert other, f"{package}.{part} imports from {package} itself"
                visit(other, (*way, part))
            done.add(part)

    for part in edges:
        visit(part, ())
