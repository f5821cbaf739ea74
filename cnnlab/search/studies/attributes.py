"""The names under which a study and its trials carry what is ours. Studies that exist have them: they never change."""

from typing import NamedTuple

SLOT, ATTEMPT, CAUSE, RETRY, REASON, INFEASIBLE, OWNER, RUN_DIR, CONFIG, SCORES = (
    f"cnnlab:{key}"
    for key in ("slot", "attempt", "cause", "retry", "reason", "infeasible", "owner", "run_dir", "config", "scores")
)
"""Of a trial; CAUSE is why it failed, RETRY whether there is to be another attempt."""
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
