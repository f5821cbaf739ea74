"""A password in any form of URL: in no file, on no screen, in no message; and where a later command takes it from."""

import base64
import gc
import json
import os
import sqlite3
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import Result

from cnnlab.config import read_config
from cnnlab.config.commands import SweepOptions
from cnnlab.config.space_reading import read_space
from cnnlab.errors import BadInput, CnnlabError, RunFailed, one_line, without_passwords
from cnnlab.run import create_run
from cnnlab.search.storage import open_storage
from cnnlab.tracking import note_error, resolve
from cnnlab.tracking.uri import lacks_password, whole
from tests.faults.table import tally
from tests.servers import POSTGRESQL, postgresql

Cli = Callable[..., Result]

SECRET = "PaSs-Wort7"
FORMS = (
    f"http://{SECRET}@host:5000",
    f"https://me:{SECRET}@host/path",
    f"http://me:a@{SECRET}@host",
    f"http://me:{SECRET}/{SECRET}@host",
    f"http://:{SECRET}@host",
    f"http://{SECRET}:x-oauth@host",
    f"HTTP://me:{SECRET}@[::1]:5000/",
    f"http://host:5000/?password={SECRET}",
    f"http://host/path?a=1&token={SECRET}&b=2",
    f"https://host?access_token={SECRET}",
    f"https://host?api_key={SECRET};x",
    f"http://host/#sig={SECRET}",
    f"postgresql://me:{SECRET}@host/db",
    f"postgresql://me:a@{SECRET}@host/db",
    f"postgresql://me:{SECRET}%40{SECRET}@host:5432/db",
    f"postgresql+psycopg://me:1/{SECRET}@host/db",
    f"postgresql+psycopg://host/db?user=me&password={SECRET}",
    f"postgresql:me:{SECRET}@host/db",
    f"postgresql:me:a@{SECRET}@host",
    f"me:{SECRET}@host",
    f"mysql+pymysql://me:{SECRET}@host:3306/db",
    f"mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BUID%3Dme%3BPWD%3D{SECRET}%3BTrusted%3Dno",
    f"s3://KEY:{SECRET}@bucket/x",
    f"redis://:{SECRET}@host/0",
    f"host=h user=me password={SECRET} dbname=x",
    f"host=h password='{SECRET} {SECRET}' dbname=x",
)
HARMLESS = (
    "sqlite:////home/me@work/mlruns/mlflow.db",
    "sqlite:///mlruns/mlflow.db",
    "postgresql://me@host/db",
    "http://127.0.0.1:5000/#/experiments/1/runs/2?workflowType=machine_learning",
    "https://[::1]:5000/path",
    "data.root: me@work is not a folder; give one with a subfolder of images per class",
    "optimizer.lr: -1.0 is not allowed; it must be greater than 0",
    "20261126-201500-digits-cnn-3f2a9c01d4: complete in sqlite:////tmp/a:b/mlflow.db",
    "12:30:45 me@work",
    "C:\\data\\a.png",
)


def files_with(secret: str, folder: Path = Path()) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.parametrize("around", ["%s", "'%s'", "MLFLOW_TRACKING_URI=%s mlflow", "Error: (%s) at\n", '{"uri": "%s"}'])
def test_the_function_knows_every_form(around: str) -> None:
    texts = [around.replace("%s", form) for form in FORMS]
    leaks = [text for text in texts if SECRET in without_passwords(text)]
    tally("passwords in a text", tried=len(texts), held=len(texts) - len(leaks))
    assert not leaks
    for text in texts:
        assert without_passwords(without_passwords(text)) == without_passwords(text)
    assert [without_passwords(text) for text in HARMLESS] == list(HARMLESS)


