"""The experiments that are shipped run as they stand; each in its smallest form, where its data is at hand."""

import os
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from cnnlab.config import read_config
from cnnlab.config.arms import read_arms
from cnnlab.config.space_reading import read_space
from cnnlab.data import load
from cnnlab.data.published import DEBIAN
from cnnlab.records import RunEnded
from cnnlab.training import Learner, fit

FOLDER = Path(__file__).parents[1] / "experiments"
FILES = sorted(FOLDER.glob("*.yaml"))
SMALLEST = {"training.epochs": 1, "data.train_size": 64, "data.batch_size": 16, "schedule.warmup_epochs": 0}


def test_the_promised_experiments_are_there() -> None:
    names = {"digits", "fashion_mnist", "cifar10_resnet20", "own_images", "shapes", "shapes_masks", "sweep", "compare"}
    assert {path.stem for path in FILES} == names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_loads_and_says_what_it_shows_and_how_long_it_takes(path: Path) -> None:
    read_config(path, {})
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert 2 <= len(comments) <= 6
    assert any("Takes:" in line for line in comments)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_trains_in_its_smallest_form(path: Path) -> None:
    if path.stem == "cifar10_resnet20":
        pytest.skip("its images have to be downloaded")
    if path.stem in ("fashion_mnist", "sweep", "compare") and not DEBIAN["fashion_mnist"].exists():
        pytest.skip("needs Debian's package: apt-get install dataset-fashion-mnist")
    for index in range(80):  # own_images.yaml looks for a folder of this name
        for green, name in enumerate(("cats", "dogs")):
            picture = Path("pictures", name, f"{index}.png")
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (index, green, 0)).save(picture)
    config, _ = read_config(path, SMALLEST)
    dataset = load(config.data, 0)
    *_, last = fit(Learner(config, dataset))
    assert isinstance(last, RunEnded)
    assert last.status == "finished"


@pytest.mark.parametrize("path", [path for path in FILES if "search:" in path.read_text()], ids=lambda path: path.stem)
def test_each_space_can_be_searched(path: Path) -> None:
    config, _ = read_config(path, {})
    assert read_space(config).dimensions


def test_the_comparison_has_its_arms() -> None:
    config, _ = read_config(FOLDER / "compare.yaml", {})
    _, arms = read_arms(config, None, None, 8)
    assert [arm.name for arm in arms] == ["sgd", "momentum", "rmsprop", "adam", "muon", "broken"]


@pytest.mark.parametrize("script", ["train.sbatch", "sweep.sbatch"])
def test_the_batch_scripts_are_sound_bash(script: str) -> None:
    subprocess.run(["bash", "-n", str(FOLDER / "slurm" / script)], check=True)


@pytest.mark.parametrize(
    ("script", "array", "asked"),
    [("train.sbatch", False, "7"), ("train.sbatch", True, "7_2"), ("sweep.sbatch", True, "7_2")],
)
def test_a_job_that_was_stopped_is_queued_again_and_of_an_array_this_task_alone(
    script: str, array: bool, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, code in {"cnnlab": "exit 143", "scontrol": f'echo "$@" > {tmp_path}/asked'}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{code}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # of one of an array's tasks it is that of the array
    if array:
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    words = ["bash", str(FOLDER / "slurm" / script), str(FILES[0])]
    assert subprocess.run(words, check=False).returncode == 143
    assert Path("asked").read_text() == f"requeue {asked}\n"
