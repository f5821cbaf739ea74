"""Who has a run, and what a dead process left: ended and removed, but nothing of a process that is only paused."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from cnnlab.config import RunConfig
from cnnlab.files import abandoned, written_whole
from cnnlab.process import lives, this_process
from cnnlab.records import Ended
from cnnlab.run import create_run
from cnnlab.tracking import RunDir, end_dead, find_run, mark_dead, open_store, read, runs_root
from tests.faults.table import tally

Cli = Callable[..., Result]
Process = Callable[..., "subprocess.CompletedProcess[str]"]

HOLDER = """
import sys, time
from pathlib import Path
from cnnlab.tracking import RunDir
with RunDir(Path(sys.argv[1])).hold():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def run() -> RunDir:
    return create_run(RunConfig(), "tests", "none")


def hold(run: RunDir) -> "subprocess.Popen[str]":
    """A process that holds the run."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def status_of(run: RunDir) -> str | None:
    last = read(run.journal_file)[0][-1]
    return last.status if isinstance(last, Ended) else None


# leases


def test_what_is_dead_is_ended_and_what_is_paused_is_not(run: RunDir, cli: Cli) -> None:
    holder = hold(run)
    lease = json.loads((run.path / "lease.json").read_text())
    assert lease.keys() == {"host", "boot", "pid", "started"}
    assert lease["pid"] == holder.pid
    os.kill(holder.pid, signal.SIGSTOP)
    assert (lives(lease), run.is_held(), mark_dead(run), end_dead()) == (True, True, False, [])
    resumed = cli("train", "--resume", run.run_id)
    assert resumed.exit_code == 3
    assert f"pid {holder.pid} on {lease['host']}" in resumed.stderr
    cli("doctor")
    assert status_of(run) is None
    holder.kill()
    holder.communicate()
    assert (lives(lease), run.is_held()) == (False, False)
    assert end_dead() == [run]
    held = status_of(run) == "died" and not (run.path / "lease.json").exists() and end_dead() == []
    tally("a paused process's run left alone, a dead one's ended", tried=2, held=1 + held)
    assert held


def test_each_start_ends_what_is_dead(run: RunDir, cli: Cli) -> None:
    holder = hold(run)
    holder.kill()
    holder.communicate()
    assert cli("train", "--epochs", "1", "-s", "data.train_size=128", "--tracking-uri", "none", "-q").exit_code == 0
    assert status_of(run) == "died"


@pytest.mark.parametrize("age", [0, 3600])
def test_a_lease_of_another_machine_counts_while_it_beats(run: RunDir, age: float) -> None:
    """Whose lock is not seen here."""
    lease = run.path / "lease.json"
    lease.write_text(json.dumps({**this_process(), "host": "elsewhere"}))
    os.utime(lease, (time.time() - age,) * 2)
    assert run.is_held() == (age == 0)
    assert mark_dead(run) == (age > 0)


def test_a_number_used_again_and_another_boot_are_told_apart() -> None:
    me = this_process()
    assert lives(me) is True
    assert lives({**me, "started": "1"}) is False
    assert lives({**me, "boot": "another"}) is False
    assert lives({**me, "host": "elsewhere"}) is None


def test_a_file_system_without_locks_that_work_is_named(run: RunDir, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filelock._unix.fcntl.flock", lambda *_: None)
    done = cli("train", "--resume", run.run_id)
    assert done.exit_code == 1
    assert f"{run.path}/lock: the file system has no locks that work" in done.stderr
    assert done.stderr.count("\n") == 1


# what is left


LEAVER = """
import os, sys
from pathlib import Path
from cnnlab.files import written_whole
with written_whole(Path(sys.argv[1])) as file:
    file.write_text("half")
    os._exit(9)
"""


def leave_behind(path: Path) -> None:
    """What a process leaves that dies while it writes this file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-c", LEAVER, str(path)], check=False)
    assert len(abandoned(path.parent)) == 1


def test_the_next_opening_removes_what_dead_processes_left(tmp_path: Path) -> None:
    leave_behind(tmp_path / "a" / "step-1.json")
    with written_whole(tmp_path / "a" / "step-2.json") as file:
        assert [path.name for path in (tmp_path / "a").iterdir()] == []
        file.write_text("whole")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["step-2.json"]


