"""A sweep's workers and its command are killed and paused, clocks jump: the budget stays exact, none counts twice."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import OperationalError

from cnnlab.config import RunConfig
from cnnlab.process import this_process
from cnnlab.records import Ended, TrialEnded
from cnnlab.run import create_run
from cnnlab.tracking import RunDir, end_dead, mark_dead, read
from tests.faults.table import repeats, tally
from tests.runs import workers_of
from tests.servers import POSTGRESQL, postgresql

# Optuna leaves its files and connections to the collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

COMMAND = [sys.executable, "-m", "cnnlab", "sweep", "--study", "s", "--pruner", "none", "--sampler", "random", "-q"]
COMMAND += ["--confirm", "0", "--json", "--only", "--search", "lr=0.001:0.05"]  # nothing diverges
STUDY = Path("mlruns/studies/s")


@contextmanager
def storage(kind: str) -> Iterator[tuple[list[str], str]]:
    """The words that name a storage to a sweep, and its URL to Optuna."""
    if kind == "journal":
        yield [], f"{STUDY}/optuna.journal"
    elif kind == "sqlite":
        yield ["--storage", f"sqlite:///{Path.cwd()}/study.db"], f"sqlite:///{Path.cwd()}/study.db"
    elif not POSTGRESQL:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    else:
        pytest.importorskip("psycopg")
        with postgresql() as server:
            yield ["--storage", server.url], server.url.replace("://", "+psycopg://")


def trials_in(url: str) -> list[FrozenTrial]:
    """As Optuna itself reads them."""
    opened: BaseStorage = RDBStorage(url) if "://" in url else JournalStorage(JournalFileBackend(url))
    trials = optuna.load_study(study_name="s", storage=opened).get_trials()
    if isinstance(opened, RDBStorage):
        opened.engine.dispose()
    return trials


started: "list[subprocess.Popen[str]]" = []


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    """A test that fails leaves no command, not even one that it paused."""
    yield
    for process in started:
        process.kill()
        process.communicate()
    started.clear()


def start(words: list[str], command: list[str] = COMMAND, **how: Any) -> "subprocess.Popen[str]":
    started.append(
        subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)
    )
    return started[-1]


def ended(running: "subprocess.Popen[str]") -> dict[str, Any]:
    """What a command printed that has to end well."""
    stdout, stderr = running.communicate(timeout=900)
    assert (running.returncode, stderr) == (0, ""), stderr
    found: dict[str, Any] = json.loads(stdout)["trials"]
    return found


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 600  # a machine that is busy
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def complete_here() -> int:
    """The number of trials that the sweep's own journal says have ended."""
    journal = STUDY / "journal.jsonl"
    return sum(isinstance(r, TrialEnded) for r in read(journal)[0]) if journal.exists() else 0


def what_is_wrong(url: str, trials: int, study: Path = STUDY) -> list[str]:
    """L4 and L5: each of the trials has ended once, in the study, in the sweep's journal and in its own."""
    found = trials_in(url)
    slots = Counter(t.user_attrs["cnnlab:slot"] for t in found if t.state == TrialState.COMPLETE)
    wrong = [] if slots == Counter(range(trials)) else [f"complete: {slots}"]
    wrong += [
        f"{t.number}: {t.state}, {t.user_attrs}" for t in found if t.state in (TrialState.RUNNING, TrialState.WAITING)
    ]
    wrong += [f"crashed: {t.user_attrs}" for t in found if t.user_attrs.get("cnnlab:cause") == "crashed"]
    said = Counter(r.trial for r in read(study / "journal.jsonl")[0] if isinstance(r, TrialEnded))
    wrong += [] if said == Counter(range(trials)) else [f"in the sweep's journal: {said}"]
    for journal in sorted(study.glob("trials/*/journal.jsonl")):
        last = read(journal)[0][-1]
        if not isinstance(last, Ended) or last.status != "finished":
            wrong.append(f"{journal}: {last}")
        if RunDir(journal.parent.absolute()).is_held():
            wrong.append(f"{journal.parent}: is held")
    return wrong


# killed


