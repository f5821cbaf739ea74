"""The README's commands run as they stand, on fewer images."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

ROOT = Path(__file__).parents[1]
WORK = re.compile(r"(?:\$ )?(cnnlab (?:train|sweep|compare)(?: [^#]*)?)")
LINES = [WORK.fullmatch(line.partition("#")[0].strip()) for line in (ROOT / "README.md").read_text().splitlines()]
COMMANDS = sorted({found[1] for found in LINES if found} - {"cnnlab train --resume last"})

QUICK = {"--epochs": "1", "--tracking-uri": "none", "--batch-size": "16"}


def make_pictures(masks: bool) -> None:
    """What a user would have in `pictures`."""
    rng = np.random.default_rng(0)
    for index in range(40):
        image = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        files = {f"{('cats', 'dogs')[index % 2]}/{index}.jpg": image}
        if masks:
            files = {f"images/{index}.jpg": image, f"masks/{index}.png": (image[:, :, 0] > 99).astype(np.uint8)}
        for name, pixels in files.items():
            path = Path("pictures") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(command: str, cli: Callable[..., Result]) -> None:
    fashion = "fashion" in command or "experiments/" in command
    if fashion and not Path("/usr/share/datasets/fashion-mnist").exists():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    Path("experiments").symlink_to(ROOT / "experiments")
    own = "pictures" in command
    if own:
        make_pictures("mask_folder" in command)
    few = [] if own else ["-s", "data.train_size=256"]
    dry = ["--dry-run"] if not command.startswith("cnnlab train") and "--dry-run" not in command else []
    words = shlex.split(command)[1:]
    for option, value in QUICK.items():
        at = words.index(option) if option in words else len(words)
        words[at : at + 2] = [option, value]
    done = cli(*words, *few, "-q", *dry)
    assert done.exit_code == 0, done.output


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 12
