"""The journal, the run directory, and the delivery to the real MLflow on real SQLite, read back from the database."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from threading import Barrier

import pytest
import torch
from click.testing import Result
from torch import nn

from cnnlab.config import RunConfig
from cnnlab.courier import Deliveries, Follower
from cnnlab.errors import BadInput, InUse, RunFailed
from cnnlab.records import (
    CheckpointSealed,
    Epoch,
    Record,
    RunCreated,
    RunEnded,
    RunStarted,
    Steps,
    from_line,
    to_line,
)
from cnnlab.run import create_run
from cnnlab.tracking import (
    Deliverer,
    Journal,
    RunDir,
    find_run,
    is_delivered,
    list_runs,
    load_progress,
    mark_dead,
    mlflow_run_id,
    new_run_id,
    note_error,
    read,
    resolve,
    runs_root,
)
from cnnlab.tracking.journal import numbered
from cnnlab.tracking.progress import Progress

START = 1_700_000_000.0


def created(run_id: str = "run-1", uri: str = "none") -> RunCreated:
    config = RunConfig().model_dump(mode="json")
    return RunCreated(run_id, START, "tests", uri, config, {"host": "here", "mlflow.source.name": "cnnlab"})


def started(step: int = 0, epoch: int = 0) -> RunStarted:
    return RunStarted(
        time=START,
        step=step,
        epoch=epoch,
        epochs=2,
        steps_per_epoch=3,
        dataset="digits",
        dataset_digest="d" * 32,
        dataset_source="a file",
        classes=("a", "b"),
        image_shape=(1, 4, 4),
        train_size=6,
        val_size=2,
        test_size=2,
        model="cnn",
        parameters=34,
        optimizer="sgd",
        device="cpu",
        precision="fp32",
        seed=0,
    )


def steps(first: int, *losses: float) -> Steps:
    return Steps(first, losses, tuple(START + first + i for i in range(len(losses))))


def epoch(number: int, step: int) -> Epoch:
    train, val = {"loss": 0.5, "accuracy": 0.8}, {"loss": 0.6, "accuracy": 0.7}
    return Epoch(START + step, number, step, train, val, 0.05, 1000.0, 0.1, True)


def changed(record: Record, **values: object) -> str:
    """Its line in a journal, with other values."""
    return json.dumps({**json.loads(to_line(record)), **values})


FIRST_EPOCH: list[Record] = [created(), started(), steps(1, 0.9, 0.8), steps(3, 1 / 3), epoch(1, 3)]
SECOND_EPOCH: list[Record] = [steps(4, 0.5, 0.4, 0.3), epoch(2, 6)]
INTERRUPTED = RunEnded(START + 3.5, "interrupted", "stopped", 3, 1)
FINISHED = RunEnded(
    START + 7,
    "finished",
    "",
    6,
    2,
    best_epoch=2,
    best={"loss": 0.6, "accuracy": 0.7},
    test={"loss": 0.6, "accuracy": 0.75},
    fit_seconds=1.0,
    images_per_second=12.0,
    weights_sha256="f" * 64,
    weights_file="weights",
    confusion=((1, 0), (1, 0)),
)
WHOLE = [*FIRST_EPOCH, *SECOND_EPOCH, FINISHED]


def make_run(records: list[Record], name: str = "run-1") -> RunDir:
    run = RunDir((runs_root() / name).absolute())
    run.path.mkdir(parents=True)
    run.config_file.write_text("name: test\n")
    add(run, records)
    return run


def add(run: RunDir, records: list[Record]) -> None:
    with Journal(run.journal_file) as journal:
        for record in records:
            journal.write(record)


# records and journal


def test_records_survive_the_trip_through_json() -> None:
    records = [*WHOLE, CheckpointSealed(START, 3, 1, "step-3.json")]
    assert [from_line(to_line(record)) for record in records] == records


def test_a_diverged_loss_survives_too() -> None:
    run = make_run([created(), steps(1, float("inf"), float("nan"))])
    losses = read(run.journal_file)[0][1].losses  # type: ignore[union-attr]
    assert losses[0] == float("inf")
    assert losses[1] != losses[1]


def test_a_torn_last_line_waits_for_its_rest_and_is_cut_off_by_the_next_writer() -> None:
    run = make_run(FIRST_EPOCH)
    with open(run.journal_file, "ab") as file:
        file.write(b'{"record": "steps", "fir')
    records, offset = read(run.journal_file)
    assert records == FIRST_EPOCH
    add(run, SECOND_EPOCH)
    assert read(run.journal_file, offset)[0] == SECOND_EPOCH
    assert read(run.journal_file)[0] == [*FIRST_EPOCH, *SECOND_EPOCH]


WRONG_LINES = {
    "a kind of another version": '{"record": "from the future"}',
    "a number": "5",
    "text for a loss": '{"record": "steps", "first": 1, "losses": ["a"], "times": [1.0]}',
    "a number for losses": '{"record": "steps", "first": 1, "losses": 5, "times": [1.0]}',
    "null for a step": '{"record": "steps", "first": null, "losses": [0.5], "times": [1.0]}',
    "text for a time": changed(epoch(1, 3), time="now"),
    "an unknown status": changed(INTERRUPTED, status="sleeping"),
    "text in a shape": changed(started(), image_shape=[1, "a", 4]),
    "text in the confusion": changed(FINISHED, confusion=[[1, "a"]]),
    "a field too many": changed(INTERRUPTED, mood="good"),
    "a field too few": '{"record": "run_ended", "time": 1.0}',
    "a number for a config": changed(created(), config=5),
    "too deep": "[" * 100_000,
}


@pytest.mark.parametrize("case", WRONG_LINES)
def test_a_line_of_another_version_is_no_record(case: str) -> None:
    run = make_run([created()])
    with open(run.journal_file, "ab") as file:
        file.write(numbered(WRONG_LINES[case].encode(), 2))
    with pytest.raises(RunFailed) as caught:
        read(run.journal_file)
    assert str(caught.value).startswith(f"{run.journal_file}: a line of the journal is no record")
    assert "\n" not in str(caught.value)


# run directories


def test_ids_are_readable_and_sort_by_time() -> None:
    early = new_run_id("Digits CNN!", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc))
    assert early.startswith("20260102-030405-digits-cnn-")
    assert early < new_run_id("a", datetime(2026, 1, 2, 3, 4, 6, tzinfo=timezone.utc))
    # with 4 hexadecimal digits about 8 in 1,000 pairs of this many were equal
    assert len({new_run_id("x", datetime(2026, 1, 1, tzinfo=timezone.utc)) for _ in range(2000)}) == 2000


def test_a_run_is_found_by_what_a_user_types() -> None:
    with pytest.raises(BadInput, match="no runs"):
        find_run("last")
    one, two = (make_run([created(name)], name) for name in ("2026-a", "2026-b"))
    assert list_runs() == [one, two]
    assert find_run("2026-a") == find_run(str(one.path)) == one
    with pytest.raises(BadInput, match="2026: 2 runs begin so: 2026-a, 2026-b"):
        find_run("2026")
    with pytest.raises(BadInput, match="no run begins so"):
        find_run("2027")


def replace_journal(run: RunDir, make: Callable[[Path], object]) -> None:
    run.journal_file.unlink()
    make(run.journal_file)


def a_config_of(config: object) -> Callable[[RunDir], None]:
    line = changed(created(), config=config)
    return lambda run: replace_journal(run, lambda path: path.write_bytes(numbered(line.encode(), 1)))


UNREADABLE: dict[str, Callable[[RunDir], None]] = {
    "no config": a_config_of({}),
    "a number for a config": a_config_of(5),
    "a number for a section": a_config_of({"data": 5}),
    "a number for a name": a_config_of({"data": {"dataset": 5}}),
    "nothing": lambda run: replace_journal(run, Path.touch),
    "another version's first line": lambda run: replace_journal(run, lambda path: path.write_text("{}\n")),
    "a pipe": lambda run: replace_journal(run, os.mkfifo),
    "a folder": lambda run: replace_journal(run, Path.mkdir),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_run_that_cannot_be_read_hides_no_other(case: str, cli: Callable[..., Result]) -> None:
    good = make_run([created("2026-good"), *WHOLE[1:]], "2026-good")
    bad = make_run(WHOLE, "2026-mad")
    UNREADABLE[case](bad)
    listed = cli("runs")
    assert listed.exit_code == 0
    assert "2026-good" in listed.stdout
    assert listed.stderr.startswith(f"cnnlab: {bad.journal_file}: ")
    assert listed.stderr.count("\n") == 1
    assert find_run("last") == find_run("2026") == good
    for command in (["show", "2026-mad"], ["train", "--resume", "2026-mad"], ["sync", "2026-mad"]):
        done = cli(*command)
        assert (done.exit_code, done.stdout, done.stderr) == (1, "", listed.stderr)


def test_another_versions_config_is_listed_and_shown(cli: Callable[..., Result]) -> None:
    config = {**created().config, "distill": {"teacher": "run-0"}}
    make_run([replace(created("2026-other"), config=config), *WHOLE[1:]], "2026-other")
    assert "2026-other" in cli("runs").stdout
    assert "distill.teacher=run-0" in cli("show").stdout


def test_a_directory_that_holds_a_run_is_not_taken_again() -> None:
    run = make_run(FIRST_EPOCH)
    with pytest.raises(BadInput, match="--resume"):
        create_run(RunConfig(), "tests", "none", run.path)
    with run.hold():
        assert run.is_held()
        with pytest.raises(InUse, match=f"pid {os.getpid()}"):
            create_run(RunConfig(), "tests", "none", run.path)
        with pytest.raises(InUse), run.hold():
            pass
    assert not run.is_held()


def test_of_many_that_make_a_run_in_one_directory_at_once_one_does(tmp_path: Path) -> None:
    together = Barrier(8)

    def make(_: int) -> str:
        together.wait()
        try:
            return create_run(RunConfig(), "tests", "none", tmp_path / "run").run_id
        except (BadInput, InUse) as error:
            return type(error).__name__

    with ThreadPoolExecutor(8) as pool:
        made = [word for word in pool.map(make, range(8)) if word not in ("BadInput", "InUse")]
    records, _ = read(tmp_path / "run/journal.jsonl")
    assert [record.run_id for record in records if isinstance(record, RunCreated)] == made
    assert len(made) == 1


@pytest.mark.parametrize("left", [b"", b'{"record": "run_cre'])
def test_what_a_process_killed_while_making_a_run_left_is_made_again(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/journal.jsonl").write_bytes(left)
    assert not RunDir(tmp_path / "run").is_created()
    run = create_run(RunConfig(), "tests", "none", tmp_path / "run")
    assert run.is_created()
    (first,) = read(run.journal_file)[0]
    assert isinstance(first, RunCreated)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("ftp://x", "not a store that MLflow takes"),
        ("mlruns", "not a store that MLflow takes"),
        ("file:///tmp/x", "plain folders are refused since MLflow 3.13"),
        ("sqlite://", "SQLite's URI names a file"),
    ],
)
def test_an_unusable_uri_is_refused(uri: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        resolve(uri)


def test_the_flag_wins_over_the_environment_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(None) == f"sqlite:///{Path.cwd()}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert resolve(None) == "http://127.0.0.1:1"
    assert resolve("sqlite:///here.db") == f"sqlite:///{Path.cwd()}/here.db"
    assert resolve("NONE") == "none"


def test_a_command_that_needs_a_store_offers_no_none(
    monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Result]
) -> None:
    for command in ("ui", "doctor", "sync"):
        assert "none" not in cli(command, "--help").stdout
        refused = cli(command, "--tracking-uri", "none")
        assert refused.exit_code == 2
        assert "--tracking-uri none: not a store that MLflow takes; use sqlite:///FILE" in refused.stderr
        assert "none" not in refused.stderr.partition("takes;")[2]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    assert resolve(None) == "none"
    assert resolve(None, needed=True) == f"sqlite:///{Path.cwd()}/mlruns/mlflow.db"


# delivery


class Net(nn.Module):
    """Pickled by its name, so it stands at the top of this file."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1).float())