def kill_workers_until(done: Any, running: "subprocess.Popen[str]", every: float, chance: random.Random) -> int:
    """SIGKILL a worker at random each `every` seconds, if an epoch has ended since; returns the number of kills."""
    kills, at, before = 0, time.monotonic() + every, epochs_ended()
    while running.poll() is None and not done():
        if time.monotonic() > at and epochs_ended() > before and (workers := workers_of(running.pid)):
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                kills, at, before = kills + 1, time.monotonic() + every, epochs_ended()
        time.sleep(0.05)
    return kills


def epochs_ended() -> int:
    return sum(path.read_text().count('"record": "epoch"') for path in STUDY.glob("trials/*/journal.jsonl"))


def kill_workers_and_then_the_command(words: list[str], url: str, trials: int, every: float, at: int) -> None:
    chance, kills = random.Random(8), 0
    running = start(words)
    kills += kill_workers_until(lambda: complete_here() >= at, running, every, chance)
    running.kill()
    stderr, before = running.communicate()[1], complete_here()
    assert at <= before < trials, (before, stderr)
    again = start(words)
    kills += kill_workers_until(lambda: False, again, every, chance)
    found = ended(again)
    wrong = what_is_wrong(url, trials)
    if (found["total"], found["complete"], found["failed"]) != (trials, trials, 0):
        wrong.append(str(found))
    note = f"{trials} trials"
    tally("SIGKILL of a sweep's workers", tried=kills, held=kills * (not wrong), note=note)
    tally("SIGKILL of a sweep's command, typed again", tried=1, held=int(not wrong), note=f"at {before} of {trials}")
    assert not wrong, wrong
    assert kills > 2 or trials < 8


@pytest.mark.long
@pytest.mark.parametrize("kind", ["postgresql" if POSTGRESQL else "sqlite"])
def test_the_budget_is_exact_whatever_is_killed(kind: str) -> None:
    words = ["--epochs", "8", "-s", "data.train_size=128", "--trials", "8", "--workers", "3", "--tracking-uri", "none"]
    with storage(kind) as (named, url):
        kill_workers_and_then_the_command([*words, *named], url, 8, every=0.2, at=3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["journal", "sqlite", "postgresql"])
def test_a_hundred_trials_are_a_hundred_whatever_is_killed(kind: str) -> None:
    trials, store = repeats(100), f"sqlite:///{Path.cwd()}/mlflow.db"
    words = ["--epochs", "10", "--trials", str(trials), "--workers", "8", "--tracking-uri"]
    with storage(kind) as (named, url):
        words += [store if kind == "journal" else "none", *named]
        kill_workers_and_then_the_command(words, url, trials, every=5, at=37 * trials // 100)
    if kind == "journal":
        subprocess.run([sys.executable, "-m", "cnnlab", "sync"], check=True)
        with closing(sqlite3.connect("mlflow.db")) as database:
            runs = database.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall()
            doubled = "SELECT run_uuid, key, step FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1"
            found = (runs, database.execute(doubled).fetchall())
        tally(
            "runs of such a sweep in MLflow",
            tried=trials + 1,
            held=(trials + 1) * (found == ([("FINISHED", trials + 1)], [])),
        )
        assert found == ([("FINISHED", trials + 1)], [])


# paused

STAGED = """
import socket, sys
host = sys.argv.pop(1)
socket.gethostname = lambda: host
from cnnlab.search import claims
claims.FIRST_BEAT_SECONDS, claims.BEAT_SECONDS, claims.SILENCE_SECONDS = 0.1, 0.2, 2.0
from cnnlab.__main__ import main
main()
"""
PAUSED = ["--epochs", "6", "--trials", "3", "--workers", "1", "--tracking-uri", "none"]


def pause_in_a_trial(command: "subprocess.Popen[str]", url: str) -> int:
    """The number of the trial's slot. A command that holds SQLite's lock goes on: nobody could write beside it."""
    while command.poll() is None:
        command.send_signal(signal.SIGSTOP)
        with suppress(OperationalError, StorageInternalError, sqlite3.OperationalError):
            running = [t.user_attrs["cnnlab:slot"] for t in trials_in(url) if t.state == TrialState.RUNNING]
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0)) as database:
                database.execute("BEGIN IMMEDIATE")
            if running:
                return int(running[0])
        command.send_signal(signal.SIGCONT)
        time.sleep(0.2)
    raise AssertionError(command.communicate())


