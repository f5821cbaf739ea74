"""The exact budget, on Optuna's trials alone: any order of claims, deaths and crashes ends with so many slots ended."""

import random
from collections import Counter
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.study import Study
from optuna.trial import Trial, TrialState

from cnnlab.search.claims import claim, fill, give_back, study_slots, tell
from cnnlab.search.slots import ATTEMPT, INFEASIBLE, SLOT, Slot, counted

optuna.logging.set_verbosity(optuna.logging.ERROR)


def new_study() -> Study:
    return optuna.create_study(direction="maximize")


def no_params(number: int) -> dict[str, Any]:
    return {}


def trial_of(study: Study, slot: Slot) -> Trial:
    assert slot.trial is not None
    return Trial(study, slot.trial._trial_id)


def test_a_study_is_filled_to_what_was_asked_and_no_further() -> None:
    study = new_study()
    for wanted in (3, 3, 2, 5):
        fill(study, wanted, lambda number: {"x": number}, ahead=9)
    assert [slot.number for slot in study_slots(study, 5)] == [0, 1, 2, 3, 4]
    assert len(study.trials) == 5
    assert study.trials[4].system_attrs["fixed_params"] == {"x": 4}


def test_only_so_many_are_added_ahead_and_a_claim_adds_what_it_needs() -> None:
    study = new_study()
    fill(study, 100, no_params, ahead=3)
    assert len(study.trials) == 3
    claimed = [claim(study, 5, no_params) for _ in range(6)]
    assert [slot.number for slot in claimed if slot] == [0, 1, 2, 3, 4]
    assert len(study.trials) == 5


def test_an_attempt_made_twice_counts_once() -> None:
    study = new_study()
    for _ in range(2):  # as two processes might that look at the same moment
        study.enqueue_trial({}, user_attrs={SLOT: 0, ATTEMPT: 0})
    first = claim(study, 1, no_params)
    assert first is not None
    assert first.trial is not None
    assert first.trial.number == 0
    assert claim(study, 1, no_params) is None


def test_an_attempt_that_was_given_back_keeps_its_parameters() -> None:
    study = new_study()
    fill(study, 1, no_params, ahead=9)
    slot = claim(study, 1, no_params)
    assert slot is not None
    trial = trial_of(study, slot)
    drawn = trial.suggest_float("x", 0, 1)
    give_back(study, trial, slot, "interrupted", retries=0)
    fill(study, 1, no_params, ahead=9)
    again = claim(study, 1, no_params)
    assert again is not None
    assert len(again.attempts) == 2
    assert trial_of(study, again).suggest_float("x", 0, 1) == drawn


@pytest.mark.parametrize("retries", [0, 2])
def test_a_crash_is_tried_again_up_to_the_limit(retries: int) -> None:
    study = new_study()
    for _ in range(10):
        fill(study, 1, no_params, ahead=9)
        if slot := claim(study, 1, no_params):
            give_back(study, trial_of(study, slot), slot, "crashed", retries)
    (slot,) = study_slots(study, 1)
    assert slot.state == "failed"
    assert len(slot.attempts) == retries + 1


def test_what_was_told_by_a_process_taken_for_dead_is_not_heard() -> None:
    study = new_study()
    fill(study, 1, no_params, ahead=9)
    slot = claim(study, 1, no_params)
    assert slot is not None
    trial = trial_of(study, slot)
    study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    tell(study, trial, TrialState.COMPLETE, 1.0)
    assert study.trials[0].state == TrialState.FAIL


def test_an_infeasible_trial_is_counted_apart_and_is_never_the_best() -> None:
    study = new_study()
    fill(study, 1, no_params, ahead=9)
    slot = claim(study, 1, no_params)
    assert slot is not None
    tell(study, trial_of(study, slot), TrialState.COMPLETE, 0.0, {INFEASIBLE: "diverged"})
    (slot,) = study_slots(study, 1)
    assert (slot.state, slot.value) == ("infeasible", None)
    assert counted([slot]) == {"total": 1, "complete": 0, "pruned": 0, "infeasible": 1, "failed": 0}


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_whatever_happens_the_budget_is_met_exactly(seed: int, wanted: int) -> None:
    study, chance, running = new_study(), random.Random(seed), list[Slot]()
    done: Counter[int] = Counter()
    for turn in range(2000):
        calm = turn > 1500
        what = chance.choice(["fill", "claim", "claim", "finish"] + ([] if calm else ["die", "interrupt", "twice"]))
        if what == "fill":
            fill(study, wanted, no_params, ahead=9)
        elif what == "twice":
            for slot in study_slots(study, wanted):
                if slot.needs_attempt and chance.random() < 0.3:
                    study.enqueue_trial({}, user_attrs={SLOT: slot.number, ATTEMPT: len(slot.attempts)})
        elif what == "claim":
            if slot := claim(study, wanted, no_params):
                running.append(slot)
        elif running:
            slot = running.pop(chance.randrange(len(running)))
            if what == "finish":
                tell(study, trial_of(study, slot), TrialState.COMPLETE, 0.5)
                done[slot.number] += 1
            else:
                give_back(study, trial_of(study, slot), slot, "lost", retries=0)
        if sum(done.values()) == wanted and not running:
            break
    assert done == Counter(range(wanted))
    assert counted(study_slots(study, wanted))["complete"] == wanted
