"""A disk is full, fails, or loses what was not synced: one line names the file, and a resume comes to the same bits."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from safetensors import SafetensorError

from cnnlab.cli import run
from cnnlab.courier import Deliveries
from cnnlab.records import Record, Steps
from cnnlab.tracking import Journal, RunDir, open_store, read
from cnnlab.training import checkpoint
from tests.faults.table import tally
from tests.faults.test_kills import deliver, in_mlflow, repeated
from tests.faults.trainee import config, new_run, outcome, prepared, record_run
from tests.test_store import older_store, query

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


def is_whole(expected: dict[str, Any], empty_store: Path) -> bool:
    """Whether the run here has ended as one without a fault, with each loss once in MLflow: L1 to L4."""
    run, store = RunDir(Path("run").absolute()), Path("mlflow.db").absolute()
    store.write_bytes(empty_store.read_bytes())
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
        save = failing(checkpoint.save_file, calls, lambda *_: True, said)
        monkeypatch.setattr(checkpoint, "save_file", save)
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


@pytest.mark.parametrize(
    ("where", "times"),
    [(where, 1) for where in WHERE] + [pytest.param(where, 3, marks=pytest.mark.slow) for where in WHERE],
)
def test_a_disk_that_does_not_answer_is_one_line_and_costs_one_interval(
    where: str, times: int, whole: dict[str, Any], empty_store: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        stage(where, range(WHERE[where], WHERE[where] + times), patched)
        said = [cli(*TRAIN, "--run-dir", "run")]
        while said[-1].exit_code and len(said) <= times + 1:
            said.append(cli("train", "--resume", "run", "-q"))
    *failed, last = said
    lines = [one.stderr for one in failed]
    held = all(one.exit_code == 1 and is_a_line(one.stderr) for one in failed) and 1 <= len(failed) <= times
    held = held and last.exit_code == 0 and is_whole(whole, empty_store)
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


# the disk is full


class Disk:
    """A small disk that can be filled."""

    def __init__(self, path: Path) -> None:
        self.path, self._ballast = path, path / "ballast"

    def fill(self, left: int = 0) -> None:
        """Leave so many KiB."""
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        os.truncate(self._ballast, self._ballast.stat().st_size - left * 1024)

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """The current folder is on it; the data cache is elsewhere."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", path], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    monkeypatch.chdir(path)
    try:
        yield Disk(path)
    finally:
        monkeypatch.chdir(tmp_path)
        subprocess.run(["umount", "-l", path], check=True)


def says_full(stderr: str, file: str) -> bool:
    """Whether it is one line that names the file and what to do."""
    return stderr.count("\n") == 1 and file in stderr and "o space left on" in stderr and "make room" in stderr


