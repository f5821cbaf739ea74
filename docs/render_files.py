"""Print docs/files.md: the tree of files, each with the first line of its docstring."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WIDTH = 34
HEADING = """# The files

Each with the first line of its docstring, by `python docs/render_files.py > docs/files.md`.

"""


def purpose(file: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]


def lines(folder: Path, depth: int = 0) -> Iterator[str]:
    """A folder by its `__init__.py`, then what lies in it, folders last."""
    yield line(f"{folder.name}/", purpose(folder / "__init__.py"), depth)
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py":
            yield line(file.name, purpose(file), depth + 1)
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from lines(inner, depth + 1)


def line(name: str, text: str, depth: int) -> str:
    return f"{'    ' * depth + name:{WIDTH}} {text}".rstrip()


if __name__ == "__main__":
    trees = [*lines(ROOT / "cnnlab"), "", *lines(ROOT / "benchmarks")]
    print(HEADING + "```\n" + "\n".join(trees) + "\n```")