def test_a_message_says_no_password_and_no_control_character() -> None:
    held = 0
    for form in FORMS:
        for kind in (BadInput, RunFailed, CnnlabError):
            try:
                raise kind(f"--storage {form}: \x1b[2J\u202e\x07 cannot be opened:\n {form}")
            except CnnlabError as error:
                said = "".join(traceback.format_exception(error)).splitlines()[-1]
                held += SECRET not in said and said.isprintable() and "\\x1b[2J" in said
    tally("passwords in an exception", tried=3 * len(FORMS), held=held)
    assert held == 3 * len(FORMS)
    assert one_line("a\x1b[31m\n b\u202e\xe9") == "a\\x1b[31m b\\u202e\xe9"


def test_a_uri_that_is_refused_is_said_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for form in FORMS:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", form)
        for flag in (form, None):
            try:
                resolve(flag)
            except BadInput as error:
                said.append("".join(traceback.format_exception(error)))
    assert len(said) >= 10
    assert not [text for text in said if SECRET in text]


def test_no_file_of_a_run_or_a_study_has_the_password() -> None:
    from cnnlab.search.plan import Plan
    from cnnlab.search.study import enter

    config = read_config(None, {"data.batch_size": 16})[0]
    for number, form in enumerate(FORMS):
        run = create_run(config, "cnnlab", form, Path(f"run-{number}"), tags={"command": f"cnnlab --storage {form}"})
        note_error(run, form, OSError(f"{form} does not answer"))
        assert json.loads(run.delivery_file.read_text()).keys() == {without_passwords(form)}
        options = SweepOptions(study=f"study-{number}")
        plan = Plan.of(config, read_space(config, ["lr=0.01:1"]), options, tracking_uri=form)
        enter(Plan(**{**vars(plan), "storage": "sqlite:///studies.db"}))
        enter(Plan(**{**vars(plan), "storage": str(Path(f"study-{number}/optuna.journal").absolute())}))
    with closing(sqlite3.connect("studies.db")) as database:
        assert database.execute("SELECT count(*) FROM study_user_attributes").fetchone()[0] >= 2 * len(FORMS)
    found = files_with(SECRET)
    tally("passwords in the files of a run and a study", tried=len(FORMS), held=len(FORMS) if not found else 0)
    assert not found


def test_a_later_command_takes_the_password_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for form in FORMS:
        kept = without_passwords(form)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", form)
        assert whole(kept) == form
        assert not lacks_password(kept)
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        assert lacks_password(kept)
        assert "***" not in whole(kept)
    assert whole("http://***@host:5000") == "http://host:5000", "MLFLOW_TRACKING_USERNAME and _PASSWORD are obeyed"
    assert whole("postgresql://me:***@host/db") == "postgresql://me@host/db", "~/.pgpass is obeyed"
    assert whole("http://host/p?a=1&token=***&b=2") == "http://host/p?a=1&b=2"
    assert whole("http://host/p?a=1&token=***") == "http://host/p?a=1"


