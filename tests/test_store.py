"""A SQLite store that several processes begin at once, or that was left unfinished; real processes, the real MLflow."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from click.testing import Result

from cnnlab.errors import RunFailed
from cnnlab.records import RunEnded
from cnnlab.tracking import Deliverer, RunDir, is_delivered, load_progress, open_store, store_answers
from cnnlab.tracking import store as store_module
from cnnlab.tracking.progress import Progress, save_progress
from tests.test_tracking import FIRST_EPOCH, START, WHOLE, created, deliver, make_run

CROWD = Path(__file__).with_name("crowd.py")
FAILED = RunEnded(START + 3.5, "failed", "it diverged", 3, 1)  # such a run has no model, which takes seconds to log
OLDER = "7f2a7d5fae7d"
"""The schema at which twelve processes at once left a store, before there was a lock."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mlruns" / "mlflow.db"


@pytest.fixture
def uri(path: Path) -> str:
    return f"sqlite:///{path}"


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(sql).fetchall()
        database.commit()
        return rows


IDS = "FROM runs JOIN tags USING (run_uuid) WHERE key = 'cnnlab.run_id'"
"""A row for each run, with its id as `value`."""


def failed_runs(count: int, uri: str) -> list[RunDir]:
    names = [f"run-{number:02}" for number in range(count)]
    return [make_run([created(name, uri), *FIRST_EPOCH[1:], FAILED], name) for name in names]


