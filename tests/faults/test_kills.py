"""SIGKILL at random moments, and after a checkpoint's write, sync and rename: nothing is lost, nothing comes twice."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from cnnlab.config import RunConfig
from cnnlab.reading.trained import load_trained
from cnnlab.records import RunEnded, RunStarted, Steps
from cnnlab.tracking import Deliverer, RunDir, last, mark_dead, read
from tests.faults.signalled import descendants
from tests.faults.table import repeats, tally
from tests.faults.trainee import STEPS_AN_EPOCH, config, new_run, outcome, train, train_elsewhere

EPOCHS = 5
SHORT, LONG = config(EPOCHS), config(40)


def uninterrupted(of: RunConfig, folder: Path) -> dict[str, Any]:
    """What a run ends with that nobody has killed."""
    run = new_run(folder / "whole", of)
    train(run, of)
    return outcome(run)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return uninterrupted(SHORT, tmp_path_factory.mktemp("short"))


def has_finished(run: RunDir) -> bool:
    ended = last(read(run.journal_file)[0], RunEnded)
    return ended is not None and ended.status == "finished"


def repeated(run: RunDir) -> list[int]:
    """How many steps each resume has trained a second time."""
    reached, again = 0, []
    for record in read(run.journal_file)[0]:
        if isinstance(record, Steps):
            reached = record.last
        if isinstance(record, RunStarted):
            again.append(reached - record.step)
    return again


def deliver(run: RunDir, uri: str) -> None:
    def model(path: Path) -> nn.Module:
        return load_trained(path).model

    Deliverer(run, uri, model, lambda path, into: []).deliver()


def in_mlflow(run: RunDir, store: str = "mlflow.db") -> tuple[str, list[tuple[int, float]]]:
    """The status and each row of the losses."""
    with sqlite3.connect(store) as database:
        ours = "SELECT run_uuid FROM tags WHERE key = 'cnnlab.run_id' AND value = ?"
        found = database.execute(f"SELECT status FROM runs WHERE run_uuid = ({ours})", [run.run_id]).fetchall()
        rows = database.execute(
            f"SELECT step, value FROM metrics WHERE key = 'train/loss' AND run_uuid = ({ours}) ORDER BY step",
            [run.run_id],
        ).fetchall()
    ((status,),) = found
    return status, rows


def kill_and_resume(kills: int) -> None:
    """Kill a run at random moments until it gets to its end, then another; some are delivered in between."""
    expected = uninterrupted(LONG, Path.cwd())
    moments, uri = random.Random(5), f"sqlite:///{Path.cwd()}/mlflow.db"
    killed = runs = 0
    bits, once, interval, statuses = True, True, 0, True
    while killed < kills:
        runs += 1
        run = new_run(Path(f"run-{runs}"), LONG)
        deliver(run, uri)
        deaths = 0
        while True:
            process = train_elsewhere(run, LONG)
            process.join(moments.uniform(0.05, 0.6) if deaths < 12 else None)
            process.kill()
            process.join()
            if process.exitcode == 0 or has_finished(run):
                break
            assert process.exitcode == -signal.SIGKILL
            deaths += 1
            mark_dead(run)
            ended = read(run.journal_file)[0][-1]
            statuses &= isinstance(ended, RunEnded) and ended.status == "died"
            if deaths % 3 == 0:
                deliver(run, uri)
        killed += deaths
        deliver(run, uri)
        bits &= outcome(run) == expected
        once &= in_mlflow(run) == ("FINISHED", expected["losses"])
        interval = max(interval, *repeated(run))
        statuses &= not mark_dead(run)
    held = bits and once and statuses and interval <= STEPS_AN_EPOCH
    note = f"{runs} runs, at most {interval} of {STEPS_AN_EPOCH} steps between checkpoints repeated"
    tally("SIGKILL at random moments", tried=killed, held=killed * held, note=note)
    assert bits, "L3: other bits than those of an uninterrupted run"
    assert once, "L1: not each record once in MLflow"
    assert interval <= STEPS_AN_EPOCH, "L2: more than one checkpoint interval repeated"
    assert statuses, "L4: a run without a last word, or with a false one"


@pytest.mark.filterwarnings("ignore")
def test_kills_at_random_moments() -> None:
    kill_and_resume(8)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_many_kills_at_random_moments() -> None:
    kill_and_resume(repeats(200))


CHECKPOINT = {"its tensors": 0, "its values": 1}
BEST_WEIGHTS = 2 * EPOCHS + 1
DEATHS = {
    **{
        f"{after} of {name}, {number}": (after, 2 * number - 1 + part)
        for after in ("write", "sync", "rename")
        for name, part in CHECKPOINT.items()
        for number in (1, 3)
    },
    **{f"{after} of the best weights": (after, BEST_WEIGHTS) for after in ("write", "sync", "rename")},
}


@pytest.mark.parametrize("moment", DEATHS)
def test_a_kill_while_a_checkpoint_is_saved(moment: str, expected: dict[str, Any]) -> None:
    run = new_run(Path("run"), SHORT)
    process = train_elsewhere(run, SHORT, DEATHS[moment])
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert mark_dead(run)
    process = train_elsewhere(run, SHORT)
    process.join()
    assert process.exitcode == 0
    held = outcome(run) == expected and max(repeated(run)) <= STEPS_AN_EPOCH
    tally(f"SIGKILL after the {moment.split()[0]} of a checkpoint's file", tried=1, held=held)
    assert held


@pytest.mark.slow
def test_kills_of_the_command_with_its_courier() -> None:
    """The real command, whose courier delivers meanwhile and outlives it, or is killed at the same moment."""
    kills, moments = repeats(200) // 10, random.Random(6)
    train_digits = ["train", "--epochs", "40", "-q", "--json"]
    whole = json.loads(command(*train_digits, "--tracking-uri", "none").stdout)
    expected = [(step, loss) for step, loss in outcome(RunDir(Path(whole["run_dir"])))["losses"]]
    killed = runs = together = 0
    lost: list[str] = []
    while killed < kills:
        runs += 1
        words = [*train_digits, "--run-dir", f"run-{runs}"]
        for attempt in range(1, 100):
            running = subprocess.Popen([sys.executable, "-m", "cnnlab", *words], stdout=subprocess.DEVNULL)
            with suppress(subprocess.TimeoutExpired):
                running.wait(moments.uniform(2, 8) if attempt < 6 else None)
            couriers = list(descendants(running.pid)) if killed % 2 else []
            running.kill()
            for courier in couriers:
                os.kill(courier, signal.SIGKILL)
            if running.wait() == 0:
                break
            killed += 1
            together += bool(couriers)
            if RunDir(Path(f"run-{runs}")).is_created():
                words = ["train", "--resume", f"run-{runs}", "-q", "--json"]
        run = RunDir(Path(f"run-{runs}").absolute())
        assert command("sync", str(run.path)).returncode == 0
        found = outcome(run)
        if found["weights"][0] != whole["weights_sha256"] or found["losses"] != expected:
            lost.append(f"{run.path}: other bits")
        if in_mlflow(run, "mlruns/mlflow.db") != ("FINISHED", expected):
            lost.append(f"{run.path}: not each record once in MLflow")
    note = f"{runs} runs; {together} times the courier too"
    tally("SIGKILL of the command beside its courier", tried=killed, held=killed * (not lost), note=note)
    assert not lost


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "cnnlab", *words], capture_output=True, text=True, check=False)
