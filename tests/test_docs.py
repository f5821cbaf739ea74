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


@pytest.mark.parametrize("page", ["config", "files"])
def test_a_page_that_is_rendered_is_up_to_date(page: str) -> None:
    script = ROOT / "docs" / f"render_{page}.py"
    rendered = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / f"{page}.md").read_text() == rendered.stdout, f"python {script} > docs/{page}.md"


def test_every_file_says_what_it_is_for() -> None:
    for row in (ROOT / "docs" / "files.md").read_text().split("```")[1].splitlines():
        assert not row or len(row.split()) > 1, row


def test_the_readmes_links_and_pictures_are_there() -> None:
    links = [part.split(")")[0] for part in README.split("](")[1:]]
    assert len(links) > 4
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_readmes_yaml_is_an_experiment() -> None:
    for block in README.split("```yaml\n")[1:]:
        RunConfig.model_validate(yaml.safe_load(block.split("```")[0]))
