"""MLflow's side fails in every way: nothing of a run is lost, nobody waits long, and what is refused is named."""

import json
import math
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import mlflow
import pytest
from click.testing import Result
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST

from cnnlab.courier import follow_all
from cnnlab.records import Epoch, Record, RunCreated, RunEnded
from cnnlab.tracking import Deliverer, RunDir, load_progress
from cnnlab.tracking.delivery import accepted_key
from tests.faults.table import repeats, tally
from tests.servers import MlflowServer
from tests.test_tracking import FINISHED, START, WHOLE, created, draw, epoch, load_model, make_run, started, steps

Process = Callable[..., "subprocess.CompletedProcess[str]"]
Cli = Callable[..., Result]

FAILED = RunEnded(START + 7, "failed", "without a network", 6, 2)
QUICK = ("train", "--epochs", "1", "-s", "data.train_size=128")


@pytest.fixture
def uri(tmp_path: Path, empty_store: Path) -> str:
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    return f"sqlite:///{tmp_path}/mlflow.db"


def query(sql: str) -> list[Any]:
    with closing(sqlite3.connect("mlflow.db")) as database:
        return database.execute(sql).fetchall()


# what MLflow takes only in another form, or not at all


def odd_records() -> list[Record]:
    """A run with everything that MLflow has a limit for."""
    config = created().config
    config["data"]["root"] = "/" + "long/" * 2000
    config["model"] = {**config["model"], "k" * 300: 1, "<script>": "ü" * 6000, "../up": 0}
    names = ["<script>alert(1)</script>", "a/../b", "/", ".", "ü" * 400, "ü" * 400 + "2", "iou_road sign"]
    measured = {f"iou_{name}": 0.5 for name in names}
    odd = epoch(1, 3)
    odd = replace(odd, val={**odd.val, **measured, "nan": math.nan}, train={**odd.train, "up": math.inf})
    wide = replace(started(), classes=tuple(f"class {number} " + "x" * 200 for number in range(6000)))
    first = replace(created(), config=config, tags={**created().tags, "command": "x" * 20_000, "t" * 300: "y"})
    return [first, wide, steps(1, math.nan, math.inf, -math.inf), odd, FINISHED]


def test_what_mlflow_has_limits_for_is_there_in_an_accepted_form(uri: str) -> None:
    run = make_run(odd_records())
    deliverer = Deliverer(run, uri, load_model, draw)
    assert deliverer.deliver()
    rows = query("SELECT key, value, is_nan FROM metrics")
    measured = {
        accepted_key(f"val/{name}") for record in odd_records() if isinstance(record, Epoch) for name in record.val
    }
    params = {
        accepted_key(key)
        for record in odd_records()
        if isinstance(record, RunCreated)
        for key in record.mlflow_params()
    }
    there = {key for key, _, _ in rows} & measured
    kept = {key for (key,) in query("SELECT key FROM params")}
    tally(
        "keys, parameters and values that MLflow has limits for",
        tried=len(measured | params),
        held=len(there) + len(kept),
    )
    assert there == measured
    assert kept == params
    assert [nan for key, _, nan in rows if key == "train/loss"] == [1, 0, 0]
    assert not deliverer.refused
    names = {value for (value,) in query("SELECT value FROM tags WHERE key LIKE 'cnnlab.key.%'")}
    assert "val/iou_<script>alert(1)</script>" in names, "the name as it was can be found"


def test_two_keys_stay_two_and_good_ones_stay_as_they_are() -> None:
    keys = ["val/accuracy", "a" * 300, "a" * 301, "x<y", "x>y", "../a", "a/", ".", "..", "ü" * 251]
    assert len({accepted_key(key) for key in keys}) == len(keys)
    assert accepted_key("val/iou_road sign") == "val/iou_road sign"
    assert all(len(accepted_key(key)) <= 250 for key in keys)


def test_what_mlflow_refuses_for_good_is_set_aside_and_blocks_nothing(uri: str, cli: Cli) -> None:
    """A parameter that MLflow has with another value."""
    run = make_run([*WHOLE[:-1], FAILED])
    before = Deliverer(make_run([created()], "other"), uri, load_model, draw)
    before.client.create_experiment("tests")
    mlflow_run = before.client.create_run("1", tags={"cnnlab.run_id": "run-1"}).info.run_id
    before.client.log_param(mlflow_run, "optimizer.lr", "7")
    done = cli("sync", "run-1", "--tracking-uri", uri)
    assert done.exit_code == 0
    assert "run-1: not in MLflow, only in the run's own files: " in done.stderr
    assert "params: optimizer.lr (" in done.stderr
    assert load_progress(run, uri).complete
    assert query("SELECT count(*) FROM metrics WHERE key = 'train/loss'") == [(6,)]
    assert query("SELECT count(*) FROM params") == [(len(created().mlflow_params()),)]
    assert "optimizer.lr" in query("SELECT value FROM tags WHERE key = 'cnnlab.refused'")[0][0]
    assert query("SELECT status FROM runs WHERE name <> 'other'") == [("FAILED",)]
    tally("refused for good, the rest delivered", tried=1, held=1)


