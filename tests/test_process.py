"""What a command does as a process: its words on stderr, its end, signals while it starts, files in its folder."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import ClassVar

import pytest

import cnnlab
from cnnlab.config import RunConfig
from cnnlab.courier import Deliveries, follow_all
from cnnlab.process import SPINS, command_of
from cnnlab.records import RunEnded
from cnnlab.run import create_run
from cnnlab.tracking import Journal, RunDir, find_run, is_delivered

Process = Callable[..., "subprocess.CompletedProcess[str]"]

QUICK = ("--epochs", "1", "-s", "data.train_size=128")


# one line is one line

ALONE = [
    (["train", "--lr", "0"], r"optimizer\.lr: 0 is not allowed; it must be greater than 0"),
    (["train", "--learning-rate", "0.1"], r"--learning-rate: unknown option; did you mean --lr\?"),
    (["train", "nowhere.yaml"], r"nowhere\.yaml: there is no such file or folder"),
    (["train", "--tracking-uri", "mlruns"], r"--tracking-uri mlruns: not a store that MLflow takes; .*"),
    (["train", "--experiment-name", ""], r"--experiment-name: '' is not allowed; .*"),
    (["train", "--optimizer", "torch.optim.Adamx"], r"optimizer\.name: torch\.optim has no class 'Adamx'.*"),
    (["train", "--batch-size", "1296"], r"data\.batch_size: 1296 is not allowed; .*"),
    (["train", "--dataset", "cifar10"], r"data\.dataset: cifar10 is not here and cannot be downloaded \(.*\); put .*"),
    (["train", "--dataset", "folder", "--data-root", "nowhere"], r"data\.root: nowhere is not a folder.*"),
    (["train", "--model", "torchvision/alexnet"], r"model\.name: torchvision/alexnet cannot take images of 8x8x1 .*"),
    (["sweep", "--batch-size", "1296"], r"data\.batch_size: 1296 is not allowed; .*"),
    (["show", "nothing"], r"nothing: no run begins so.*"),
    (["ui", "--tracking-uri", "none"], r"--tracking-uri none: not a store that MLflow takes; .*"),
]
"""Each by another way through the imports; what these leave behind says its own words when the process ends."""


@pytest.mark.parametrize(("args", "line"), ALONE, ids=[" ".join(args) for args, _ in ALONE])
def test_nobody_else_says_a_word(args: list[str], line: str, process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing is downloaded
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    done = process(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"cnnlab: {line}\n", done.stderr), done.stderr


def test_a_file_that_ends_too_early_is_no_ctrl_c() -> None:
    broken = (
        "import cnnlab.tracking\n"
        "def list_runs(): raise EOFError('Compressed file ended')\n"
        "cnnlab.tracking.list_runs = list_runs\n"
        "from cnnlab.cli import main; main(['runs'])"
    )
    done = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "cnnlab: a file ends too early: Compressed file ended\n"


def test_what_is_to_be_done_at_the_exit_is_done_and_its_code_is_the_commands() -> None:
    code = (
        "import atexit, sys; from cnnlab.process import Ending\n"
        "ending = Ending()\n"
        "atexit.register(print, 'goodbye')\n"
        "ending.code = int(sys.argv[1]); sys.stdout.write('hello ')"
    )
    for number in (0, 3):
        done = subprocess.run([sys.executable, "-c", code, str(number)], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (number, "hello goodbye\n", "")


def test_a_program_that_has_python_inside_may_have_no_words() -> None:
    """`sys.argv` is empty then."""
    code = (
        "import sys; sys.argv = []\n"
        "import cnnlab; from cnnlab.__main__ import main\n"
        "print(cnnlab.train({'training.epochs': 1, 'data.train_size': 128}, tracking_uri='none').status)\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "finished\n")
    assert done.stderr.startswith("Usage: cnnlab")


def test_an_exception_that_nobody_catches_is_exit_code_1() -> None:
    code = "from cnnlab.process import Ending; Ending(); raise ValueError('a fault of ours')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: a fault of ours\n")


# signals while the command starts


@pytest.mark.parametrize("after", [0.4, 1.0, 1.6, 2.2, 2.8, 3.4])
def test_ctrl_c_ends_a_command_that_starts(after: float) -> None:
    """benchmarks/interrupts.py does it at a hundred moments."""
    number = signal.SIGTERM if after in (1.0, 2.8) else signal.SIGINT
    running = subprocess.Popen(
        [sys.executable, "-m", "cnnlab", "train", "--epochs", "300", "--json", "-q", "--tracking-uri", "none"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(after)
    running.send_signal(number)
    stdout, stderr = running.communicate(timeout=60)
    assert running.returncode == 128 + number, stderr
    assert stderr.count("\n") == 1
    if not stdout:
        assert re.fullmatch("cnnlab: interrupted( before the first step; no run was made)?\n", stderr)
        assert not Path("mlruns").exists()


def test_what_a_library_makes_of_an_interrupt_ends_the_command_all_the_same() -> None:
    code = (
        "import os, signal; from cnnlab.interrupts import end_when_interrupted\n"
        "from cnnlab.errors import Interrupted; from cnnlab.process import received\n"
        "for swallow in (BaseException, None):\n"
        "    received.clear()\n"
        "    try:\n"
        "        with end_when_interrupted('interrupted'):\n"
        "            try: os.kill(os.getpid(), signal.SIGINT)\n"
        "            except BaseException: \n"
        "                if swallow is None: raise AttributeError('partially initialized module')\n"
        "    except Interrupted as error: print(error, error.exit_code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("interrupted 130\n" * 2, "")


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, str(SPINS)), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
    ids=str,
)
def test_threads_that_wait_for_one_another_sleep_soon(
    given: dict[str, str], spins: str, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As GNU's OpenMP says itself when PyTorch loads it."""
    for name, value in {"OMP_DISPLAY_ENV": "verbose", **given}.items():
        monkeypatch.setenv(name, value)
    done = process("train", *QUICK, "--tracking-uri", "none")
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("PyTorch has another OpenMP here")
    assert re.search(f"GOMP_SPINCOUNT = '{spins}'", done.stderr)


