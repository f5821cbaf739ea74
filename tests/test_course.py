"""The commands of docs/course.md run in their order, in their smallest form."""

import re
import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import Result

from cnnlab.data import builtin

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "course.md").read_text()
SECTIONS = {part.partition("\n")[0]: re.findall(r"^\$ cnnlab (.*)$", part, re.M) for part in PAGE.split("\n## ")}
MAKERS = {
    run: command
    for commands in SECTIONS.values()
    for command in commands
    for run in re.findall(r"--run-dir (\S+)", command)
}
"""Run -> the command that makes it; later sections use it too."""
SMALL = {
    "train": ("--epochs", "1", "-s", "data.train_size=32", "--batch-size", "8", "-q"),
    "compare": ("--dry-run",),
    "lr-find": ("--seeds", "1", "--steps", "20"),
}


@pytest.mark.parametrize("section", [name for name, commands in SECTIONS.items() if commands])
def test_the_commands_of_a_section_run(
    section: str, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    Path("experiments").symlink_to(ROOT / "experiments")
    monkeypatch.setattr(builtin, "TRAIN", 120)
    monkeypatch.setattr(builtin, "TEST", 60)
    commands = SECTIONS[section]
    used = dict.fromkeys(run for command in commands for run in re.findall(r"\bruns/\w[\w-]*", command))
    earlier = [MAKERS[run] for run in used if MAKERS[run] not in commands]
    for command in earlier + commands:
        done = cli(*smallest(shlex.split(command)))
        assert done.exit_code == 0, f"{command}: {done.output}"


def smallest(words: list[str]) -> list[str]:
    """The command with the options of SMALL in place of its own."""
    kept = list(words)
    for option, value in pairwise(words):
        if option in ("--epochs", "--batch-size") or value.startswith("data.train_size="):
            at = kept.index(option) if option != "-s" else kept.index(value) - 1
            del kept[at : at + 2]
    return [*kept, *SMALL.get(words[0], ())]


def test_the_page_has_the_sections_of_the_course_in_its_order_and_its_pictures() -> None:
    titles = re.findall(r"^## (.*)$", PAGE, re.M)
    assert titles == [
        "A Bit of History",
        "Rosenblatt's Perceptron",
        "Backpropagation and Stochastic Gradient Descent",
        "Activation Functions",
        "Training Parameters",
        "Adaptative learning methods",
        "Regularization Methods",
        "Convolutional Neural Networks",
        "Convolutional Architectures",
        "Deep Nets and Representations",
        "CNN from the Inside",
        "CNN Applications",
    ]
    pictures = re.findall(r"\((images/\S+)\)", PAGE)
    assert len(pictures) > 8
    for picture in pictures:
        assert (ROOT / "docs" / picture).exists(), picture
