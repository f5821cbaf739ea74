"""Where the trials of a sweep are kept, and how processes share them."""

from cnnlab.search.studies.journal import SweepJournal, find_or_make_run, open_sweep
from cnnlab.search.studies.slots import CurvePoint, Slot, best_first, counted
from cnnlab.search.studies.storage import shown, storage_url
from cnnlab.search.studies.study import check_same, extend, list_plans, placed, stored_plan

__all__ = [
    "CurvePoint",
    "Slot",
    "SweepJournal",
    "best_first",
    "check_same",
    "counted",
    "extend",
    "find_or_make_run",
    "list_plans",
    "open_sweep",
    "placed",
    "shown",
    "storage_url",
    "stored_plan",
]
