"""A disk is full, fails, or loses what was not synced: one line names the file, and a resume comes to the same bits."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from safetensors import SafetensorError

from cnnlab.cli import run
from cnnlab.records import Steps
from cnnlab.tracking import RunDir, open_store, read
from cnnlab.training import weights
from tests.faults.table import tally
from tests.faults.test_kills import deliver, in_mlflow, repeated
from tests.faults.trainee import config, new_run, outcome, prepared, record_run

Cli = Callable[..., Result]

TRAIN = ["train", "--epochs", "3", "-s", "data.train_size=256", "--batch-size", "64", "-q", "--tracking-uri", "none"]
STEPS_AN_EPOCH = 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run ends with that has met no fault."""
    folder = tmp_path_factory.mktemp("whole")
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert run(TRAIN + ["--run-dir", "run"]) == 0
    finally:
        os.chdir(before)
    return outcome(RunDir(folder / "run"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_store(f"sqlite:///{path}")
    return path


def is_whole(expected: dict[str, Any], store: Path) -> bool:
    """Whether the run here has ended as one without a fault, with each loss once in MLflow: L1 to L4."""
    run = RunDir(Path("run").absolute())
    deliver(run, f"sqlite:///{store}")
    once = in_mlflow(run, str(store)) == ("FINISHED", expected["losses"])
    return once and outcome(run) == expected and max(repeated(run)) <= STEPS_AN_EPOCH


# the disk answers with an error


def failing(real: Callable[..., Any], calls: range, of: Callable[..., bool], error: Exception) -> Callable[..., Any]:
    """The function; of its calls that are meant, those with these numbers, counted from 1, fail."""
    done = 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        done += (meant := of(*args))
        if meant and done in calls:
            raise error
        return real(*args, **kwargs)

    return call


def is_open_on(name: str) -> Callable[[int], bool]:
    return lambda file: name in os.readlink(f"/proc/self/fd/{file}")


class Raw:
    """A journal's open file, the writing of which is another function."""

    def __init__(self, file: Any, write: Callable[..., Any]) -> None:
        self._file, self._write = file, write

    def write(self, data: bytes) -> int:
        return int(self._write(self._file, data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def stage(where: str, calls: range, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on these calls meet a disk that does not answer."""
    error = OSError(errno.EIO, os.strerror(errno.EIO))
    if where == "write of the journal":
        write = failing(lambda file, data: file.write(data), calls, lambda *_: True, error)

        def opened(path: Path, mode: str, **rest: Any) -> Any:
            file = open(path, mode, **rest)  # noqa: SIM115  (the journal closes it)
            return Raw(file, write) if mode == "ab" else file

        monkeypatch.setattr("cnnlab.tracking.journal.open", opened, raising=False)
    elif where == "write of a checkpoint's tensors":
        said = SafetensorError("Error while serializing: I/O error: Input/output error (os error 5)")
        save = failing(weights.save_file, calls, lambda *_: True, said)
        monkeypatch.setattr(weights, "save_file", save)
    elif where == "write of a checkpoint's values":
        text = failing(Path.write_text, calls, lambda path, *_: path.name.startswith(".step-"), error)
        monkeypatch.setattr(Path, "write_text", text)
    elif where == "renaming of a checkpoint":
        moved = failing(os.replace, calls, lambda _, path: path.name.startswith("step-"), error)
        monkeypatch.setattr(os, "replace", moved)
    else:
        name = {"journal": "journal.jsonl", "checkpoint": "/.step-", "checkpoints' folder": "/checkpoints"}
        meant = name[where.removeprefix("sync of the ")]
        monkeypatch.setattr(os, "fsync", failing(os.fsync, calls, is_open_on(meant), error))


WHERE = {
    "write of the journal": 5,
    "sync of the journal": 2,
    "write of a checkpoint's tensors": 2,
    "write of a checkpoint's values": 2,
    "sync of the checkpoint": 3,
    "sync of the checkpoints' folder": 3,
    "renaming of a checkpoint": 3,
}
"""What fails -> at which of its calls; all are in the second epoch."""


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("where", WHERE)
def test_a_disk_that_does_not_answer_is_one_line_and_costs_one_interval(
    where: str, times: int, whole: dict[str, Any], store: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        stage(where, range(WHERE[where], WHERE[where] + times), patched)
        said = [cli(*TRAIN, "--run-dir", "run")]
        while said[-1].exit_code and len(said) <= times + 1:
            said.append(cli("train", "--resume", "run", "-q"))
    *failed, last = said
    lines = [one.stderr for one in failed]
    held = all(one.exit_code == 1 and is_a_line(one.stderr) for one in failed) and 1 <= len(failed) <= times
    held = held and last.exit_code == 0 and is_whole(whole, store)
    tally(f"EIO {'once' if times == 1 else '3 times'}", tried=1, held=int(held), note=where)
    assert held, (lines, last.stderr, last.exception)


def is_a_line(stderr: str) -> bool:
    """Whether it is one line that names a file of the run and what to do."""
    return stderr.count("\n") == 1 and "/run/" in stderr and "its disk does not answer" in stderr


# the power fails


def test_the_journal_is_on_disk_before_a_checkpoint_is_sealed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Else a power failure takes the steps before it, and a resume has to begin at the checkpoint before that one."""
    monkeypatch.setattr("cnnlab.tracking.journal.SYNC_SECONDS", 1000)  # the thread that syncs may be late
    of = config(training__checkpoint_every=3)
    run, synced, sealed = new_run(Path("run"), of), b"", {}
    fsync, replace = os.fsync, os.replace

    def synced_now(file: int) -> None:
        nonlocal synced
        fsync(file)
        if os.path.realpath(f"/proc/self/fd/{file}") == str(run.journal_file):
            synced = run.journal_file.read_bytes()

    def sealed_now(before: Path, after: Path) -> None:
        replace(before, after)
        if after.parent == run.checkpoints and after.suffix == ".json":
            sealed[int(after.stem.removeprefix("step-"))] = synced

    monkeypatch.setattr(os, "fsync", synced_now)
    monkeypatch.setattr(os, "replace", sealed_now)
    records = record_run(prepared(of), run)
    for record in records:
        if isinstance(record, Steps) and record.last > 20:
            records.close()
    left, held = tmp_path / "journal.jsonl", 0
    for step, journal in sealed.items():
        left.write_bytes(journal)
        held += max((record.last for record in read(left)[0] if isinstance(record, Steps)), default=0) == step
    tally("power lost as a checkpoint was sealed", tried=len(sealed), held=held)
    assert held == len(sealed) >= 8
