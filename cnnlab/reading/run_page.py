"""A run as one HTML page: results, settings, figures, provenance."""

from collections.abc import Sequence
from pathlib import Path

from cnnlab.config import RunConfig, flat, flatten
from cnnlab.page import Table, page, picture
from cnnlab.reading.results import run_result
from cnnlab.records import RunStarted
from cnnlab.result import short
from cnnlab.tracking import RunDir, last, read

HEADINGS = {
    "curves": "Loss, score and learning rate",
    "confusion": "True and predicted classes of the test split",
    "examples": "Images, truth and prediction",
    "regions": "Decision regions, and the points of the test split",
}
"""A figure's file -> its heading."""


def run_page(run: RunDir, figures: Sequence[Path]) -> str:
    """The page of a run, with the figures of `draw`."""
    result, started = run_result(run), last(read(run.journal_file)[0], RunStarted)
    default, values = flat(RunConfig()), flatten(run.created.config)
    changed = [
        (path, short(value), short(default.get(path, "")))
        for path, value in values.items()
        if value != default.get(path)
    ]
    splits = result.metrics
    names = dict.fromkeys(name for values in splits.values() for name in values)
    measured = [(name, *(f"{splits[s][name]:.4f}" if name in splits[s] else "" for s in splits)) for name in names]
    rows = {
        "run": run.run_id,
        "status": result.status,
        **{key: str(result[key]) for key in ("epochs", "best_epoch", "parameters", "device", "precision", "seed")},
        **run.created.tags,
    }
    return page(
        run.created.title,
        lead=result.reason,
        tables=[
            Table(("", *splits), measured, "Of the best epoch.", "Results"),
            Table(("setting", "value", "default"), changed, "All others have their defaults.", "Settings"),
        ],
        notes=[*result.warnings, *(started.notes if started else ())],
        figures=[picture(path, HEADINGS[path.stem]) for path in figures],
        details=[Table((), [(key.replace("_", " "), value) for key, value in rows.items()], heading="Provenance")],
    )
