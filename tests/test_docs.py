"""The documents say what the code does."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cnnlab.cli import COMMANDS
from cnnlab.config import RunConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("command", [*COMMANDS, "train --resume", "train --help"])
def test_the_readme_shows_every_command(command: str) -> None:
    assert f"cnnlab {command}" in README


@pytest.mark.parametrize("path", sorted((ROOT / "cnnlab").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_readmes_tree_has_every_file(path: Path) -> None:
    tree = README.partition("## The files")[2]
    assert path.name.startswith("__") or path.name in tree


def test_the_readmes_tree_has_no_file_that_is_not_there() -> None:
    tree = README.partition("## The files")[2].split("```")[1]
    files = [word for word in tree.split() if word.endswith(".py")]
    assert len(files) > 40
    for name in files:
        assert any(list((ROOT / top).rglob(name)) for top in ("cnnlab", "benchmarks")), name


def test_the_readmes_links_and_pictures_are_there() -> None:
    links = [part.split(")")[0] for part in README.split("](")[1:]]
    assert len(links) > 4
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_readmes_yaml_is_an_experiment() -> None:
    for block in README.split("```yaml\n")[1:]:
        RunConfig.model_validate(yaml.safe_load(block.split("```")[0]))


def test_the_page_of_settings_is_what_the_fields_say() -> None:
    rendered = subprocess.run(
        [sys.executable, ROOT / "docs" / "render_config.py"], capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs" / "config.md").read_text() == rendered.stdout
