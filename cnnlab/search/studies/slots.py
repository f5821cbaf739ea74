"""The budget of a study, exact whatever is killed: a number of slots, each with attempts of which the last one counts.

`--trials 50` is 50 slots. An attempt is a trial of Optuna's that carries the number of its slot and its own number
there. There is a next attempt only if the one before failed (its process died, it was interrupted, it crashed). If two
processes make the same attempt at the same moment, the one with the lower trial number counts and the other is never
run. So the state of a study follows from its trials alone, and all it takes is three operations that storages make
atomic: adding a trial, waiting -> running, running -> finished.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from optuna.trial import FrozenTrial, TrialState

from cnnlab.metrics import Metric

State: TypeAlias = Literal["waiting", "running", "complete", "pruned", "infeasible", "failed"]

_STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
}

SLOT, ATTEMPT, CAUSE, RETRY, REASON, INFEASIBLE, OWNER, RUN_DIR, CONFIG, SCORES = (
    f"cnnlab:{key}"
    for key in ("slot", "attempt", "cause", "retry", "reason", "infeasible", "owner", "run_dir", "config", "scores")
)
"""User attributes of a trial; CAUSE is why it failed, RETRY whether there is to be another attempt.

Studies that exist have these and the following names, so they never change.
"""
TEST_SCORE, HISTORY = "cnnlab:test_accuracy", "cnnlab:history"
"""Of a trial of the confirmation: its score on the test split, whatever the score is, and its CurvePoint after each
epoch."""

IDENTITY = "cnnlab:identity"
"""Of a study: what it was made for."""
PARENT = "cnnlab:parent_run_id"
"""Of a study: the sweep's own run."""
ASKED = "cnnlab:asked"
"""Of a study: what a plan asks for beside its identity, as it was asked for last."""


class CurvePoint(NamedTuple):
    """Where a training was after an epoch. Kept as a list of four numbers."""

    step: int
    seconds: float
    """Of that epoch alone."""
    train_loss: float
    val: float
    """The validation score."""


@dataclass(frozen=True)
class Slot:
    """One trial as a user counts them."""

    number: int
    attempts: tuple[FrozenTrial, ...]
    """In order; the last one counts. Empty if none has been added yet."""

    @property
    def trial(self) -> FrozenTrial | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def state(self) -> State:
        trial = self.trial
        if trial is None or trial.state == TrialState.WAITING or (trial.state == TrialState.FAIL and _again(trial)):
            return "waiting"
        if trial.state == TrialState.FAIL:
            return "failed"
        if INFEASIBLE in trial.user_attrs:
            return "infeasible"
        return _STATES[trial.state]

    @property
    def finished(self) -> bool:
        return self.state not in ("waiting", "running")

    @property
    def value(self) -> float | None:
        """Of a complete trial. What the sampler was told of a pruned or infeasible one is not a result."""
        return self.trial.value if self.trial and self.state == "complete" else None

    @property
    def config(self) -> dict[str, Any]:
        """What was trained (with the first of its seeds), as plain data; empty before it began."""
        return dict(self.trial.user_attrs.get(CONFIG, {})) if self.trial else {}

    @property
    def run_dir(self) -> str | None:
        """Of its first training, on the machine that trained it."""
        return self.trial.user_attrs.get(RUN_DIR) if self.trial else None

    @property
    def needs_attempt(self) -> bool:
        """Whether the next attempt has still to be added."""
        return self.trial is None or (self.trial.state == TrialState.FAIL and _again(self.trial))


def slots(trials: Iterable[FrozenTrial], wanted: int) -> list[Slot]:
    """The first `wanted` slots of a study."""
    chains: dict[int, dict[int, FrozenTrial]] = defaultdict(dict)
    for trial in sorted(trials, key=lambda trial: trial.number):
        if SLOT in trial.user_attrs:
            chains[trial.user_attrs[SLOT]].setdefault(trial.user_attrs[ATTEMPT], trial)
    return [Slot(number, tuple(chain for _, chain in sorted(chains[number].items()))) for number in range(wanted)]


def next_attempt(slot: Slot) -> dict[str, Any]:
    """The attributes of the slot's next attempt."""
    return {SLOT: slot.number, ATTEMPT: len(slot.attempts)}


def crashes(slot: Slot) -> int:
    """Attempts that failed by themselves, not because somebody stopped or killed them."""
    return sum(trial.user_attrs.get(CAUSE) == "crashed" for trial in slot.attempts)


def best_first(found: Iterable[Slot], score: Metric) -> list[Slot]:
    """The complete trials, best value first; of equals the earlier one."""
    complete = [slot for slot in found if slot.value is not None]
    return sorted(complete, key=lambda slot: (score.rank(slot.value), slot.number))


def counted(found: Sequence[Slot]) -> dict[str, int]:
    """The number of trials per way to end, and in all."""
    states = [slot.state for slot in found]
    ended = {state: states.count(state) for state in ("complete", "pruned", "infeasible", "failed")}
    return {"total": sum(ended.values()), **ended}


def _again(trial: FrozenTrial) -> bool:
    return bool(trial.user_attrs.get(RETRY))