def test_a_background_job_of_a_script_obeys_too() -> None:
    """A shell without job control starts them with SIGINT ignored."""
    ignored = "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    code = "from cnnlab.process import obey_signals; obey_signals(); os.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", ignored + code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "cnnlab: interrupted\n")


def test_a_courier_that_is_told_nothing_ends_when_its_command_does() -> None:
    courier = subprocess.Popen(command_of("cnnlab.courier"), stdin=subprocess.PIPE)
    assert courier.stdin is not None
    courier.stdin.close()
    assert courier.wait(60) == 0


def test_the_server_of_workers_does_not_see_ctrl_c() -> None:
    """A terminal sends it to all processes of the command."""
    code = (
        "import os, signal, multiprocessing.forkserver as server\n"
        "os.setpgrp()\n"
        "from cnnlab.process import obey_signals; obey_signals()\n"
        "from cnnlab.search.run_sweep import start_fork_server; start_fork_server()\n"
        "print(server._forkserver._forkserver_pid, flush=True); os.killpg(0, signal.SIGINT)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)  # waits for the server too
    assert (done.returncode, done.stderr) == (130, "cnnlab: interrupted\n")


# files that have the names of libraries


@pytest.fixture
def shadows() -> None:
    Path("torch").mkdir()
    for name in ("random.py", "mlflow.py", "threading.py", "signal.py", "torch/__init__.py"):
        Path(name).write_text(f"raise RuntimeError('{name} was imported')\n")


@pytest.mark.usefixtures("shadows")
def test_files_with_the_names_of_libraries_are_left_alone_by_a_run_and_its_delivery(process: Process) -> None:
    done = process("train", *QUICK, "-q")
    assert done.returncode == 0
    assert "the courier was ended" not in done.stderr
    deadline = time.monotonic() + 120
    while not is_delivered(find_run("last")) and time.monotonic() < deadline:  # a busy machine
        time.sleep(0.5)
    with sqlite3.connect("mlruns/mlflow.db") as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]