class Rude(BaseHTTPRequestHandler):
    """A server that asks for a password, and answers with control characters and at length."""

    seen: ClassVar[list[str]] = []

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = self.headers.get("Authorization", "")
        self.seen.append(base64.b64decode(asked.removeprefix("Basic ")).decode())
        body = b"\x1b[31m\x1b]0;owned\x07 no, " + self.headers["Host"].encode() + b" says no" + b"x" * 5000
        self.send_response(400 if asked else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def rude(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    Rude.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Rude) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:{SECRET}@127.0.0.1:{server.server_port}"
        server.shutdown()


def test_sync_asks_for_the_password_that_is_not_kept(rude: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    create_run(read_config(None, {})[0], "cnnlab", rude, Path("mlruns/runs/one"))
    without = cli("sync")
    assert without.exit_code == 1
    assert "its password is not kept: give the whole URI by --tracking-uri or MLFLOW_TRACKING_URI" in without.stderr
    assert set(Rude.seen) == {""}
    flag = cli("sync", "--tracking-uri", rude)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", rude)
    variable, doctor = cli("sync"), cli("doctor")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "her")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    of_mlflow = cli("sync")
    assert Rude.seen[-1] == f"her:{SECRET}"
    said = [done.output for done in (without, flag, variable, doctor, of_mlflow)]
    lines = [line for text in said for line in text.splitlines()]
    tally(
        "commands that say no password and no control character of a server",
        tried=len(said),
        held=sum(SECRET not in text and text.replace("\n", "").isprintable() for text in said),
    )
    assert Rude.seen.count(f"me:{SECRET}") >= 3
    assert not [line for line in lines if SECRET in line or not line.isprintable() or len(line) > 300]
    assert "rejected the run" in flag.stderr
    assert not files_with(SECRET)


def test_the_user_interface_names_no_password_where_ps_shows_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from cnnlab.cli import ui  # noqa: F401
    from cnnlab.tracking import store

    ran: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda program, words, environment: ran.append((words, environment)))
    monkeypatch.setattr(os, "chdir", lambda folder: None)
    for name in ("open_store", "store_answers", "open_view"):
        monkeypatch.setattr(store, name, lambda uri: None)
        monkeypatch.setattr(f"cnnlab.tracking.{name}", lambda uri: None)
    uri = f"postgresql://me:{SECRET}@127.0.0.1/db"
    done = cli("ui", "--tracking-uri", uri)
    assert SECRET not in done.output
    ((words, environment),) = ran
    tally("passwords in what ps shows", tried=1, held=int(SECRET not in " ".join(words)))
    assert SECRET not in " ".join(words)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri


@pytest.mark.skipif(not POSTGRESQL, reason="needs PostgreSQL: apt-get install postgresql")
# connections that were refused are left to the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.usefixtures("one_plot")
def test_a_sweeps_database_takes_the_password_from_where_its_driver_does(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    words = ["--study", "s", "--workers", "1", "--pruner", "none", "--confirm", "0", "--tracking-uri", "none"]
    words += ["--epochs", "1", "-s", "data.train_size=128", "-q", "--json"]

    def call(command: str, url: str, *more: str, **environment: str) -> Result:
        open_storage.cache_clear()  # as in a new process
        with monkeypatch.context() as changed:
            for name, value in environment.items():
                changed.setenv(name, value)
            return cli(command, *more, "--storage", url)

    with postgresql(SECRET) as server:
        bare, whole_url = server.url, server.url.replace("cnnlab@", f"cnnlab:{SECRET}@")
        refused = [call("sweep", url, *words) for url in (bare, bare.replace("cnnlab@", "cnnlab:no@"))]
        Path(".pgpass").write_text(f"127.0.0.1:*:*:cnnlab:{SECRET}\n")
        Path(".pgpass").chmod(0o600)
        obeyed = [
            call("sweep", whole_url, *words, "--trials", "1"),
            call("sweep", bare, *words, "--trials", "2", PGPASSWORD=SECRET),
            call("show", bare, "s", "--json", PGPASSFILE=str(Path(".pgpass").absolute())),
            call("show", bare, "s", "--json", HOME=str(Path.cwd())),
        ]
        open_storage.cache_clear()
        gc.collect()
    said = [done.output for done in (*refused, *obeyed)]
    named = [done.exit_code == 2 and done.stderr.count("\n") == 1 for done in refused]
    named = [ok and "PGPASSWORD or ~/.pgpass" in done.stderr for ok, done in zip(named, refused, strict=True)]
    totals = [done.exit_code == 0 and json.loads(done.stdout)["trials"]["complete"] for done in obeyed]
    kept = files_with(SECRET, Path("mlruns"))
    tally(
        "a PostgreSQL that asks for a password: in the URL, PGPASSWORD, PGPASSFILE, ~/.pgpass, wrong, none",
        tried=6,
        held=(named.count(True) + sum(map(bool, totals))) * (not kept),
    )
    assert all(named), [done.stderr for done in refused]
    assert totals == [1, 2, 2, 2], said
    assert not kept
    assert not [text for text in said if SECRET in text]
