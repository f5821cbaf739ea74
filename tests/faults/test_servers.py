"""MLflow's server is killed and comes back, an experiment is deleted, a store is of another version."""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from click.testing import Result

from cnnlab.tracking import Deliverer, RunDir, load_progress
from tests.faults.table import repeats, tally
from tests.faults.test_delivery_faults import FAILED
from tests.faults.test_kills import in_mlflow
from tests.faults.test_signals import steps_of
from tests.faults.trainee import outcome
from tests.servers import MlflowServer
from tests.test_store import older_store, query
from tests.test_tracking import FIRST_EPOCH, SECOND_EPOCH, add, created, draw, load_model, make_run

Cli = Callable[..., Result]
Process = Callable[..., "subprocess.CompletedProcess[str]"]

LOSSES = [(1, 0.9), (2, 0.8), (3, 1 / 3), (4, 0.5), (5, 0.4), (6, 0.3)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("server")) as started:
        yield started


TRAIN = ["train", "--epochs", "60", "--json", "-q"]


@pytest.mark.slow
@pytest.mark.parametrize("comes_back", ["at once", "after the training"])
def test_a_server_that_is_killed_in_the_middle_of_a_training(
    comes_back: str, server: MlflowServer, process: Process
) -> None:
    undisturbed = process(*TRAIN, "--tracking-uri", "none", "--run-dir", "undisturbed")
    expected = outcome(RunDir(Path("undisturbed").absolute()))
    command = [sys.executable, "-m", "cnnlab", *TRAIN, "--tracking-uri", server.uri, "--run-dir", "run"]
    training = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run, kills = RunDir(Path("run").absolute()), 0
    while kills < repeats(1) and training.poll() is None:
        before, deadline = load_progress(run, server.uri).offset, time.monotonic() + 60
        while load_progress(run, server.uri).offset == before and time.monotonic() < deadline:
            time.sleep(0.05)
        kills += training.poll() is None
        server.kill()
        if comes_back == "at once":
            server.start()
    stdout, stderr = training.communicate(timeout=120)
    if comes_back != "at once":
        server.start()
    synced = process("sync", "run")
    result = json.loads(stdout)
    held = (training.returncode, stderr.count("\n") <= 1, synced.returncode, kills > 0) == (0, True, 0, True)
    held = held and result["weights_sha256"] == json.loads(undisturbed.stdout)["weights_sha256"]
    held = held and in_mlflow(run, str(server.database)) == ("FINISHED", expected["losses"])
    tally("a server killed in the middle of a training", tried=kills, held=kills * held, note=comes_back)
    assert held, (stderr, synced.stderr, kills, len(steps_of(run)))


def deleted_experiment(uri: str, database: Path, cli: Cli) -> bool:
    """Whether a run of an experiment that was deleted in the middle is named, blocks no other and gets there later."""
    run = make_run([replace(created("deleted", uri), experiment="gone"), *FIRST_EPOCH[1:]], "deleted")
    other = make_run([created("other", uri), *FIRST_EPOCH[1:], *SECOND_EPOCH, FAILED], "other")
    Deliverer(run, uri, load_model, draw).deliver()
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("gone")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    add(run, [*SECOND_EPOCH, FAILED])
    first = cli("sync")
    remedy = f"mlflow experiments restore --experiment-id {experiment.experiment_id}, then cnnlab sync"
    held = (first.exit_code, first.stderr.count("\n"), remedy in first.stderr) == (1, 1, True)
    held = held and in_mlflow(other, str(database)) == ("FAILED", LOSSES)
    client.restore_experiment(experiment.experiment_id)
    second = cli("sync")
    held = held and (second.exit_code, second.stderr) == (0, "")
    if not held:
        print(first.stdout, first.stderr, second.stderr)
    return held and in_mlflow(run, str(database)) == ("FAILED", LOSSES)


