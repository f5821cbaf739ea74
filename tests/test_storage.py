"""Where studies are kept, and noticing whose process is gone."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.study import Study
from optuna.trial import Trial, TrialState

from cnnlab.errors import BadInput
from cnnlab.metrics import ACCURACY
from cnnlab.search import claims, storage
from cnnlab.search.claims import Watch, beating, claim, fill, study_slots
from cnnlab.search.database import Database
from cnnlab.search.slots import CAUSE, OWNER
from cnnlab.search.storage import open_storage, shown, storage_url
from cnnlab.search.study import open_or_make


def new_study(name: str = "one") -> Study:
    return open_or_make(name, str(Path("study.journal").absolute()), ACCURACY)


def running(study: Study) -> Trial:
    fill(study, 1, lambda number: {}, ahead=1)
    slot = claim(study, 1, lambda number: {})
    assert slot is not None
    assert slot.trial is not None
    return Trial(study, slot.trial._trial_id)


def test_a_line_torn_by_a_kill_is_cut_off_by_the_next_writer() -> None:
    study = new_study()
    study.set_user_attr("before", 1)
    with Path("study.journal").open("ab") as file:
        file.write(b'{"op_code":2,"worker_')
    study.set_user_attr("after", 2)
    open_storage.cache_clear()
    assert new_study().user_attrs == {"before": 1, "after": 2}


def test_the_lock_of_a_killed_process_is_free_at_once() -> None:
    new_study()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time\n"
            "from pathlib import Path\n"
            "from cnnlab.search.storage import _Lock\n"
            "_Lock(Path('study.journal').absolute()).acquire()\n"
            "print('held', flush=True)\n"
            "time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.communicate()
    start = time.monotonic()
    new_study().set_user_attr("mine", 1)
    assert time.monotonic() - start < 5


def test_a_beat_while_its_own_process_is_alone_in_the_storage_locks_nobody_out() -> None:
    """A subprocess: threads that wait for each other would hold up all other tests."""
    script = """
import threading, time
import optuna
from pathlib import Path
from cnnlab.search.storage import JournalFile
storage = JournalFile(Path("s.journal"))
study = optuna.create_study(storage=storage)
trial = study.ask()
with storage.alone():
    beat = threading.Thread(target=storage.set_trial_user_attr, args=(trial._trial_id, "beat", 1), daemon=True)
    beat.start()
    time.sleep(0.5)
    trial.set_user_attr("ours", 1)
beat.join()
print(sorted(study.trials[0].user_attrs))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "['beat', 'ours']\n"


def test_a_process_that_is_gone_is_noticed_at_once_on_its_own_machine() -> None:
    study = new_study()
    trial = running(study)
    with beating(study, trial):
        time.sleep(0.2)
        assert Watch().reap(study, study_slots(study, 1)) == 0, "this process lives"
    gone = subprocess.Popen(["true"])
    gone.wait()
    trial.set_user_attr(OWNER, {**study.trials[0].user_attrs[OWNER], "pid": gone.pid})
    assert Watch().reap(study, study_slots(study, 1)) == 1
    assert study.trials[0].state == TrialState.FAIL
    assert study.trials[0].user_attrs[CAUSE] == "lost"
    assert study_slots(study, 1)[0].state == "waiting"


def test_a_process_id_used_again_is_another_process() -> None:
    study = new_study()
    trial = running(study)
    owner = {"host": os.uname().nodename, "pid": os.getpid(), "started": "1", "beat": 0}
    trial.set_user_attr(OWNER, owner)
    assert Watch().reap(study, study_slots(study, 1)) == 1


def test_another_machines_trial_is_dead_when_its_beat_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    study = new_study()
    trial = running(study)
    clock = [1000.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: clock[0])
    watch = Watch()
    for beat in range(5):
        trial.set_user_attr(OWNER, {"host": "elsewhere", "pid": 1, "started": "1", "beat": beat})
        clock[0] += 20
        assert watch.reap(study, study_slots(study, 1)) == 0
    clock[0] += 2 * claims.SILENCE_SECONDS
    assert watch.reap(study, study_slots(study, 1)) == 0, "this process was paused, and begins to wait anew"
    for _ in range(3):
        clock[0] += 20
        assert watch.reap(study, study_slots(study, 1)) == 0
    clock[0] += 1
    assert watch.reap(study, study_slots(study, 1)) == 1


def test_a_storage_is_named_by_a_file_or_a_url() -> None:
    assert storage_url(None, "mine").endswith("mlruns/studies/mine/optuna.journal")
    with pytest.raises(BadInput, match=r"^--storage postgresql:/h/x: not a storage; it is written postgresql://"):
        storage_url("postgresql:/h/x", "mine")
    assert storage_url("here.journal", "mine") == str(Path("here.journal").absolute())
    assert storage_url("sqlite:///here.db", "mine") == "sqlite:///here.db"
    assert storage_url("postgresql://me@host/db", "mine") == "postgresql+psycopg://me@host/db"
    assert shown("postgresql://me:hush@host/db") == "postgresql://me:***@host/db"
    with pytest.raises(BadInput, match="not a storage"):
        storage_url("redis://here", "mine")
    with pytest.raises(BadInput, match="cannot be opened"):
        open_storage("sqlite:////nowhere/at/all.db")


def test_a_study_in_sqlite() -> None:
    study = open_or_make("two", f"sqlite:///{Path('study.db').absolute()}", ACCURACY)
    running(study)
    assert [slot.state for slot in study_slots(study, 1)] == ["running"]
    assert optuna.get_all_study_names(f"sqlite:///{Path('study.db').absolute()}") == ["two"]


def test_a_database_whose_tables_another_process_is_making_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    true, tried = storage.Database, []

    def busy(*words: Any) -> Database:
        tried.append(words)
        if len(tried) == 1:
            raise RuntimeError("UNIQUE constraint failed: alembic_version.version_num")
        return true(*words)

    monkeypatch.setattr(storage, "Database", busy)
    assert isinstance(open_storage(f"sqlite:///{Path('again.db').absolute()}"), Database)
    assert len(tried) == 2


def test_a_database_that_does_not_answer_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def gone(*words: Any) -> Database:
        tried.append(words)
        raise RuntimeError("connection timed out")

    monkeypatch.setattr(storage, "Database", gone)
    with pytest.raises(BadInput, match="cannot be opened: connection timed out"):
        open_storage(f"sqlite:///{Path('gone.db').absolute()}")
    assert len(tried) == 1
