"""The design's table of imports held against the code."""

import ast
from pathlib import Path

import pytest

import cnnlab

ROOT = Path(cnnlab.__file__).parent
GROUND = {"errors", "seeds", "metrics", "records", "config", "process", ""}
MAY_IMPORT = {
    "process": set(),
    "errors": set(),
    "seeds": set(),
    "metrics": set(),
    "records": {"metrics"},
    "config": {"errors", "metrics"},
    "data": GROUND,
    "models": GROUND,
    "tasks": GROUND,
    "tracking": GROUND,
    "training": GROUND | {"data", "models", "tasks"},
    "provenance": GROUND,
    "run": GROUND | {"data", "models", "tasks", "tracking", "training", "provenance"},
    "search": GROUND | {"data", "models", "tracking", "training", "run"},
    "reading": GROUND | {"data", "models", "tracking", "training", "run"},
    "comparison": GROUND | {"data", "models", "tracking", "training", "run", "search", "reading"},
    "courier": GROUND | {"tracking", "run", "reading"},
    "cli": GROUND | {"data", "models", "tracking", "training", "run", "search", "reading", "comparison", "courier"},
}
"""Room -> the rooms of cnnlab that it may import beside itself; "" is the package's own version."""

AT_HOME = {
    "mlflow": {"tracking"},
    "optuna": {"search"},
    "torch": {"data", "models", "tasks", "training", "run", "provenance", "search"},
}
"""A library -> the only rooms that may import it."""

HEAVY = {"torch", "torchvision", "mlflow", "optuna", "PIL", "matplotlib", "sklearn", "plotext", "rich"}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(node.module or "")
            if node.module == "cnnlab":
                names.update(f"cnnlab.{alias.name}" for alias in node.names if alias.name != "__version__")
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_floor_may(path: Path) -> None:
    here = room(path)
    if here in ("__init__", "__main__"):
        return
    for name in imported(ast.parse(path.read_text())):
        top, _, rest = name.partition(".")
        if top == "cnnlab":
            there = rest.partition(".")[0]
            assert there == here or there in MAY_IMPORT[here], f"{path.name} imports {name}"
        if top in AT_HOME:
            assert here in AT_HOME[top], f"{path.name} imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "cli").rglob("*.py")), ids=lambda path: path.name)
def test_a_command_imports_heavy_things_in_its_body_only(path: Path) -> None:
    if path.name in ("live.py", "history.py", "console.py"):  # themselves imported in bodies only
        return
    tree = ast.parse(path.read_text())
    at_the_top = {
        name.partition(".")[0]
        for node in tree.body
        for name in imported(ast.Module([node], []))
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If)
    }
    assert not at_the_top & HEAVY


def test_the_imports_between_modules_have_no_circle() -> None:
    names = {
        ".".join(("cnnlab", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): p for p in modules()
    }
    edges = {}
    for name, path in names.items():
        tree = ast.parse(path.read_text())
        top_level = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        edges[name] = imported(ast.Module(top_level, [])) & set(names) - {name, "cnnlab"}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in sorted(edges[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in names:
        visit(name, ())
