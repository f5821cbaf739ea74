"""Many workers on one study in a real PostgreSQL: none of their trials lost or doubled. Needs Debian's postgresql."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from cnnlab.search.claims import study_slots
from cnnlab.search.storage import open_storage, storage_url
from tests.servers import POSTGRESQL, postgresql

Process = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.skipif(not POSTGRESQL, reason="needs PostgreSQL: apt-get install postgresql")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a database of a server of its own, on a free port."""
    pytest.importorskip("psycopg")
    with postgresql() as started:
        yield started.url


WORKER = """
import sys, time
from optuna.trial import Trial, TrialState
from cnnlab.search.claims import claim, tell
from cnnlab.search.study import find_study
study = find_study("sleep", sys.argv[1])
while slot := claim(study, int(sys.argv[2]), lambda number: {}):
    trial = Trial(study, slot.trial._trial_id)
    time.sleep(0.1)
    tell(study, trial, TrialState.COMPLETE, float(trial.suggest_float("x", 0, 1)))
"""


def test_of_many_workers_trials_none_is_lost_or_doubled(server: str) -> None:
    url = storage_url(server, "sleep")
    study = optuna.create_study(study_name="sleep", storage=open_storage(url), direction="maximize")
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, url, "64"]) for _ in range(4)]
    assert [worker.wait(120) for worker in workers] == [0] * 4
    assert Counter(slot.state for slot in study_slots(study, 64)) == {"complete": 64}
    told = [trial for trial in study.get_trials() if trial.state == optuna.trial.TrialState.COMPLETE]
    assert len(told) == 64, "two workers may make the same attempt, but only one of them is run"
    open_storage(url).engine.dispose()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_of_64_workers_trials_none_is_lost_or_doubled(server: str) -> None:
    """The benchmark's own, without its clock."""
    script = Path(__file__).parents[1] / "benchmarks" / "coordination.py"
    crowd = ["--few", "0", "--workers", "64", "--seconds", "0.1", "--reports", "1"]
    words = [*crowd, "--many", "320", "--storage", server]
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, timeout=240, check=True)
    assert "320 complete, 320 in the study" in done.stdout


@pytest.mark.slow
def test_two_machines_join_one_study(server: str, tmp_path: Path) -> None:
    """Two folders that share nothing but the database."""
    words = ["--study", "shared", "--storage", server, "--trials", "10", "--pruner", "none", "--confirm", "0"]
    words += ["--epochs", "2", "-s", "data.train_size=128", "--tracking-uri", "none", "--workers", "1", "--json"]
    machines = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-m", "cnnlab", "sweep", *words]
        machines.append(subprocess.Popen(command, cwd=tmp_path / name, stdout=subprocess.PIPE, text=True))
    found = [json.loads(machine.communicate(timeout=120)[0]) for machine in machines]
    assert found[0]["trials"] == found[1]["trials"]
    assert found[0]["trials"]["total"] == 10
    assert found[0]["best"]["value"] == found[1]["best"]["value"]
    trained = [
        path.parent.name
        for name in ("one", "two")
        for path in (tmp_path / name).glob("mlruns/**/trials/*/journal.jsonl")
    ]
    assert sorted(trained) == [f"{number:03d}" for number in range(10)]


@pytest.mark.long
def test_a_password_is_not_printed(server: str, process: Process) -> None:
    secret = server.replace("cnnlab@", "cnnlab:hush@")
    words = ("--study", "quiet", "--storage", secret, "--trials", "1", "--confirm", "0", "--epochs", "1")
    done = process("sweep", *words, "--tracking-uri", "none", "--json", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "hush" not in done.stdout + done.stderr
    again = process("sweep", *words, "--tracking-uri", "none", "--workers", "1")
    assert "  cnnlab diagnose quiet --storage 'postgresql" in again.stdout, "a command is suggested, with the storage"
    told = process("diagnose", "quiet", "--storage", secret)
    assert "--trials 20" in told.stdout, "commands are suggested, with what was typed"
    assert "hush" not in again.stdout + again.stderr + told.stdout + told.stderr
    wrong = process("sweep", "--storage", secret.replace("postgres", "nosuch").replace("nosuchql", "postgresql"))
    assert wrong.returncode == 2
    assert "cannot be opened" in wrong.stderr
    assert "hush" not in wrong.stderr
    assert "hush" not in Path("mlruns/studies/quiet/journal.jsonl").read_text()
    assert json.loads(process("show", "quiet", "--storage", secret, "--json").stdout)["trials"]["total"] == 1
