"""Tables of runs, and the curves of several, on stdout. It imports Rich."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from cnnlab.cli.display.run_display import training_curves
from cnnlab.cli.display.terminal import WHOLE, fitted_table, result_console
from cnnlab.metrics import short_name
from cnnlab.reading.several import differing, labels
from cnnlab.result import settings_text, short
from cnnlab.tracking import RunDir, read

STAMP = len("20261126-180730")
"""The beginning of a run id that a terminal shows, if no other run begins so."""
SPARE = (("status",), ("epochs",), ("dataset", "model", "optimizer"))
"""Columns that are left out on a narrow terminal, in this order."""


def print_runs(results: Sequence[Mapping[str, Any]]) -> None:
    """A row per run: scores, or the status if it has none, and the settings that differ. A pipe gets whole rows."""
    room = result_console().width if sys.stdout.isatty() else None
    scores = {result["score"]["name"] for result in results}
    # a single score is named in the heading, several beside each value
    shared = short_name(next(iter(scores))) if len(scores) == 1 else ""
    numbers = ("epochs", f"val {shared}".strip(), f"test {shared}".strip())
    columns = ("run", "status", "dataset", "model", "optimizer", *numbers, "settings")
    ids = [result["run_id"] for result in results]
    rows = [
        [
            _beginning(result["run_id"], ids) if room else result["run_id"],
            *(str(result[key]) for key in ("status", "dataset", "model", "optimizer", "epochs")),
            _score(result, "val", named=not shared),
            _score(result, "test", named=not shared) or result["status"],
            settings_text({path: value for path, value in settings.items() if value is not None}),
        ]
        for result, settings in zip(results, differing([result["config"] for result in results]), strict=True)
    ]
    result_console(in_pipe=WHOLE).print(fitted_table(columns, rows, SPARE, room, right=("epochs",))[0])


def print_columns(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """A row per run with the values of these names."""
    room = result_console().width if sys.stdout.isatty() else None
    cells = [["" if row.get(name) is None else short(row[name]) for name in names] for row in rows]
    result_console(in_pipe=WHOLE).print(fitted_table(names, cells, (), room)[0])


def print_curves(runs: Sequence[RunDir]) -> None:
    """The training losses of several runs in one plot, labelled by the settings that differ."""
    console = result_console()
    console.print(training_curves(records_by_label(runs), min(console.width, 100)))


def records_by_label(runs: Sequence[RunDir]) -> dict[str, Any]:
    """Label -> the records of a run."""
    names = labels([run.created.config for run in runs], [run.run_id for run in runs])
    return {name: read(run.journal_file)[0] for name, run in zip(names, runs, strict=True)}


def _beginning(run_id: str, ids: Sequence[str]) -> str:
    """The shortest beginning with the whole time that no other id has."""
    lengths = range(STAMP, len(run_id))
    return next(
        (run_id[:n] for n in lengths if sum(other.startswith(run_id[:n]) for other in ids) == 1), run_id
    ).rstrip("-")


def _score(result: Mapping[str, Any], split: str, *, named: bool) -> str:
    name = result["score"]["name"]
    value = result["metrics"][split].get(name)
    if value is None:
        return ""
    return f"{value:.4f} {short_name(name)}" if named else f"{value:.4f}"


def print_pairs(what: str, rows: Mapping[str, Sequence[Any]]) -> None:
    """A row per name with the values of two runs."""
    cells = [[name, *("" if value is None else _value(value) for value in pair)] for name, pair in rows.items()]
    room = result_console().width if sys.stdout.isatty() else None
    result_console(in_pipe=WHOLE).print(fitted_table((what, "A", "B"), cells, (), room)[0])


def _value(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value >= 1e4 else f"{value:.4g}"
