"""What runs the trials of a study: here or in worker processes."""

from cnnlab.search.trials.loop import SweepState, run_trials
from cnnlab.search.trials.stages import Confirmation, Search, Stage, confirmation_of, slots_of
from cnnlab.search.trials.trial import SEEDS, checked_on_data, fitted
from cnnlab.search.trials.workers import Layout, layout

__all__ = [
    "SEEDS",
    "Confirmation",
    "Layout",
    "Search",
    "Stage",
    "SweepState",
    "checked_on_data",
    "confirmation_of",
    "fitted",
    "layout",
    "run_trials",
    "slots_of",
]