def load_model(path: Path) -> nn.Module:
    torch.manual_seed(0)
    return Net()


def draw(path: Path, into: Path) -> list[Path]:
    (into / "curves.png").write_bytes(b"a picture")
    return [into / "curves.png"]


def follow(run: RunDir, uri: str, patience: float = 60.0) -> bool:
    """Deliver one run until all of it is there (True) or the store did not answer for too long (False)."""
    follower = Follower(Deliverer(run, uri, load_model, draw))
    while (done := follower.poll(patience)) is None:
        time.sleep(0.2)
    return done


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh MLflow database, made once: its migrations take seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)
    return path


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path) -> str:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def query(sql: str, store: str = "mlflow.db") -> list[tuple[object, ...]]:
    with sqlite3.connect(store) as database:
        return database.execute(sql).fetchall()


def step_losses() -> list[tuple[object, ...]]:
    return query("SELECT step, value FROM metrics WHERE key = 'train/loss' ORDER BY step, timestamp")


def counts() -> dict[str, int]:
    tables = ("runs", "metrics", "params", "tags", "inputs", "datasets", "logged_models", "latest_metrics")
    return {table: query(f"SELECT count(*) FROM {table}")[0][0] for table in tables}  # type: ignore[misc]


def deliver(run: RunDir, uri: str) -> bool:
    return Deliverer(run, uri, load_model, draw).deliver()


