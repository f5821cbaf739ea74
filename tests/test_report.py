"""`cnnlab report`: pages that load nothing, in which names are text; and what MLflow shows of runs."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import mlflow
import pytest
from click.testing import Result

from cnnlab.records import RunCreated, TrialEnded
from cnnlab.tracking import read
from tests.pages import check_page

Cli = Callable[..., Result]
HOSTILE = '<script src="http://example.invalid/x.js"></script>"><b>'
HERE = ("--tracking-uri", "none", "--epochs", "1", "-s", "data.train_size=128")


def test_a_page_of_a_run_loads_nothing_and_its_names_are_text(cli: Cli) -> None:
    assert cli("train", *HERE, "-s", f"name={HOSTILE!r}").exit_code == 0
    done = cli("report")
    (path,) = Path("mlruns/runs").resolve().glob("*/report.html")
    assert (done.exit_code, done.stdout) == (0, f"{path.relative_to(Path.cwd())}\n")
    page = check_page(path)
    assert "&lt;script" in page.text
    assert page.text.count("data:image/png") == 2
    assert cli("report", "last", "-o", "run.html").stdout == "run.html\n"
    assert Path("run.html").read_text() == page.text


def test_a_page_of_a_sweep_and_of_a_comparison(cli: Cli) -> None:
    sweep = ("sweep", "--trials", "4", "--workers", "1", "--confirm", "0", "--study", "s", "--search", "lr=0.01:0.2")
    assert cli(*sweep, "--only", *HERE).exit_code == 0
    assert cli("report", "s", "-o", "s.html").exit_code == 0
    page = check_page(Path("s.html"))
    assert "Validation score after each epoch" in page.text
    few = ("--trials", "2", "--tunings", "1", "--seeds", "2", "--workers", "1")
    assert cli("compare", "--optimizers", "sgd,adam", *few, "--study", "c", *HERE).exit_code == 0
    assert cli("report", "c", "-o", "c.html").exit_code == 0
    assert "sgd" in check_page(Path("c.html")).text
    ended = [record for record in read(Path("mlruns/studies/s/journal.jsonl"))[0] if isinstance(record, TrialEnded)]
    assert [record.ended for record in ended] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "nothing: no run begins so"),
        ([""], "RUN is empty"),
        (["last"], "there are no runs"),
    ],
)
def test_bad_input_is_one_line(cli: Cli, words: list[str], message: str) -> None:
    done = cli("report", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("output", ["", ".", "no/such/folder.html", "x" * 300 + "/y"])
def test_a_file_that_cannot_be_written_is_refused(cli: Cli, output: str) -> None:
    assert cli("train", *HERE).exit_code == 0
    done = cli("report", "last", "-o", output)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("cnnlab: --output: ")


def test_the_best_so_far_never_gets_worse_on_its_axis() -> None:
    """Trials 2, 0 and 1 end in this order."""
    ends = [
        TrialEnded(1.0, n, "complete", v, b, {}, i + 1)
        for i, (n, v, b) in enumerate([(2, 0.23, 0.23), (0, 0.84, 0.84), (1, 0.5, 0.84)])
    ]
    rows = [row for record in ends for row in record.mlflow_metrics()]
    best = sorted((row.step, row.value) for row in rows if row.key == "best/val_accuracy")
    assert best == [(1, 0.23), (2, 0.84), (3, 0.84)]


def test_a_name_begins_with_what_the_run_is() -> None:
    config = {"data": {"dataset": "pictures"}, "model": {"name": "cnn"}, "optimizer": {"name": "sgd", "lr": 0.05}}
    at = datetime(2026, 11, 25, 6, 39).timestamp()
    run = RunCreated("20261125-063952-pictures-cnn-1", at, "cnnlab", "none", config, {})
    assert run.title == "pictures-cnn lr 0.05 · 0639"
    assert replace(run, tags={"trial": "7"}).title == "trial 7 lr 0.05 · 0639"
    assert replace(run, tags={"kind": "sweep", "study": "s"}).title == "sweep s · 0639"


def test_the_ui_opens_on_a_view_that_the_experiment_has(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.execve", lambda *words: None)
    monkeypatch.setattr("os.chdir", lambda folder: None)
    uri = f"sqlite:///{Path('m.db').absolute()}"
    mlflow.MlflowClient(uri).create_run("0")
    done = cli("ui", "--tracking-uri", uri)
    key = re.search(r"experiments/0/runs\?.*viewStateShareKey=(\w+)\n", done.stderr)
    assert key
    tags = mlflow.MlflowClient(uri).get_experiment("0").tags
    assert "params.`optimizer.lr`" in tags[f"mlflow.sharedViewState.{key[1]}"]