def test_doctor_finds_what_is_wrong_and_fix_mends_it(cli: Cli) -> None:
    open_store(f"sqlite:///{Path('mlruns/mlflow.db').absolute()}")
    diverging = ("--lr", "1e30", "--epochs", "2", "-s", "data.train_size=128", "--tracking-uri", "none", "-q")
    assert cli("train", *diverging).exit_code == 1  # so that no network is delivered, which takes long
    run, (cache,) = find_run("last"), Path("data/cache").glob("*.safetensors")
    leave_behind(run.checkpoints / "step-9.json")
    leave_behind(Path("data/cache/x.safetensors"))
    (runs_root() / "begun").mkdir()
    (runs_root() / "begun/lock").touch()
    whole = cache.read_bytes()
    cache.write_bytes(whole[:-100] + bytes(100))
    said = ["left by a process that died", "no run began here", "it cannot be used", "missing or incomplete in MLflow"]
    found = cli("doctor")
    wrong = [line for line in found.stdout.splitlines() if line.startswith("WRONG")]
    assert found.exit_code == 1
    assert all(any(words in line for line in wrong) for words in said), found.stdout
    assert len(wrong) == 5
    fixed = cli("doctor", "--fix")
    assert sum(line.startswith("fixed") for line in fixed.stdout.splitlines()) == 5, fixed.stdout
    again = cli("doctor")
    tally("findings of doctor, mended by --fix", tried=5, held=5 if again.exit_code == 0 else 0)
    assert again.exit_code == 0, again.stdout
    assert not cache.exists()


def test_a_damaged_store_is_one_line(run: RunDir, cli: Cli) -> None:
    path, held = Path("mlruns/mlflow.db").absolute(), 0
    open_store(f"sqlite:///{path}")
    whole = path.read_bytes()
    page = whole[:100] + bytes(8092) + whole[8192:]
    damaged = {"no database": b"x" * 9000, "cut": whole[:5000], "a page of zeros": page}
    for what, content in damaged.items():
        path.write_bytes(content)
        for words in (["sync"], ["doctor"]):
            done = cli(*words)
            lines = [line for line in (done.stdout + done.stderr).splitlines() if "mlflow.db" in line]
            held += done.exit_code == 1 and len(lines) == 1 and "damaged" in lines[0]
            print(what, words, done.exit_code, done.stdout, done.stderr, done.exception)
    tally("a damaged mlflow.db", tried=2 * len(damaged), held=held)
    assert held == 2 * len(damaged)


# disks and memory


def limited(words: list[str], **limits: int) -> "subprocess.CompletedProcess[str]":
    """A command under limits of its process."""

    def limit() -> None:
        for name, most in limits.items():
            resource.setrlimit(getattr(resource, name), (most, most))

    command = [sys.executable, "-m", "cnnlab", *words]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, timeout=120)


def test_a_file_size_limit_ends_the_run_with_one_line_and_leaves_the_last_seal(process: Process) -> None:
    words = ["--epochs", "4", "-s", "data.train_size=256", "--tracking-uri", "none", "-q"]
    assert process("train", *words[2:], "--epochs", "1").returncode == 0  # the cache is made without the limit
    done = limited(["train", *words, "--run-dir", "run", "-s", "model.hidden=[512]"], RLIMIT_FSIZE=400_000)
    held = done.returncode == 1 and done.stderr.count("\n") == 1 and "File too large" in done.stderr
    held = held and "run/checkpoints/" in done.stderr and not list(Path("run/checkpoints").glob(".*"))
    tally("a file size limit while sealing", tried=1, held=int(held))
    assert held, done.stderr


@pytest.mark.parametrize("gigabytes", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (0.5, 1.5, 2, 2.5))])
def test_too_little_memory_is_one_line(gigabytes: float) -> None:
    done = limited(["train", "--epochs", "1", "-q", "--tracking-uri", "none"], RLIMIT_AS=int(gigabytes * 2**30))
    held = done.returncode == 0 or (done.returncode == 1 and done.stderr.count("\n") == 1 and "memory" in done.stderr)
    tally("a limit on memory", tried=1, held=int(held))
    assert held, done.stderr


def test_a_folder_that_cannot_be_written_leaves_no_empty_run(tmp_path: Path, cli: Cli) -> None:
    Path("mlruns").write_text("a file in its place")
    done = cli("train", "--epochs", "1", "--tracking-uri", "none", "--run-dir", str(tmp_path / "run"))
    assert done.exit_code == 2
    assert "mlruns/.gitignore: cannot be written" in done.stderr
    assert not (tmp_path / "run").exists()