def test_a_finished_run_is_all_there(uri: str) -> None:
    run = make_run(WHOLE)
    assert deliver(run, uri)
    assert step_losses() == [(1, 0.9), (2, 0.8), (3, 1 / 3), (4, 0.5), (5, 0.4), (6, 0.3)]
    assert query("SELECT step, value FROM metrics WHERE key = 'val/accuracy' ORDER BY step") == [(3, 0.7), (6, 0.7)]
    assert query("SELECT value, timestamp FROM metrics WHERE key = 'test/accuracy'") == [(0.75, int(START + 7) * 1000)]
    assert query("SELECT name, status, start_time, end_time FROM runs") == [
        (run.created.title, "FINISHED", int(START * 1000), int((START + 7) * 1000))
    ]
    parameters = dict(query("SELECT key, value FROM params"))
    assert parameters["optimizer.lr"] == "0.05"
    assert parameters["model.channels"] == "[16, 32]"
    tags = dict(query("SELECT key, value FROM tags"))
    assert (tags["cnnlab.run_id"], tags["cnnlab.status"], tags["cnnlab.host"]) == ("run-1", "finished", "here")
    assert query("SELECT name, digest FROM datasets") == [("digits", "d" * 32)]
    artifacts = {path.name for path in Path("artifacts").rglob("*") if path.is_file()}
    assert {"config.yaml", "journal.jsonl", "curves.png", "MLmodel", "model.pth"} <= artifacts


