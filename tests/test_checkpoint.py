"""Checkpoints: what is sealed comes back, and what was damaged is noticed and passed over."""

import json
from pathlib import Path

import pytest
import torch

from cnnlab.training.checkpoint import Checkpoint, load_latest, seal

FOLDER = Path("checkpoints")


def checkpoint(step: int) -> Checkpoint:
    values = {"progress": {"step": step, "best": None}, "optimizer": {}}
    return Checkpoint({"w": torch.full((3, 2), float(step)), "n": torch.tensor(step)}, values)


def newest(up_to: int = 10**6) -> int | None:
    loaded = load_latest(FOLDER, up_to)
    if loaded is None:
        return None
    step: int = loaded.values["progress"]["step"]
    assert torch.equal(loaded.tensors["w"], checkpoint(step).tensors["w"])
    return step


def test_the_newest_comes_back_and_two_are_kept() -> None:
    assert newest() is None
    for step in (10, 20, 30):
        seal(FOLDER, step, checkpoint(step))
    assert newest() == 30
    assert newest(up_to=29) == 20
    assert sorted(p.name for p in FOLDER.iterdir()) == [
        f"step-000000{step}.{kind}" for step in (20, 30) for kind in ("json", "safetensors")
    ]


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def put_values(values: object) -> None:
    path = FOLDER / "step-00000020.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "values": values}))


DAMAGES = {
    "flipped byte": lambda: flip_a_byte(FOLDER / "step-00000020.safetensors"),
    "truncated tensors": lambda: (FOLDER / "step-00000020.safetensors").write_bytes(b"short"),
    "missing tensors": lambda: (FOLDER / "step-00000020.safetensors").unlink(),
    "garbled json": lambda: (FOLDER / "step-00000020.json").write_text("{"),
    "empty json": lambda: (FOLDER / "step-00000020.json").write_text("{}"),
    "another step": lambda: put_values({"progress": {"step": 21, "best": None}, "optimizer": {}}),
    "killed between the two files": lambda: (FOLDER / "step-00000020.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_passed_over(damage: str) -> None:
    seal(FOLDER, 10, checkpoint(10))
    seal(FOLDER, 20, checkpoint(20))
    DAMAGES[damage]()
    assert newest() == 10


def test_where_no_whole_one_is_left_the_run_begins_again_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    seal(FOLDER, 20, checkpoint(20))
    put_values({"progress": {"step": 20, "best": 0}, "optimizer": {}})
    assert newest() is None
    assert [record.getMessage() for record in caplog.records] == [
        "checkpoint checkpoints/step-00000020.json is damaged (its SHA-256 is not the one that was sealed) and passed "
        "over",
        "no checkpoint in checkpoints is whole: the run begins again at its first step",
    ]


def test_channels_last_tensors_keep_their_values() -> None:
    tensor = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    seal(FOLDER, 1, Checkpoint({"t": tensor}, checkpoint(1).values))
    loaded = load_latest(FOLDER, 1)
    assert loaded is not None
    assert torch.equal(loaded.tensors["t"], tensor)
