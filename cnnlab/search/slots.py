"""The budget of a study: a number of slots, each with attempts of which the last one counts.

`--trials 50` is 50 slots. An attempt is a trial of Optuna's with the number of its slot and its own number there.
The next attempt is added only if the one before failed (its process died, it was interrupted, it crashed). If two
processes add the same attempt, the one with the lower trial number counts. So the state of a study follows from its
trials alone. It needs three operations that storages make atomic: adding a trial, waiting -> running, running ->
finished.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState

from cnnlab.metrics import Metric

SLOT, ATTEMPT, CAUSE, RETRY, REASON, INFEASIBLE, OWNER, RUN_DIR, CONFIG, SCORES = (
    f"cnnlab:{key}"
    for key in ("slot", "attempt", "cause", "retry", "reason", "infeasible", "owner", "run_dir", "config", "scores")
)
"""User attributes of a trial. CAUSE is why it failed, RETRY whether it is to be attempted again."""
TEST_SCORE, HISTORY = "cnnlab:test_accuracy", "cnnlab:history"
"""User attributes of a trial of the confirmation: its score on the test split; its CurvePoint after each epoch."""
IDENTITY, PARENT, ASKED = "cnnlab:identity", "cnnlab:parent_run_id", "cnnlab:asked"
"""User attributes of a study: what it was made for; the run id of the sweep; the rest of the plan, as last given."""


class CurvePoint(NamedTuple):
    """A training after an epoch."""

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
    def needs_attempt(self) -> bool:
        """Whether the next attempt has still to be added."""
        trial = self.trial
        return trial is None or (trial.state == TrialState.FAIL and bool(trial.user_attrs.get(RETRY)))

    @property
    def state(self) -> str:
        """waiting, running, complete, pruned, infeasible (it diverged) or failed."""
        trial = self.trial
        if trial is None or self.needs_attempt or trial.state == TrialState.WAITING:
            return "waiting"
        if trial.state == TrialState.FAIL:
            return "failed"
        return "infeasible" if INFEASIBLE in trial.user_attrs else trial.state.name.lower()

    @property
    def finished(self) -> bool:
        return self.state not in ("waiting", "running")

    @property
    def value(self) -> float | None:
        """Of a complete trial. The value that the sampler gets for a pruned or infeasible trial is no result."""
        return self.trial.value if self.trial and self.state == "complete" else None

    @property
    def config(self) -> dict[str, Any]:
        """The config that was trained (with the first of its seeds), as plain data; empty before the trial began."""
        return dict(self.trial.user_attrs.get(CONFIG, {})) if self.trial else {}

    @property
    def run_dir(self) -> str | None:
        """Of its first training, on the machine that trained it."""
        return self.trial.user_attrs.get(RUN_DIR) if self.trial else None


def slots(trials: Iterable[FrozenTrial], wanted: int) -> list[Slot]:
    """The first `wanted` slots of a study."""
    chains: dict[int, dict[int, FrozenTrial]] = defaultdict(dict)
    for trial in sorted(trials, key=lambda trial: trial.number):
        if SLOT in trial.user_attrs:
            chains[trial.user_attrs[SLOT]].setdefault(trial.user_attrs[ATTEMPT], trial)
    return [Slot(number, tuple(chain for _, chain in sorted(chains[number].items()))) for number in range(wanted)]


def best_first(slots: Iterable[Slot], score: Metric) -> list[Slot]:
    """The complete trials, best value first; of equals the earlier one."""
    complete = [slot for slot in slots if slot.value is not None]
    return sorted(complete, key=lambda slot: (score.rank(slot.value), slot.number))


def counted(slots: Sequence[Slot]) -> dict[str, int]:
    """The number of trials that have ended, in total and per way to end."""
    states = [slot.state for slot in slots]
    ended = {state: states.count(state) for state in ("complete", "pruned", "infeasible", "failed")}
    return {"total": sum(ended.values()), **ended}