def test_an_experiment_that_was_deleted_is_named_and_blocks_no_other(
    tmp_path: Path, empty_store: Path, cli: Cli
) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(empty_store.read_bytes())
    held = deleted_experiment(f"sqlite:///{path}", path, cli)
    tally("an experiment deleted in the middle of a run", tried=1, held=int(held), note="SQLite")
    assert held


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_experiment_that_was_deleted_behind_a_server(server: MlflowServer, cli: Cli) -> None:
    held = deleted_experiment(server.uri, server.database, cli)
    tally("an experiment deleted in the middle of a run", tried=1, held=int(held), note="server")
    assert held


def newer(path: Path) -> str:
    query(path, "UPDATE alembic_version SET version_num = 'feedc0ffee00'")
    return "upgrade MLflow (pip install --upgrade mlflow), or name another store with --tracking-uri"


def half_upgraded(path: Path) -> str:
    path.unlink()
    older_store(path, holds_a_run=True, half_upgraded=True)
    return "put a copy from before in its place; or name another store with --tracking-uri sqlite:///FILE"


OTHERS = {"a newer MLflow's": newer, "half upgraded": half_upgraded}


@pytest.mark.parametrize("which", OTHERS)
def test_a_store_of_another_version_is_one_line_and_blocks_no_other(
    which: str, tmp_path: Path, empty_store: Path, cli: Cli
) -> None:
    theirs, good = (Path(shutil.copy(empty_store, tmp_path / name)) for name in ("theirs.db", "good.db"))
    remedy, before = OTHERS[which](theirs), theirs.read_bytes()
    for name, store in (("a", theirs), ("b", good)):
        records = [*FIRST_EPOCH[1:], *SECOND_EPOCH, FAILED]
        make_run([created(name, f"sqlite:///{store}"), *records], name)
    synced = cli("sync")
    held = (synced.exit_code, synced.stderr.count("\n"), theirs.read_bytes() == before) == (1, 1, True)
    held = held and is_named(synced.stderr, theirs, remedy)
    held = held and in_mlflow(RunDir(Path("mlruns/runs/b").absolute()), str(good)) == ("FAILED", LOSSES)
    doctor = cli("doctor", "--tracking-uri", f"sqlite:///{theirs}")
    held = held and doctor.exit_code == 1 and str(theirs) in doctor.stdout + doctor.stderr
    tally("a store of another version", tried=1, held=int(held), note=which)
    assert held, (synced.stdout, synced.stderr, doctor.stdout, doctor.stderr)


def is_named(line: str, path: Path, remedy: str) -> bool:
    """Whether the line names the file and the remedy; of a long one the middle is left out."""
    return path.name in line and (remedy in line or ("..." in line and remedy[-60:] in line))


@pytest.mark.slow
@pytest.mark.parametrize("which", OTHERS)
def test_a_training_does_not_mind_a_store_of_another_version(
    which: str, tmp_path: Path, empty_store: Path, process: Process
) -> None:
    theirs, good = (Path(shutil.copy(empty_store, tmp_path / name)) for name in ("theirs.db", "good.db"))
    OTHERS[which](theirs)
    trained = process(*TRAIN[:1], "--epochs", "2", "--json", "-q", "--tracking-uri", f"sqlite:///{theirs}")
    lines = trained.stderr.splitlines()
    held = (trained.returncode, len(lines), "run cnnlab sync" in trained.stderr) == (0, 1, True)
    run = RunDir(Path(json.loads(trained.stdout)["run_dir"]))
    synced = process("sync", "--tracking-uri", f"sqlite:///{good}")
    losses = list(enumerate(steps_of(run), start=1))
    held = held and synced.returncode == 0 and in_mlflow(run, str(good)) == ("FINISHED", losses)
    tally("a training whose store is of another version", tried=1, held=int(held), note=which)
    assert held, (trained.stderr, synced.stderr)
    with closing(sqlite3.connect(theirs)) as database:
        assert database.execute("SELECT count(*) FROM metrics").fetchone() == (0,)