def test_a_run_that_cannot_be_read_or_noted_ends_the_courier_for_no_other(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal's first line is lost; its folder takes no file."""
    monkeypatch.setattr("cnnlab.courier.PATIENCE_SECONDS", 0)
    monkeypatch.setattr("cnnlab.courier.draw", draw)
    broken, good = make_run(WHOLE[:-1], "broken"), make_run([created("good"), *WHOLE[1:-1], FAILED], "good")
    journal = broken.journal_file.read_bytes()
    broken.journal_file.write_bytes(journal.replace(b"tests", b"tEsts", 1))
    broken.delivery_file.mkdir()
    runs: SimpleQueue[tuple[RunDir, str] | None] = SimpleQueue()
    for item in ((broken, uri), (good, uri), None):
        runs.put(item)
    follow_all(runs)
    held = load_progress(good, uri).complete
    tally("a run that the courier cannot read, beside another", tried=1, held=int(held))
    assert held


# several at once


@pytest.mark.parametrize("method", ["create_experiment", "create_run", "log_batch", "log_inputs"])
def test_whoever_loses_a_race_tries_again(method: str, uri: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """As MLflow says it if another process has added the same row meanwhile."""
    usual, calls = getattr(mlflow.MlflowClient, method), 0

    def lost(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            said = "(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.experiment_id, datasets.name"
            raise MlflowException(said, error_code=BAD_REQUEST)
        return usual(*args, **kwargs)

    monkeypatch.setattr(mlflow.MlflowClient, method, lost)
    make_run([created(uri=uri), *WHOLE[1:-1], FAILED])
    done = cli("sync")
    tally("a row that another deliverer was faster to add", tried=1, held=int(done.exit_code == 0))
    assert (done.exit_code, done.stderr) == (0, "")
    assert query("SELECT count(*), count(DISTINCT run_uuid) FROM metrics WHERE key = 'train/loss'") == [(6, 1)]


@pytest.mark.slow
def test_sixteen_first_syncs_at_once_all_succeed(tmp_path: Path) -> None:
    """Each makes the store, the experiment and the dataset, which is the same for all."""
    uri, held = f"sqlite:///{tmp_path}/mlflow.db", 0
    for turn in range(repeats(5)):
        names = [f"run-{turn}-{number}" for number in range(16)]
        for name in names:
            make_run([created(name, uri), *WHOLE[1:-1], FAILED], name)
        syncs = [
            subprocess.Popen([sys.executable, "-m", "cnnlab", "sync", name], stderr=subprocess.PIPE) for name in names
        ]
        ended = [(sync.communicate(timeout=300)[1], sync.returncode) for sync in syncs]
        held += sum(end == (b"", 0) for end in ended)
        print({end for end in ended if end != (b"", 0)})
        assert query("SELECT count(*), count(DISTINCT run_uuid) FROM metrics WHERE key = 'train/loss'") == [(96, 16)]
        Path("mlflow.db").unlink()
    tally("16 first syncs at once", tried=16 * repeats(5), held=held)
    assert held == 16 * repeats(5)


def test_a_second_deliverer_names_the_first(uri: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.tracking.delivery.TURN_SECONDS", 0.2)
    make_run([created(uri=uri), *WHOLE[1:-1], FAILED])
    held, done = threading.Event(), threading.Event()

    def deliver() -> None:
        with Deliverer(RunDir(Path("mlruns/runs/run-1").absolute()), uri, load_model, draw)._turn():
            held.set()
            done.wait(60)

    first = threading.Thread(target=deliver)
    first.start()
    held.wait(60)
    second = cli("sync")
    done.set()
    first.join()
    assert second.exit_code == 1
    assert "is delivering this run" in second.stderr
    assert second.stderr.count("\n") == 1
    assert cli("sync").exit_code == 0


# nobody answers


@contextmanager
def hanging() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refusing() -> int:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


FORMS = ["http://127.0.0.1:{}", "postgresql+psycopg://u:secret@127.0.0.1:{}/db"]


@pytest.mark.parametrize("form", FORMS, ids=["http", "postgresql"])
def test_doctor_and_sync_end_soon_if_nobody_answers(form: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnnlab.tracking.store.ANSWER_SECONDS", 1)
    ends: list[str] = []
    with hanging() as silent:
        for port in (silent, refusing()):
            uri = form.format(port)
            name = f"run-{port}"
            make_run([created(name, uri), *WHOLE[1:]], name)
            for words in (["sync", name], ["doctor", "--tracking-uri", uri]):
                began = time.monotonic()
                done = cli(*words)
                assert done.exit_code == 1
                output = done.stdout + done.stderr
                assert "does not answer" in output
                ends.append(f"{words[0]} {time.monotonic() - began:.0f} s")
    tally("doctor and sync without an answer", tried=4, held=4, note=", ".join(ends))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=["http", "postgresql"])
def test_train_ends_within_ten_seconds_and_sync_delivers_the_rest(form: str, process: Process) -> None:
    seconds = []
    with hanging() as silent:
        for port in (silent, refusing()):
            began = time.monotonic()
            done = process(*QUICK, "--json", "--tracking-uri", form.format(port))
            result = json.loads(done.stdout)
            assert (done.returncode, result["status"]) == (0, "finished")
            assert "missing: all of it" in done.stderr
            assert "run cnnlab sync" in done.stderr
            seconds.append(time.monotonic() - began)
    assert process("sync", "--tracking-uri", f"sqlite:///{Path('here.db').absolute()}").returncode == 0
    with closing(sqlite3.connect("here.db")) as database:
        losses = database.execute(
            "SELECT count(*), count(DISTINCT step) FROM metrics WHERE key = 'train/loss'"
        ).fetchone()
    tally("train without an answer", tried=2, held=2, note=f"at most {max(seconds):.0f} s in all")
    assert losses[0] == 2 * losses[1] == 2 * result["steps"]


# a real server behind a proxy that misbehaves


class Proxy:
    """Passes requests on to a server, or answers them as `mode` says: a status, hang, nonsense, cut."""

    def __init__(self, port: int) -> None:
        self.mode = "pass"
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None: ...

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                mode = proxy.mode if self.path != "/health" else "pass"
                if mode == "hang":
                    time.sleep(60)
                elif mode.isdecimal():
                    self.answer(int(mode), b"<html>no \x1b[31m</html>")
                elif mode == "nonsense":
                    self.answer(200, b"{]\x00")
                elif mode == "too large" and self.command == "PUT":
                    self.answer(413, b"<html>too large</html>")
                elif mode == "cut" and self.command == "PUT":
                    self.connection.close()
                else:
                    status, answer = proxy.pass_on(port, self.command, self.path, body, dict(self.headers))
                    self.answer(status, answer)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def answer(self, status: int, body: bytes) -> None:
                with suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.send_header("Content-Type", "application/json")
                    self.end_headers()
                    self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def pass_on(port: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request(method, path, body, {**headers, "Host": f"127.0.0.1:{port}", "Accept-Encoding": "identity"})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Before a real server of MLflow's."""
    with MlflowServer(tmp_path_factory.mktemp("server")) as server:
        proxy = Proxy(server.port)
        yield proxy
        proxy.server.shutdown()
        proxy.server.server_close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("mode", ["hang", "401", "403", "413", "429", "500", "503", "nonsense", "cut"])
def test_a_server_that_misbehaves_gets_all_of_it_later(mode: str, proxy: Proxy, cli: Cli) -> None:
    name = f"run-{mode}"
    odd = [record for record in odd_records()[:-1] if not isinstance(record, RunCreated)]
    run = make_run([created(name, proxy.uri), *odd, replace(FAILED, step=3)], name)
    proxy.mode, began = mode, time.monotonic()
    first = cli("sync", name)
    seconds = time.monotonic() - began
    proxy.mode = "pass"
    second = cli("sync", name)
    client = mlflow.MlflowClient(proxy.uri)
    mlflow_run = client.get_run(str(load_progress(run, proxy.uri).mlflow_run_id))
    losses = client.get_metric_history(mlflow_run.info.run_id, "train/loss")
    held = first.exit_code == 1 and first.stderr.count("\n") == 1 and "Traceback" not in first.stderr
    held = held and second.exit_code == 0 and mlflow_run.info.status == "FAILED" and len(losses) == 3
    tally("a server that misbehaves", tried=1, held=int(held), note=f"{mode} {seconds:.0f} s")
    assert held, (first.stderr, second.stderr, len(losses), mlflow_run.info.status)
    assert seconds < 30
    assert [math.isnan(loss.value) for loss in sorted(losses, key=lambda loss: loss.step)] == [True, False, False]
    assert {artifact.path for artifact in client.list_artifacts(mlflow_run.info.run_id)} >= {
        "config.yaml",
        "journal.jsonl",
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_upload_that_a_server_refuses_for_good_is_set_aside(proxy: Proxy, cli: Cli) -> None:
    run = make_run([created("large", proxy.uri), *WHOLE[1:-1], FAILED], "large")
    proxy.mode = "too large"
    done = cli("sync", "large")
    proxy.mode = "pass"
    progress = load_progress(run, proxy.uri)
    status = mlflow.MlflowClient(proxy.uri).get_run(str(progress.mlflow_run_id)).info.status
    held = (done.exit_code, status, progress.complete) == (
        0,
        "FAILED",
        True,
    ) and "artifact: journal.jsonl" in done.stderr
    tally("refused for good, the rest delivered", tried=1, held=int(held))
    assert held, (done.stderr, status, progress)
