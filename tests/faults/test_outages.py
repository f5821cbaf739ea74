"""A study's storage goes away, comes back or is damaged: the budget stays exact, and no trial is blamed for it."""

import gc
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from click.testing import Result
from optuna.trial import TrialState

from cnnlab.search import Sweep
from cnnlab.search.claims import fill, study_slots
from cnnlab.search.slots import CAUSE
from cnnlab.search.storage import open_storage, storage_url
from cnnlab.search.study import find_study
from tests.faults.table import repeats, tally
from tests.servers import POSTGRESQL, PostgreSQL, postgresql

Cli = Callable[..., Result]

# broken connections and Optuna's open file are left to the collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
needs_postgresql = pytest.mark.skipif(not POSTGRESQL, reason="needs PostgreSQL: apt-get install postgresql")


@pytest.fixture
def server() -> Iterator[PostgreSQL]:
    pytest.importorskip("psycopg")
    with postgresql() as started:
        yield started
    open_storage.cache_clear()
    gc.collect()  # while the warnings of `pytestmark` are ignored


# PostgreSQL restarts

WORKER = """
import os, sys, time
from optuna.trial import Trial, TrialState
from cnnlab.search.claims import claim, tell
from cnnlab.search.database import patient
from cnnlab.search.claims import beating
from cnnlab.search.storage import open_storage
from cnnlab.search.study import find_study
print("ready", flush=True)
sys.stdin.readline()
children = []
for _ in range(3):  # four processes, and all is imported once
    if (child := os.fork()) == 0:
        children = []
        break
    children.append(child)
patient(open_storage)(sys.argv[1])
study = find_study("sleep", sys.argv[1])
while slot := claim(study, int(sys.argv[2]), lambda number: {}):
    trial = Trial(study, slot.trial._trial_id)
    with beating(study, trial):
        x = trial.suggest_float("x", 0, 1)
        for step in range(5):
            trial.report(x, step)
            trial.set_user_attr(f"step {step}", step)
            time.sleep(0.02)
        tell(study, trial, TrialState.COMPLETE, x, {"noted": x})
sys.stdout.flush()
for child in children:
    os.waitpid(child, 0)
print("done")
"""


