"""SIGKILL at random moments, and after a checkpoint's write, sync and rename: nothing is lost, nothing comes twice."""

import random
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from cnnlab.records import RunEnded, RunStarted, Steps
from cnnlab.run import load_trained
from cnnlab.tracking import Delivery, RunDir, mark_dead, read
from tests.faults.table import repeats, tally
from tests.faults.trainee import STEPS_AN_EPOCH, config, new_run, outcome, train, train_elsewhere

EPOCHS = 12
LONG = config(EPOCHS)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an uninterrupted run ends with."""
    return uninterrupted(tmp_path_factory.mktemp("whole"))


def uninterrupted(folder: Path) -> dict[str, Any]:
    run = new_run(folder / "run", LONG)
    train(run, LONG)
    return outcome(run)


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
        return load_trained(path)

    Delivery(run, uri, model, lambda path, into: []).advance()


def in_mlflow(run: RunDir) -> tuple[str, list[tuple[int, float]]]:
    """The status and each row of the losses."""
    with sqlite3.connect("mlflow.db") as database:
        ours = "SELECT run_uuid FROM tags WHERE key = 'cnnlab.run_id' AND value = ?"
        found = database.execute(f"SELECT status FROM runs WHERE run_uuid = ({ours})", [run.run_id]).fetchall()
        rows = database.execute(
            f"SELECT step, value FROM metrics WHERE key = 'train/loss' AND run_uuid = ({ours}) ORDER BY step",
            [run.run_id],
        ).fetchall()
    ((status,),) = found
    return status, rows


def kill_and_resume(kills: int, expected: dict[str, Any]) -> None:
    """Kill a run at random moments until it gets to its end, then another; some are delivered in between."""
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
            process.join(moments.uniform(0.1, 0.8) if deaths < 12 else None)
            process.kill()
            process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            deaths += 1
            statuses &= mark_dead(run) and isinstance(read(run.journal_file)[0][-1], RunEnded)
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
def test_kills_at_random_moments(expected: dict[str, Any]) -> None:
    kill_and_resume(6, expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_many_kills_at_random_moments(expected: dict[str, Any]) -> None:
    kill_and_resume(repeats(200), expected)


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
    run = new_run(Path("run"), LONG)
    process = train_elsewhere(run, LONG, DEATHS[moment])
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert mark_dead(run)
    process = train_elsewhere(run, LONG)
    process.join()
    assert process.exitcode == 0
    held = outcome(run) == expected and max(repeated(run)) <= STEPS_AN_EPOCH
    tally(f"SIGKILL after the {moment.split()[0]} of a checkpoint's file", tried=1, held=held)
    assert held