@pytest.mark.parametrize("seal", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3))])
def test_a_disk_that_is_full_while_a_checkpoint_is_sealed(
    seal: int, disk: Disk, whole: dict[str, Any], empty_store: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        module = import_module("cnnlab.training.fit")  # the package has the function under this name
        real, seals = module.seal, 0

        def sealed(*args: Any) -> Path:
            nonlocal seals
            seals += 1
            if seals == seal:
                disk.fill()
            return real(*args)

        patched.setattr(module, "seal", sealed)
        full = cli(*TRAIN, "--run-dir", "run")
    disk.free()
    again = cli("train", "--resume", "run", "-q")
    named = says_full(full.stderr, "run/checkpoints/step-") or says_full(full.stderr, "run/journal.jsonl")
    held = full.exit_code == 1 and named and again.exit_code == 0  # the journal's own thread may meet it first
    held = held and is_whole(whole, empty_store)
    tally("disk full while a checkpoint is sealed", tried=1, held=int(held))
    assert held, (full.stderr, full.exception, again.stderr)


def test_a_disk_that_is_full_while_the_journal_is_written(
    disk: Disk, whole: dict[str, Any], empty_store: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The checkpoints are on another one."""
    (tmp_path / "elsewhere").mkdir()
    Path("run").mkdir()
    Path("run/checkpoints").symlink_to(tmp_path / "elsewhere")
    with monkeypatch.context() as patched:
        real, writes = Journal.write, 0

        def written(journal: Journal, record: Record) -> None:
            nonlocal writes
            writes += 1
            if writes > 2:  # what is left of the journal's last block takes a few lines more
                disk.fill()
            real(journal, record)

        patched.setattr(Journal, "write", written)
        full = cli(*TRAIN, "--run-dir", "run")
    disk.free()
    again = cli("train", "--resume", "run", "-q")
    held = full.exit_code == 1 and says_full(full.stderr, "run/journal.jsonl") and again.exit_code == 0
    held = held and is_whole(whole, empty_store)
    tally("disk full while the journal is written", tried=1, held=int(held))
    assert held, (full.stderr, full.exception, again.stderr)


ROOMS = [pytest.param(kib, marks=pytest.mark.slow) for kib in (0, 8, 16, *range(24, 480, 24))]
"""KiB that are left for a delivery: for nothing, locks' files, a transaction of SQLite's, a few artifacts."""


@pytest.mark.parametrize("kib", [4, 60, *ROOMS])
def test_a_disk_that_is_full_while_a_sync_delivers(
    kib: int, disk: Disk, whole: dict[str, Any], empty_store: Path, cli: Cli
) -> None:
    Path("mlruns").mkdir()
    Path("mlruns/mlflow.db").write_bytes(empty_store.read_bytes())
    assert cli(*TRAIN, "--run-dir", "run").exit_code == 0
    disk.fill(kib)
    full = cli("sync", "run")
    disk.free()
    again = cli("sync", "run")
    held = full.exit_code == 1 and says_full(full.stderr, str(disk.path)) and again.exit_code == 0
    held = held or (kib > 100 and full.exit_code == 0)
    held = held and in_mlflow(RunDir(Path("run").absolute()), "mlruns/mlflow.db") == ("FINISHED", whole["losses"])
    tally("disk full while a sync delivers", tried=1, held=int(held))
    assert held, (full.stderr, full.exception, again.stderr)


@pytest.mark.parametrize("seconds", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_disk_that_is_full_while_train_waits_for_mlflow(
    seconds: float, disk: Disk, whole: dict[str, Any], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnlab.courier.WAIT_SECONDS", seconds)
    real, couriers = Deliveries.wait, []

    def wait(courier: Deliveries, *rest: Any) -> str | None:
        disk.fill()
        couriers.append(courier._process)
        return real(courier, *rest)

    monkeypatch.setattr(Deliveries, "wait", wait)
    full = cli(*TRAIN[:-2], "--run-dir", "run")
    disk.free()
    again = cli("sync", "run")
    couriers[0].wait(60)  # it has seen that all is there
    held = full.exit_code == 0 and says_full(full.stderr, str(disk.path)) and "run cnnlab sync" in full.stderr
    held = held and again.exit_code == 0
    held = held and in_mlflow(RunDir(Path("run").absolute()), "mlruns/mlflow.db") == ("FINISHED", whole["losses"])
    tally("disk full while train waits for MLflow", tried=1, held=int(held))
    assert held, (full.stderr, full.exception, again.stderr)


@pytest.mark.slow
def test_a_store_that_had_no_room_to_be_upgraded_is_upgraded_later(disk: Disk) -> None:
    """By the same process too: a courier goes on for hours."""
    store = disk.path / "mlflow.db"
    older_store(store, holds_a_run=True)
    disk.fill(100)
    with pytest.raises(Exception, match="disk is full"):
        open_store(f"sqlite:///{store}")
    disk.free()
    open_store(f"sqlite:///{store}")
    held = query(store, "SELECT name, status FROM runs") == [("old", "FINISHED")]
    tally("disk full while MLflow's store is upgraded", tried=1, held=int(held))
    assert held