@pytest.mark.filterwarnings("ignore")
def test_the_model_comes_back_as_it_was_with_a_signature(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    run = make_run(WHOLE)
    assert deliver(run, uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    model_uri = f"runs:/{load_progress(run, uri).mlflow_run_id}/model"
    model = mlflow.pytorch.load_model(model_uri)
    images = torch.randint(0, 256, (3, 1, 4, 4)).byte()
    assert torch.equal(model(images), load_model(run.path)(images))
    signature = mlflow.models.get_model_info(model_uri).signature
    assert "uint8" in str(signature.inputs)
    assert signature.inputs.inputs[0].shape == (-1, 1, 4, 4)


def test_delivering_again_changes_nothing_even_if_nobody_remembers_the_first_time(uri: str) -> None:
    run = make_run(WHOLE)
    deliver(run, uri)
    before = counts()
    assert deliver(run, uri)
    run.delivery_file.unlink()
    assert deliver(run, uri)
    assert counts() == before
    assert before["logged_models"] == 1


def test_each_run_is_delivered_to_the_store_that_it_was_made_for(cli: Callable[..., Result], empty_store: Path) -> None:
    Path("mlruns").mkdir()
    for store in ("mlflow.db", "mlruns/mlflow.db"):
        shutil.copy(empty_store, store)
    other = f"sqlite:///{Path.cwd()}/mlflow.db"
    for name, store in {"run-1": other, "run-2": "none", "run-3": other, "run-4": "none"}.items():
        make_run([created(name, store), *FIRST_EPOCH[1:], INTERRUPTED], name)
    assert cli("sync").exit_code == 0
    names = "SELECT value FROM tags WHERE key = 'cnnlab.run_id' ORDER BY value"
    assert query(names) == [("run-1",), ("run-3",)]
    assert query(names, "mlruns/mlflow.db") == [("run-2",), ("run-4",)]
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_whatever_store_the_environment_names_all_goes_to_the_runs_own(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = f"sqlite:///{Path.cwd()}/elsewhere.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", elsewhere)
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", elsewhere)
    assert deliver(make_run(WHOLE), uri)
    assert query("SELECT name, status FROM logged_models") == [("model", 2)]  # 2: ready
    assert os.environ["MLFLOW_TRACKING_URI"] == elsewhere
    assert not Path("elsewhere.db").exists()


def test_what_is_said_later_is_delivered_later(uri: str) -> None:
    run = make_run(FIRST_EPOCH)
    assert not deliver(run, uri)
    assert query("SELECT status FROM runs") == [("RUNNING",)]
    assert len(step_losses()) == 3
    add(run, [INTERRUPTED])
    assert deliver(run, uri)
    assert query("SELECT status FROM runs") == [("KILLED",)]
    add(run, [started(3, 1)])
    assert not deliver(run, uri)
    assert query("SELECT status FROM runs") == [("RUNNING",)]
    add(run, [*SECOND_EPOCH, FINISHED])
    assert deliver(run, uri)
    assert query("SELECT status FROM runs") == [("FINISHED",)]
    assert step_losses() == [(1, 0.9), (2, 0.8), (3, 1 / 3), (4, 0.5), (5, 0.4), (6, 0.3)]
    assert counts()["runs"] == 1
    assert query("SELECT count(*) FROM inputs WHERE source_type = 'DATASET'") == [(1,)]


@pytest.mark.parametrize(
    "text",
    ["[1]", "5", "null", "{", "[" * 100_000, '{"URI": 5}', '{"URI": [1]}', '{"URI": {"offset": "3"}}']
    + ['{"URI": {"offset": -1}}', '{"URI": {"complete": 1}}', '{"URI": {"mlflow_run_id": 5}}', '{"URI": {"mood": 1}}'],
    ids=lambda text: text[:40],
)
def test_a_damaged_delivery_file_says_that_nothing_is_delivered(text: str) -> None:
    run = make_run(WHOLE)
    run.delivery_file.write_text(text.replace("URI", "sqlite:///x.db"))
    assert load_progress(run, "sqlite:///x.db") == Progress()
    assert mlflow_run_id(run) is None
    assert not is_delivered(run)
    note_error(run, "sqlite:///x.db", ValueError("no"))
    assert load_progress(run, "sqlite:///x.db").error == "ValueError: no"


def test_a_path_that_is_no_text_is_delivered_too(uri: str) -> None:
    data = {**created().config["data"], "root": "mine\udcff"}
    first = replace(created(), config={**created().config, "data": data}, tags={"command": "cnnlab train \udcff"})
    assert deliver(make_run([first, *WHOLE[1:]]), uri)
    assert query("SELECT value FROM params WHERE key = 'data.root'") == [("mine\\udcff",)]
    assert query("SELECT value FROM tags WHERE key = 'cnnlab.command'") == [("cnnlab train \\udcff",)]


def test_thousands_of_steps_are_there_once_each(uri: str) -> None:
    losses = [1 / (i + 1) for i in range(2500)]
    run = make_run([created(), started(), steps(1, *losses), RunEnded(START + 9999, "failed", "why", 2500, 0)])
    assert deliver(run, uri)
    assert step_losses() == [(i + 1, loss) for i, loss in enumerate(losses)]
    assert query("SELECT value FROM tags WHERE key = 'cnnlab.reason'") == [("why",)]


def test_a_run_that_was_removed_from_the_store_is_delivered_anew(uri: str, empty_store: Path) -> None:
    run = make_run(FIRST_EPOCH)
    deliver(run, uri)
    shutil.copy(empty_store, "mlflow.db")
    assert step_losses() == []
    add(run, SECOND_EPOCH)
    deliver(run, uri)
    assert len(step_losses()) == 6


# the courier


def test_the_courier_follows_a_live_run_to_its_end(uri: str) -> None:
    run = make_run(FIRST_EPOCH)
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[3]);"
        "from cnnlab.tracking import RunDir; from test_tracking import follow;"
        "print(follow(RunDir(Path(sys.argv[1])), sys.argv[2]))"
    )
    with run.hold():
        courier = subprocess.Popen(
            [sys.executable, "-c", code, str(run.path), uri, str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60
        while not step_losses() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert len(step_losses()) == 3
        add(run, [*SECOND_EPOCH, FINISHED])
    assert courier.communicate(timeout=60)[0] == "True\n"
    assert len(step_losses()) == 6
    assert query("SELECT status FROM runs") == [("FINISHED",)]


def test_a_process_that_was_killed_is_marked_and_only_then() -> None:
    run = make_run(FIRST_EPOCH)
    code = (
        "import sys, time; from pathlib import Path; from cnnlab.tracking import RunDir;\n"
        "with RunDir(Path(sys.argv[1])).hold():\n print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    assert not mark_dead(run)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert mark_dead(run)
    ended = read(run.journal_file)[0][-1]
    assert isinstance(ended, RunEnded)
    assert (ended.status, ended.step, ended.epoch) == ("died", 3, 1)
    assert ended.reason == "its process died after epoch 1 of 2; cnnlab train --resume run-1 goes on"
    assert not mark_dead(run)


def test_a_store_that_does_not_answer_stops_nothing_and_gets_it_later(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = make_run(WHOLE)
    nowhere = "http://127.0.0.1:9"
    assert not follow(run, nowhere, patience=0.5)
    error = load_progress(run, nowhere).error
    assert error is not None
    assert "\n" not in error
    assert deliver(run, uri)
    assert len(step_losses()) == 6


def test_a_run_whose_folder_was_removed_is_followed_no_more(uri: str) -> None:
    run = make_run(FIRST_EPOCH)
    shutil.rmtree(run.path)
    assert not follow(run, uri, patience=60)
    assert not run.path.exists()


@pytest.fixture
def courier_that(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Deliveries]:
    """Another program in place of the courier."""

    def made(code: str) -> Deliveries:
        monkeypatch.setattr("cnnlab.courier.command_of", lambda name: [sys.executable, "-c", code])
        return Deliveries("sqlite:///x.db")

    return made


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("input()", "the courier was ended from outside"),
        ("import time; input(); time.sleep(3)", "it takes longer than 1 s"),
    ],
)
def test_the_training_process_learns_that_something_is_not_delivered(
    does: str, said: str, courier_that: Callable[[str], Deliveries], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnlab.courier.WAIT_SECONDS", 1.0 if "sleep" in does else 10.0)
    run = make_run(WHOLE)
    with courier_that(does) as courier:
        courier.add(run)
        assert said in str(courier.wait())
    assert courier._process is not None
    courier._process.wait(10)


def test_if_nothing_is_to_be_delivered_nobody_waits() -> None:
    with Deliveries("none") as nobody:
        nobody.add(make_run(WHOLE))
        assert nobody.wait() is None


def test_a_courier_that_was_told_nothing_is_ended(courier_that: Callable[[str], Deliveries]) -> None:
    with courier_that("import time; time.sleep(60)") as courier:
        process = courier._process
    assert process is not None
    assert process.poll() == -signal.SIGKILL


def test_importing_tracking_imports_neither_mlflow_nor_torch() -> None:
    code = "import sys, cnnlab.tracking; print('mlflow' in sys.modules, 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"