@needs_postgresql
@pytest.mark.long
def test_no_trial_is_lost_or_doubled_while_the_database_restarts(server: PostgreSQL) -> None:
    """Connections break in the middle of everything, also between a commit and its answer."""
    url = storage_url(server.url, "sleep")
    study = optuna.create_study(study_name="sleep", storage=open_storage(url), direction="maximize")
    workers = subprocess.Popen(
        [sys.executable, "-c", WORKER, url, "40"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert workers.stdout is not None
    assert workers.stdout.readline() == "ready\n"
    assert workers.stdin is not None
    workers.stdin.write("go\n")
    workers.stdin.close()
    workers.stdin = None
    restarts = 0
    while workers.poll() is None and restarts < 4:
        time.sleep(0.5)
        server.stop("fast" if restarts % 2 else "immediate")
        server.start()
        restarts += 1
    done, errors = workers.communicate(timeout=120)
    assert (done.count("done\n"), errors) == (4, "")
    trials = [trial for trial in study.get_trials() if trial.state == TrialState.COMPLETE]
    whole = [
        trial.value == trial.params["x"] == trial.user_attrs["noted"]
        and trial.intermediate_values == dict.fromkeys(range(5), trial.value)
        and all(trial.user_attrs[f"step {step}"] == step for step in range(5))
        for trial in trials
    ]
    states = Counter(slot.state for slot in study_slots(study, 40))
    open_storage(url).engine.dispose()  # type: ignore[attr-defined]
    tally("PostgreSQL restarted under 4 processes", tried=restarts, held=restarts * (states == {"complete": 40}))
    assert states == {"complete": 40}
    assert len(trials) == 40
    assert all(whole)


def test_the_driver_prints_nothing_of_a_connection_that_broke() -> None:
    """It does if the connection breaks while a pipeline ends; the error itself is raised, and the write repeated."""
    code = "import cnnlab.search.storage, psycopg._pipeline as pipeline; pipeline.logger.warning('error ignored')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


SWEEP = ["--epochs", "3", "-s", "data.train_size=256", "--pruner", "none", "--confirm", "0", "--tracking-uri", "none"]


def start_sweep(server: PostgreSQL, trials: int, workers: int) -> "subprocess.Popen[str]":
    words = [
        "--storage",
        server.url,
        "--study",
        "s",
        "--trials",
        str(trials),
        "--workers",
        str(workers),
        "--json",
        "-q",
    ]
    command = [sys.executable, "-m", "cnnlab", "sweep", *SWEEP, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_trials(count: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(Path().glob("mlruns/studies/s/trials/*/checkpoints/*.json"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@needs_postgresql
@pytest.mark.slow
@pytest.mark.parametrize(("workers", "seconds"), [(1, 1), (2, 1), (8, 1), (2, 300)])
def test_a_sweep_rides_out_an_outage(server: PostgreSQL, workers: int, seconds: float) -> None:
    trials = 12 * workers if seconds == 1 else 12
    running = start_sweep(server, trials, workers)
    wait_for_trials(2)
    outages = repeats(4) if seconds == 1 else 1
    for _ in range(outages):
        server.stop()
        time.sleep(seconds)
        server.start()
        time.sleep(1)
    stdout, stderr = running.communicate(timeout=600)
    assert (running.returncode, stderr) == (0, ""), stderr
    study = optuna.load_study(study_name="s", storage=storage_url(server.url, "s"))
    causes = [trial.user_attrs.get(CAUSE) for trial in study.get_trials()]
    found = json.loads(stdout)["trials"]
    held = (found["complete"], found["total"], causes.count("crashed")) == (trials, trials, 0)
    tally(f"PostgreSQL gone for {seconds} s under a sweep", tried=outages, held=outages * held)
    assert held, (found, Counter(causes))


@needs_postgresql
@pytest.mark.slow
def test_a_signal_during_an_outage_ends_the_sweep_and_the_same_command_goes_on(server: PostgreSQL) -> None:
    running = start_sweep(server, 4, 1)
    wait_for_trials(1)
    server.stop()
    time.sleep(2)
    running.send_signal(signal.SIGTERM)
    _, stderr = running.communicate(timeout=60)
    server.start()
    again = start_sweep(server, 4, 1)
    found = json.loads(again.communicate(timeout=120)[0])["trials"]
    study = optuna.load_study(study_name="s", storage=storage_url(server.url, "s"))
    causes = [trial.user_attrs.get(CAUSE) for trial in study.get_trials()]
    held = (running.returncode, stderr.count("\n"), found["complete"]) == (143, 1, 4) and "crashed" not in causes
    tally("a signal while the storage is gone", tried=1, held=int(held))
    assert held, (running.returncode, stderr, found, causes)


# damage


@pytest.fixture
def study() -> Path:
    """Optuna's journal of a sweep that has begun."""
    sweep = Sweep(study="s", workers=1, tracking_uri="none")
    sweep.begin()
    begun = find_study("s", sweep.plan.storage)
    assert begun is not None
    fill(begun, 20, lambda number: {}, ahead=20)
    sweep._open.close()
    return Path(sweep.plan.storage)


def damaged(lines: list[bytes]) -> dict[str, list[bytes]]:
    """What may have become of a journal of Optuna's: what happened -> its lines."""
    middle = len(lines) // 2
    cut, line = lines[middle][: len(lines[middle]) // 2] + b"\n", lines[middle]
    flipped = bytes([line[0] ^ 0x40]) + line[1:]
    return {
        "a line cut": [*lines[:middle], cut, *lines[middle + 1 :]],
        "a bit flipped": [*lines[:middle], flipped, *lines[middle + 1 :]],
        "no text": [*lines[:middle], b"\xff\xfe\x00\n", *lines[middle:]],
        "another operation": [*lines[:middle], b'{"op_code":77,"worker_id":"x"}\n', *lines[middle:]],
        "no object": [*lines[:middle], b"[]\n", *lines[middle:]],
    }


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Optuna leaves the file to the collector
def test_a_damaged_journal_of_optunas_is_one_line(study: Path, cli: Cli) -> None:
    tried, held, before = 0, 0, study.read_bytes().splitlines(True)
    for what, lines in damaged(before).items():
        study.write_bytes(b"".join(lines))
        for words in (["sweep", *SWEEP, "--study", "s", "--workers", "1"], ["show", "s"], ["studies"]):
            open_storage.cache_clear()
            done = cli(*words)
            one_line = done.stderr.count("\n") == 1 and "optuna.journal: a line" in done.stderr
            tried, held = tried + 1, held + (one_line and done.exit_code == 1)
            if not one_line:
                print(what, words[0], done.exit_code, done.stderr, done.exception)
    tally("Optuna's journal damaged", tried=tried, held=held)
    assert held == tried