def crowd(*words: object) -> None:
    done = subprocess.run([sys.executable, CROWD, *map(str, words)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]


def assert_all_there_once(path: Path, runs: list[RunDir]) -> None:
    assert query(path, f"SELECT value, status, count(*) {IDS} GROUP BY value, status ORDER BY value") == [
        (run.run_id, "FAILED", 1) for run in runs
    ]
    assert query(path, "SELECT count(*) FROM metrics WHERE key = 'train/loss'") == [(3 * len(runs),)]
    assert query(path, "SELECT name FROM experiments ORDER BY experiment_id") == [("Default",), ("tests",)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert all(is_delivered(run) for run in runs)


def schema(path: Path) -> list[tuple[object, ...]]:
    """Tables and indexes with their columns; MLflow writes the CHECKs of a table in another order each time."""
    return query(
        path,
        """SELECT m.type, m.tbl_name, m.name, c.name, c.type, c."notnull", c.pk FROM sqlite_master m
           LEFT JOIN pragma_table_info(m.name) c ORDER BY m.type, m.name, c.cid""",
    )


@pytest.fixture(scope="session")
def mlflows_own(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """The schema of a store that MLflow made alone and undisturbed."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("own") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}")
    return schema(path)


def older_store(path: Path, holds_a_run: bool, half_upgraded: bool = False) -> None:
    """A store as an older MLflow made it; half upgraded: with a table in it that the next migration wants to make."""
    from alembic import command
    from mlflow.store.db import utils

    path.parent.mkdir(parents=True, exist_ok=True)
    engine = utils.create_sqlalchemy_engine(f"sqlite:///{path}")
    utils.InitialBase.metadata.create_all(engine)
    command.upgrade(utils._get_alembic_config(f"sqlite:///{path}"), OLDER)
    engine.dispose()
    if holds_a_run:
        query(path, "INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (7, 'mine', 'active')")
        query(
            path,
            "INSERT INTO runs (run_uuid, name, experiment_id, lifecycle_stage, status, source_type, start_time) "
            "VALUES ('0123', 'old', 7, 'active', 'FINISHED', 'LOCAL', 1)",
        )
        query(path, "INSERT INTO params (key, value, run_uuid) VALUES ('lr', '0.1', '0123')")
    if half_upgraded:
        query(path, "CREATE TABLE _alembic_tmp_params (key VARCHAR(250) NOT NULL)")


# several at once


@pytest.mark.slow
def test_sixteen_processes_begin_one_store_and_each_run_is_there_once(path: Path, uri: str) -> None:
    runs = failed_runs(16, uri)
    crowd("deliver", uri, *(run.path for run in runs))
    assert_all_there_once(path, runs)


@pytest.mark.slow
def test_the_maker_may_be_killed_at_any_moment(path: Path, uri: str, mlflows_own: list[tuple[object, ...]]) -> None:
    runs = failed_runs(3, uri)
    crowd("killed", uri, *(run.path for run in runs))
    assert_all_there_once(path, runs)
    assert schema(path) == mlflows_own
    assert not list(path.parent.glob("*unfinished*")), "what this version makes is never half made"


def commands_at_once(commands: list[list[str]]) -> list[int]:
    """Real processes of `cnnlab`, started together; their exit codes."""
    with open("said.txt", "w") as said, ExitStack() as ended:
        processes = [
            ended.enter_context(
                subprocess.Popen([sys.executable, "-m", "cnnlab", *command], stdout=said, stderr=subprocess.STDOUT)
            )
            for command in commands
        ]
        return [process.wait() for process in processes]


@pytest.mark.long
def test_trainings_that_begin_at_once_are_all_in_mlflow(path: Path) -> None:
    train = ["train", "--epochs", "1", "-s", "data.train_size=64", "--seed"]
    assert commands_at_once([[*train, str(seed)] for seed in range(3)]) == [0, 0, 0]
    runs = [RunDir(run) for run in Path("mlruns/runs").iterdir()]
    deadline = time.monotonic() + 600  # a machine that is busy makes the couriers late
    while time.monotonic() < deadline and not all(is_delivered(run) for run in runs):
        time.sleep(0.5)
    assert query(path, "SELECT status, count(*) FROM runs GROUP BY status") == [("FINISHED", 3)]
    assert query(path, "SELECT count(*) FROM logged_models") == [(3,)]


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(10))
def test_sixteen_real_commands_begin_one_store(turn: int, path: Path, uri: str) -> None:
    runs = failed_runs(16, uri)
    codes = commands_at_once([["sync", run.run_id] for run in runs])
    assert codes == [0] * 16, Path("said.txt").read_text()
    assert_all_there_once(path, runs)


@pytest.mark.parametrize(("message", "exit_code", "calls"), [("database is locked", 0, 2), ("disk is full", 1, 1)])
def test_sync_tries_again_if_the_file_is_locked(
    message: str,
    exit_code: int,
    calls: int,
    path: Path,
    uri: str,
    cli: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed_runs(1, uri)
    deliver, called = Deliverer.deliver, []

    def fail_first(deliverer: Deliverer) -> bool:
        called.append(deliverer)
        if len(called) == 1:
            raise sqlite3.OperationalError(message)
        return deliver(deliverer)

    monkeypatch.setattr(Deliverer, "deliver", fail_first)
    assert (cli("sync").exit_code, len(called)) == (exit_code, calls)


# left unfinished


@pytest.mark.slow
def test_what_mlflow_itself_leaves_when_it_is_killed_is_made_again(
    tmp_path: Path, mlflows_own: list[tuple[object, ...]]
) -> None:
    stores = [tmp_path / str(number) / "mlflow.db" for number in range(6)]
    for store in stores:
        store.parent.mkdir()
    crowd("mlflow", *(f"sqlite:///{store}" for store in stores))
    assert all(schema(store) == mlflows_own for store in stores)
    assert any(list(store.parent.glob("mlflow.db.unfinished-*")) for store in stores), "none was caught half made"


def test_an_unfinished_store_is_set_aside_and_all_runs_are_delivered_again(
    path: Path, uri: str, cli: Callable[..., Result], caplog: pytest.LogCaptureFixture
) -> None:
    runs = failed_runs(2, uri)
    for run in runs:  # as if an earlier store at this place had it
        save_progress(run, uri, Progress("f" * 32, offset=run.journal_file.stat().st_size, complete=True))
    older_store(path, holds_a_run=False, half_upgraded=True)
    assert is_delivered(runs[0])
    result = cli("sync")
    assert result.exit_code == 0, result.output
    assert_all_there_once(path, runs)
    aside = next(path.parent.glob("mlflow.db.unfinished-*"))
    assert query(aside, "SELECT * FROM alembic_version") == [(OLDER,)]
    assert caplog.messages == [
        f"{path}: this store was left unfinished and held no runs: set aside as {aside.name}, made again"
    ]
    assert cli("sync").exit_code == 0
    assert_all_there_once(path, runs)


@pytest.mark.long
def test_a_store_that_was_removed_gets_all_runs_again(
    path: Path, uri: str, process: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    runs = failed_runs(2, uri)
    assert process("sync").returncode == 0
    for file in path.parent.glob("mlflow.db*"):
        file.unlink()
    assert not is_delivered(runs[0])
    assert process("sync").returncode == 0
    assert_all_there_once(path, runs)


def test_an_older_store_is_upgraded_with_all_that_is_in_it(path: Path, uri: str) -> None:
    older_store(path, holds_a_run=True)
    assert open_store(uri) == 0, "what was delivered to it remains so"
    assert query(path, "SELECT name, experiment_id, status FROM runs") == [("old", 7, "FINISHED")]
    assert query(path, "SELECT key, value, run_uuid FROM params") == [("lr", "0.1", "0123")]
    assert deliver(make_run([*FIRST_EPOCH, FAILED]), uri)
    assert sorted(file.name for file in path.parent.glob("*mlflow.db*")) == ["mlflow.db", "mlflow.db.lock"]


def test_another_program_that_makes_the_store_meanwhile_is_not_disturbed(
    path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    create = store_module._create

    def create_while_mlflow_does(copy: Path) -> None:
        MlflowClient(uri).create_experiment("theirs")
        create(copy)

    monkeypatch.setattr(store_module, "_create", create_while_mlflow_does)
    open_store(uri)
    assert query(path, "SELECT name FROM experiments ORDER BY 1") == [("Default",), ("theirs",)]


# not to be touched


def refused(path: Path, uri: str) -> str:
    """What is said of a store, by whichever way one comes to it, while the file stays as it is, byte for byte."""
    before, run = path.read_bytes(), make_run(WHOLE)
    with pytest.raises(RunFailed) as error:
        open_store(uri)
    with pytest.raises(RunFailed):
        deliver(run, uri)
    assert store_answers(uri) == str(error.value)
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.glob("*mlflow.db*")) == ["mlflow.db", "mlflow.db.lock"]
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_half_upgraded_store_with_runs_is_named_and_left_alone(
    path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    older_store(path, holds_a_run=True, half_upgraded=True)
    tries: list[Path] = []
    migrate = store_module._migrate
    monkeypatch.setattr(store_module, "_migrate", lambda copy: (tries.append(copy), migrate(copy)))
    said = refused(path, uri)
    assert said.startswith(f"{path}: MLflow ")
    assert "table _alembic_tmp_params already exists" in said
    assert "put a copy from before in its place; or name another store with --tracking-uri" in said
    assert len(tries) == 1, "a large store is not copied at every attempt"


def test_a_newer_store_is_named_and_left_alone(path: Path, uri: str, cli: Callable[..., Result]) -> None:
    open_store(uri)
    query(path, "UPDATE alembic_version SET version_num = 'feedc0ffee00'")
    said = refused(path, uri)
    assert said.startswith(f"{path}: a newer MLflow made this store (its schema is feedc0ffee00) than the one here")
    assert "pip install --upgrade mlflow" in said
    result = cli("ui")
    assert (result.exit_code, result.stderr) == (1, f"cnnlab: {said}\n")


def test_a_server_is_left_alone() -> None:
    assert open_store("http://127.0.0.1:1") == 0
    assert open_store("postgresql://nobody@127.0.0.1:1/mlflow") == 0
    assert os.listdir() == []


def test_what_is_known_of_a_store_counts_for_that_store_only(uri: str, path: Path) -> None:
    run = make_run(WHOLE)
    mine = Progress("f" * 32, offset=10, stamp=open_store(uri))
    save_progress(run, uri, mine)
    assert load_progress(run, uri) == mine
    query(path, "PRAGMA user_version = 5")
    assert load_progress(run, uri) == Progress()
