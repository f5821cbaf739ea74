"""Trials in a database: written as Optuna's own storage would have written them, and none of them two processes'."""

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from cnnlab.search import database
from cnnlab.search.claims import beating, claim, fill, give_back, study_slots, tell
from cnnlab.search.database import Database, StorageGone
from cnnlab.search.slots import ATTEMPT, OWNER, SLOT


def url(name: str) -> str:
    return f"sqlite:///{Path(name).absolute()}"


def study_in(storage: BaseStorage) -> Study:
    return optuna.create_study(study_name="one", storage=storage, direction="maximize", load_if_exists=True)


def no_params(number: int) -> dict[str, Any]:
    return {}


def claimed(study: Study, wanted: int = 1) -> Trial:
    slot = claim(study, wanted, no_params)
    assert slot is not None
    assert slot.trial is not None
    return Trial(study, slot.trial._trial_id)


def told(study: Study, trial: Trial) -> None:
    """A trial's life: parameters of each kind, attributes noted twice, reports, a rung, an end."""
    trial.suggest_float("lr", 1e-4, 1, log=True)
    trial.suggest_int("layers", 1, 5)
    trial.suggest_categorical("size", [16, 32])
    trial.set_user_attr("config", {"a": [1, 2.5, None, "ü"]})
    trial.report(0.25, 1)
    trial.set_user_attr("config", {"a": "new"})
    study._storage.set_trial_system_attr(trial._trial_id, "completed_rung_0", 0.25)
    trial.report(float("nan"), 2)
    study.tell(trial, 0.75)


def test_a_trial_is_written_as_optuna_writes_it() -> None:
    """Side by side with Optuna's storage under the same calls, both read by Optuna's."""
    found: list[FrozenTrial] = []
    for name, make in (("mine.db", lambda u: Database(u, {})), ("theirs.db", RDBStorage)):
        study = study_in(make(url(name)))
        study.sampler = optuna.samplers.RandomSampler(seed=3)
        study.enqueue_trial({"layers": 4}, user_attrs={SLOT: 0, ATTEMPT: 0})
        (waiting,) = study.get_trials()
        if name == "mine.db":
            trial = claimed(study)
        else:
            study._storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
            trial = Trial(study, waiting._trial_id)
        told(study, trial)
        (read,) = study_in(RDBStorage(url(name))).get_trials()
        read.user_attrs.pop(OWNER, None)
        found.append(read)
    mine, theirs = found
    assert mine.datetime_start is not None
    assert mine.datetime_complete is not None
    assert abs(mine.datetime_start.timestamp() - time.time()) < 60, "as Optuna keeps times"
    assert 0 <= (mine.datetime_complete - mine.datetime_start).total_seconds() < 60
    for key in ("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs"):
        assert getattr(mine, key) == getattr(theirs, key), key
    assert repr(mine.intermediate_values) == repr(theirs.intermediate_values)
    assert mine.params["layers"] == 4


def test_trials_that_wait_are_added_as_optuna_adds_them() -> None:
    mine, theirs = study_in(Database(url("mine.db"), {})), study_in(RDBStorage(url("theirs.db")))
    for study in (mine, theirs):
        study.add_trial(optuna.trial.create_trial(value=1.0))
    fill(mine, 3, lambda number: {"x": number}, ahead=9)
    for number in range(3):
        theirs.enqueue_trial({"x": number}, user_attrs={SLOT: number, ATTEMPT: 0})
    rows = [study_in(RDBStorage(url(name))).get_trials() for name in ("mine.db", "theirs.db")]
    for key in ("number", "state", "user_attrs", "system_attrs", "params", "datetime_start"):
        pairs = [[getattr(trial, key) for trial in found[1:]] for found in rows]
        assert pairs[0] == pairs[1], key


def test_what_others_act_on_goes_out_at_once_and_the_rest_with_it() -> None:
    study = study_in(Database(url("study.db"), {}))
    others = study_in(RDBStorage(url("study.db")))
    fill(study, 1, no_params, ahead=1)
    trial = claimed(study)
    trial.suggest_float("x", 0, 1)
    trial.set_user_attr("note", 1)
    (seen,) = others.get_trials()
    assert (seen.state, seen.params) == (TrialState.RUNNING, {})
    assert seen.user_attrs[OWNER]["pid"], "whose it is goes with the claim"
    trial.report(0.5, 1)
    (seen,) = others.get_trials()
    assert (seen.params, seen.user_attrs["note"], seen.intermediate_values) == (trial.params, 1, {1: 0.5})


def test_a_beat_goes_out_by_itself() -> None:
    """Else a long epoch would look like a dead process."""
    study = study_in(Database(url("study.db"), {}))
    fill(study, 1, no_params, ahead=1)
    trial = claimed(study)
    trial.set_user_attr(OWNER, {"beat": 1})
    (seen,) = study_in(RDBStorage(url("study.db"))).get_trials()
    assert seen.user_attrs[OWNER] == {"beat": 1}


def test_a_trials_settings_are_seen_before_its_first_report() -> None:
    study = study_in(Database(url("study.db"), {}))
    fill(study, 1, no_params, ahead=1)
    trial = claimed(study)
    others = study_in(RDBStorage(url("study.db")))
    with beating(study, trial):
        trial.suggest_float("x", 0, 1)
        deadline = time.monotonic() + 20
        while not others.get_trials()[0].params and time.monotonic() < deadline:
            time.sleep(0.2)
    (seen,) = others.get_trials()
    assert seen.params == trial.params
    assert seen.user_attrs[OWNER]["beat"] == 1


