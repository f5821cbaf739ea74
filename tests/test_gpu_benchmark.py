"""benchmarks/gpu.py: whatever of it needs no GPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import gpu  # noqa: E402

LAB = gpu.Lab("cpu", 60, **gpu.SMALL)


def test_where_there_is_no_cuda_device_it_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    command = [sys.executable, gpu.__file__, "--output", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "benchmarks/gpu.py: PyTorch sees no CUDA device here; nothing was measured\n"
    assert not (tmp_path / "out").exists()


def test_a_part_that_fails_or_hangs_does_not_stop_the_others() -> None:
    code = {
        "fails": "print('{\"name\": \"first\"}', flush=True); raise RuntimeError('CUDA error')",
        "dies": "import os; os.abort()",
        "hangs": "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])",
        "works": 'print(\'{"name": "second"}\')',
    }
    limits = {"hangs": 2.0}
    parts = dict(gpu.run_parts({name: ([sys.executable, "-c", code[name]], limits.get(name, 60.0)) for name in code}))
    assert {name: part["failed"] for name, part in parts.items()} == {
        "fails": "exit code 1: RuntimeError: CUDA error",
        "dies": "exit code -6: ",
        "hangs": "not done after 2 s",
        "works": "",
    }
    assert [part["rows"] for part in parts.values()] == [[{"name": "first"}], [], [], [{"name": "second"}]]
    assert "Traceback" in parts["fails"]["stderr"]


def test_the_loop_by_hand_does_the_work_that_cnnlab_does() -> None:
    """The same losses: they see the same images in the same order from the same weights."""
    workload = gpu.WORKLOADS["cnn-64"]
    dataset = workload.dataset(LAB)
    losses = [
        gpu.by_cnnlab(workload.learner(LAB, "fp32", dataset), recorded=True)[1],
        gpu.ByHand(workload.learner(LAB, "fp32", dataset), graph=True).train(2)[1],
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_speeds_and_launches() -> None:
    speeds = {row.name: row for row in gpu.speed(LAB, "cnn-64")}
    assert all(speeds[f"cnn-64: {who}"].values[0] > 0 for who in gpu.CONTESTANTS)
    assert speeds["cnn-64: all first epochs have the same mean loss within 5 %"].values == [1.0]
    counts = list(gpu.launches(LAB, "cnn-64"))
    assert len(counts) == 4 * 6
    assert not torch.cuda.is_available() or any(row.values[0] for row in counts)


def test_bits() -> None:
    rows = list(gpu.bits(LAB, ["cnn with dropout"]))
    assert [row.values for row in rows if row.unit == "equal"] == [[1.0]] * 3


@pytest.mark.slow
def test_a_sweep() -> None:
    seconds, complete = gpu.sweep(LAB, workers=[1])
    assert seconds.values[0] > 0
    assert complete.values == [1.0]