@pytest.mark.long
@pytest.mark.parametrize("where", ["the same folder", pytest.param("another folder", marks=pytest.mark.slow)])
def test_who_was_paused_beyond_the_grace_time_doubles_nothing(where: str) -> None:
    """Two commands that take each other for another machine's, so that only the beat says who lives."""
    one, two = Path("one").absolute(), Path("two" if where == "another folder" else "one").absolute()
    one.mkdir()
    two.mkdir(exist_ok=True)
    url = f"sqlite:///{Path.cwd()}/study.db"

    def start_on(host: str, folder: Path) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", STAGED, host, *COMMAND[3:]]
        return start([*PAUSED, "--storage", url], command, cwd=folder)

    first = start_on("one", one)
    wait_until(lambda: list(one.glob("mlruns/studies/s/trials/*/checkpoints/*.json")))
    paused = pause_in_a_trial(first, url)
    second = start_on("two", two)
    others = Counter({n: 1 for n in range(3) if n != paused})
    wait_until(
        lambda: others <= Counter(t.user_attrs["cnnlab:slot"] for t in trials_in(url) if t.state == TrialState.COMPLETE)
    )
    time.sleep(4)  # twice the grace time
    first.send_signal(signal.SIGCONT)
    found = [ended(second), ended(first)]
    wrong = what_is_wrong(url, 3, two / STUDY)
    held = not wrong and all((f["total"], f["complete"], f["failed"]) == (3, 3, 0) for f in found)
    tally("a worker paused for longer than the grace time", tried=1, held=int(held))
    assert held, (wrong, found, [(t.number, t.state, t.user_attrs) for t in trials_in(url)])


# clocks

JUMPS = """
import os, time
now, now_ns = time.time, time.time_ns
def offset():  # an hour behind, right, an hour ahead: another one each second, and in each process
    return 3600 * ((os.getpid() + int(time.monotonic())) % 3 - 1)
time.time = lambda: now() + offset()
time.time_ns = lambda: now_ns() + offset() * 10**9
"""


def test_nobody_who_lives_is_declared_dead_while_clocks_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("clock").mkdir()
    Path("clock/sitecustomize.py").write_text(JUMPS)  # Python imports it first, in each process
    path = os.pathsep.join(filter(None, ["clock", *sys.path]))
    words = ["--epochs", "8", "-s", "data.train_size=128", "--trials", "8", "--workers", "3", "--tracking-uri", "none"]
    running, declared = start(words, env={**os.environ, "PYTHONPATH": path}), 0
    right = time.time
    while running.poll() is None:
        for hours in (-1, 1):
            with monkeypatch.context() as moved:
                moved.setattr(time, "time", lambda hours=hours: right() + 3600 * hours)
                declared += len(end_dead())  # as `cnnlab doctor` and each start do
        time.sleep(0.5)
    found, wrong = ended(running), what_is_wrong(f"{STUDY}/optuna.journal", 8)
    attempts = len(trials_in(f"{STUDY}/optuna.journal"))
    held = not wrong and (found["complete"], attempts, declared) == (8, 8, 0)
    tally("a sweep whose processes' clocks jump by hours", tried=1, held=int(held))
    assert held, (wrong, found, attempts, declared)


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_a_lease_of_another_machine_is_as_old_as_its_file_system_says(
    hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, right = create_run(RunConfig(), "tests", "none"), time.time
    lease = run.path / "lease.json"
    lease.write_text(json.dumps({**this_process(), "host": "elsewhere"}))
    monkeypatch.setattr(time, "time", lambda: right() + 3600 * hours)
    lives = run.is_held() and not mark_dead(run)
    os.utime(lease, (right() - 120,) * 2)
    held = lives and not run.is_held() and mark_dead(run)
    tally("a lease of another machine, and a clock that is wrong", tried=1, held=int(held))
    assert held