@pytest.mark.parametrize("act", ["report", "tell"])
def test_whose_trial_was_taken_for_dead_is_not_heard(act: str) -> None:
    study = study_in(Database(url("study.db"), {}))
    fill(study, 1, no_params, ahead=1)
    trial = claimed(study)
    trial.suggest_float("x", 0, 1)
    others = study_in(RDBStorage(url("study.db")))
    others._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    acts = {
        "report": lambda: trial.report(0.5, 1),
        "tell": lambda: study._storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5]),
    }
    with pytest.raises(UpdateFinishedTrialError):
        acts[act]()
    (seen,) = others.get_trials()
    assert (seen.state, seen.params, seen.intermediate_values) == (TrialState.FAIL, {}, {}), "nothing half written"
    tell(study, trial, TrialState.COMPLETE, 0.5)
    assert others.get_trials()[0].state == TrialState.FAIL


def test_a_smaller_budget_leaves_what_lies_beyond_it() -> None:
    study = study_in(Database(url("study.db"), {}))
    fill(study, 4, no_params, ahead=9)
    numbers = []
    while slot := claim(study, 2, no_params):
        numbers.append(slot.number)
    assert numbers == [0, 1]


def test_an_attempt_that_is_to_be_made_again_does_not_wait_for_slots_beyond_the_budget() -> None:
    study = study_in(Database(url("study.db"), {}))
    fill(study, 4, no_params, ahead=9)
    slot = claim(study, 1, no_params)
    assert slot is not None
    assert slot.trial is not None
    give_back(study, Trial(study, slot.trial._trial_id), slot, "interrupted", retries=0)
    again = claim(study, 1, no_params)
    assert again is not None
    assert again.number == 0


def test_what_could_not_be_written_is_written_later() -> None:
    storage = Database(url("study.db"), {})
    study = study_in(storage)
    fill(study, 1, no_params, ahead=1)
    trial = claimed(study)
    trial.suggest_float("x", 0, 1)

    def refuse(connection: sa.Connection, cursor: Any, statement: str, *_: Any) -> None:
        raise sa.exc.DatabaseError(statement, (), RuntimeError("no SQL today"))

    sa.event.listen(storage.engine, "before_cursor_execute", refuse)
    with pytest.raises(StorageGone, match=r"study\.db: no SQL today; the same command goes on once this is repaired"):
        trial.report(0.5, 1)
    sa.event.remove(storage.engine, "before_cursor_execute", refuse)
    tell(study, trial, TrialState.COMPLETE, 0.5)
    (seen,) = study_in(RDBStorage(url("study.db"))).get_trials()
    assert (seen.params, seen.intermediate_values, seen.value) == (trial.params, {1: 0.5}, 0.5)


def test_what_was_written_without_an_answer_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks between a commit and its answer, and the thread that beats gets through before it is asked
    again."""
    storage = Database(url("study.db"), {})
    study = study_in(storage)
    fill(study, 2, no_params, ahead=2)
    broken: list[str] = []
    commit = storage.engine.dialect.do_commit

    def commit_without_an_answer(connection: Any) -> None:
        commit(connection)
        if broken:
            raise sa.exc.OperationalError(broken.pop(), (), RuntimeError("server closed the connection"))

    monkeypatch.setattr(storage.engine.dialect, "do_commit", commit_without_an_answer)
    broken.append("claim")
    trial = claimed(study, 2)
    trial.suggest_float("x", 0, 1)
    beats = iter(range(9))
    with monkeypatch.context() as waiting:
        beat = storage.set_trial_user_attr
        waiting.setattr(database.time, "sleep", lambda _: beat(trial._trial_id, OWNER, {"beat": next(beats)}))
        broken.append("report")
        trial.report(0.5, 1)
        broken.append("tell")
        tell(study, trial, TrialState.COMPLETE, 0.5)
    assert not broken
    seen = study_in(RDBStorage(url("study.db"))).get_trials()
    assert [t.state for t in seen] == [TrialState.COMPLETE, TrialState.WAITING], "the claim without an answer is let go"
    assert (seen[0].params, seen[0].intermediate_values, seen[0].value) == (trial.params, {1: 0.5}, 0.5)


def test_an_attempt_after_a_crash_keeps_its_parameters_and_its_count() -> None:
    study = study_in(Database(url("study.db"), {}))
    drawn = []
    for _ in range(9):
        if (slot := claim(study, 1, no_params)) is None:
            break
        assert slot.trial is not None
        trial = Trial(study, slot.trial._trial_id)
        drawn.append(trial.suggest_float("x", 0, 1))
        give_back(study, trial, slot, "crashed", retries=2)
    assert len(drawn) == 3, "twice again"
    assert len(set(drawn)) == 1
    assert study_slots(study, 1)[0].state == "failed"


def test_of_many_claimers_each_gets_another_trial() -> None:
    """Twelve threads, each with a storage of its own, on slots that they add themselves."""
    study_in(Database(url("study.db"), {"connect_args": {"timeout": 60}}))
    done: list[int] = []

    def work() -> None:
        study = study_in(Database(url("study.db"), {"connect_args": {"timeout": 60}}))
        while slot := claim(study, 40, no_params):
            assert slot.trial is not None
            done.append(slot.number)
            tell(study, Trial(study, slot.trial._trial_id), TrialState.COMPLETE, 0.5)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(done) == Counter(range(40))
    trials = study_in(RDBStorage(url("study.db"))).get_trials()
    assert [trial.number for trial in trials] == list(range(40))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