@pytest.mark.usefixtures("shadows")
@pytest.mark.slow
def test_files_with_the_names_of_libraries_are_left_alone_by_workers(process: Process) -> None:
    done = process("sweep", *QUICK, "-q", "--trials", "2", "--workers", "2", "--tracking-uri", "none")
    assert (done.returncode, done.stderr) == (0, "")
    logs = [log.read_text() for log in Path("mlruns").rglob("workers.log")]
    assert not any("was imported" in log for log in logs)


def test_what_the_user_puts_on_the_path_is_there_for_the_courier_too(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/own_module.py").write_text("def main(): print('mine')")
    done = subprocess.run(
        command_of("own_module"), env={**os.environ, "PYTHONPATH": "mine"}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("mine\n", "")


def test_a_checkout_that_is_not_installed_runs_from_its_folder() -> None:
    root = Path(cnnlab.__file__).parent.parent
    code = "import sys; from cnnlab import __main__ as m; m._remove_current_folder(); print(repr(sys.path[0]))"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=root, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("''\n", "")


# a busy machine


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """Two busy processes per core, each in a session of its own, as another user's would be."""
    command = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(command, start_new_session=True) for _ in range(2 * (os.cpu_count() or 1))]
    yield
    for process in busy:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="where priorities can be read")
@pytest.mark.usefixtures("busy_machine")
@pytest.mark.slow
def test_whoever_waits_for_a_delivery_gets_it_on_a_busy_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnlab.courier.WAIT_SECONDS", 240.0)
    run = create_run(RunConfig(), "tests", f"sqlite:///{tmp_path}/mlflow.db")
    with (
        run.hold(),
        Journal(run.journal_file) as journal,
        Deliveries(run.created.tracking_uri) as courier,
    ):
        assert courier._process is not None
        courier.add(run)
        journal.write(RunEnded(time.time(), "failed", "to be delivered", 0, 0))
        policy = os.sched_getscheduler(courier._process.pid)
        niceness = os.getpriority(os.PRIO_PROCESS, courier._process.pid)
    assert (policy, niceness) == (os.SCHED_OTHER, os.getpriority(os.PRIO_PROCESS, 0))
    assert courier.wait() is None
    courier._process.wait(60)
    with sqlite3.connect("mlflow.db") as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [("FAILED",)]


class Polled:
    """Writes down when it was polled. The 1st poll takes 0.09 s of the processor, the 2nd 0.9 s; then training ends."""

    polls: ClassVar[list[float]] = []
    runs: ClassVar["SimpleQueue[tuple[RunDir, str] | None]"] = SimpleQueue()

    def __init__(self, *_: object) -> None: ...

    def poll(self, patience: float) -> bool | None:
        self.polls.append(time.monotonic())
        start = time.process_time()
        while time.process_time() - start < (0.9 if len(self.polls) == 2 else 0.09):
            pass
        if len(self.polls) == 2:
            threading.Timer(1.0, self.runs.put, [None]).start()
        return True if len(self.polls) == 4 else None


def test_delivery_rests_while_a_training_goes_on_and_not_when_somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.courier.Follower", Polled)
    monkeypatch.setattr("cnnlab.courier.FIRST_SECONDS", 0.5)
    Polled.runs.put((RunDir(Path("run")), "sqlite:///x.db"))
    started = time.monotonic()
    follow_all(Polled.runs)
    first, second, third, fourth = (poll - started for poll in Polled.polls)
    assert first >= 0.5
    assert second - first >= 3.0  # 0.09 s are 3 % of it
    assert third - second < 25.0  # it would have rested for 30 s, had the training not ended
    assert fourth - third < 25.0
