"""The journal that a run writes, and its delivery to MLflow. Importing this does not import mlflow."""

from cnnlab.tracking.delivery import Deliverer
from cnnlab.tracking.journal import Journal, last, read
from cnnlab.tracking.moved import correct_locations, old_locations, present_store
from cnnlab.tracking.progress import is_delivered, load_progress, mlflow_page, mlflow_run_id, note_error, reopen
from cnnlab.tracking.run_dir import (
    RunDir,
    as_word,
    end_dead,
    find_run,
    list_runs,
    list_studies,
    list_trials,
    make_mlruns,
    mark_dead,
    new_run_id,
    runs_root,
    studies_root,
    study_dir,
)
from cnnlab.tracking.store import QUIET, VIEW, NoAnswer, import_mlflow, open_store, open_view, reason, store_answers
from cnnlab.tracking.uri import page_of, resolve, resolve_experiment

__all__ = [
    "QUIET",
    "VIEW",
    "Deliverer",
    "Journal",
    "NoAnswer",
    "RunDir",
    "as_word",
    "correct_locations",
    "end_dead",
    "find_run",
    "import_mlflow",
    "is_delivered",
    "last",
    "list_runs",
    "list_studies",
    "list_trials",
    "load_progress",
    "make_mlruns",
    "mark_dead",
    "mlflow_page",
    "mlflow_run_id",
    "new_run_id",
    "note_error",
    "old_locations",
    "open_store",
    "open_view",
    "page_of",
    "present_store",
    "read",
    "reason",
    "reopen",
    "resolve",
    "resolve_experiment",
    "runs_root",
    "store_answers",
    "studies_root",
    "study_dir",
]
