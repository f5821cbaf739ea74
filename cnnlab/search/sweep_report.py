"""The files in a sweep's folder: best.yaml, the trials as CSV, and Optuna's plots as PNG and as one page."""

import csv
import warnings
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from optuna.study import Study

from cnnlab.config import RunConfig, to_yaml
from cnnlab.look import save
from cnnlab.page import Table, page, picture
from cnnlab.result import listed, settings_text
from cnnlab.search.findings import Findings, feasible
from cnnlab.search.sampling import optuna_name
from cnnlab.search.slots import best_first

PLOTS: dict[str, tuple[str, str]] = {
    "history": ("plot_optimization_history", "Values in the order of the trials"),
    "slice": ("plot_slice", "Each hyperparameter alone"),
    "parallel": ("plot_parallel_coordinate", "All hyperparameters of each trial"),
    "contour": ("plot_contour", "Hyperparameters two by two"),
    "curves": ("plot_intermediate_values", "Validation score after each epoch"),
    "timeline": ("plot_timeline", "Which trial ran when"),
}
"""File -> the function of optuna.visualization that draws it, and its heading."""

SHOWN = 10
"""The number of trials in the page's table."""
MOST_IN_CONTOUR = 3
"""The number of hyperparameters in the contour plots, because the number of plots grows with its square."""

LOOK: dict[Any, Any] = {"figure.dpi": 100, "figure.constrained_layout.use": True}
"""Settings of Matplotlib for the PNG files."""
SIZE, SIZES = (10, 7), {"slice": (6, 6)}
"""Inches of a figure; Optuna gives a slice plot half the width for each hyperparameter."""
MANY_DECADES = 50.0
"""If an axis has a larger ratio of its ends, ticks at powers of ten are enough."""


def load_plots() -> None:
    """Import the libraries for the findings and the plots, which takes 2 s; call it while a core is idle."""
    for name in ("scipy.stats", "matplotlib.pyplot", "optuna.visualization.matplotlib"):
        import_module(name)


def write_report(findings: Findings) -> list[Path]:
    """Write the files below the study's folder and return them. Plots that need more trials are left out."""
    folder = findings.plan.folder / "report"
    folder.mkdir(parents=True, exist_ok=True)
    files = [_write_trials(findings, folder / "trials.csv")]
    if findings.best:
        files.append(_write_best(findings, findings.plan.folder / "best.yaml"))
    figures = draw_sweep(findings, folder)
    (folder / "report.html").write_text(sweep_page(findings, figures), encoding="utf-8")
    return [*files, *figures, folder / "report.html"]


def sweep_page(findings: Findings, figures: Collection[Path]) -> str:
    """The page of a sweep, with the figures of `draw_sweep`."""
    score = findings.plan.score
    rows = [
        (str(slot.number), score.show(slot.value), settings_text(findings.plan.searched(slot.config)))
        for slot in best_first(findings.slots, score)[:SHOWN]
        if slot.value is not None
    ]
    return page(
        f"Study {findings.plan.study}",
        lead=_headline(findings),
        tables=[Table(("trial", _words(findings), "settings"), rows, heading="The best trials")],
        notes=_notes(findings),
        figures=[picture(path, PLOTS[path.stem][1]) for path in figures],
    )


def _write_best(findings: Findings, path: Path) -> Path:
    """The best trial as an experiment that repeats it."""
    assert findings.best
    config = RunConfig.model_validate(findings.best.config)
    path.write_text(f"# {_headline(findings)}\n# {_chosen_by(findings)}\n{to_yaml(config)}", encoding="utf-8")
    return path


def _headline(findings: Findings) -> str:
    best, score, trials = findings.best, findings.plan.score, f"{len(findings.slots)} trials"
    if best is None or best.value is None:
        return f"None of {trials} is complete."
    return (
        f"The best of {trials} of the study {findings.plan.study}: trial {best.number}, "
        f"validation {score.words} {score.show(best.value)}."
    )


def _chosen_by(findings: Findings) -> str:
    """Why it is the best, and whether it is better than trial 0, as a sentence."""
    if not findings.confirmed:
        return "It has the best validation score of the search; it was not trained again on fresh seeds."
    trials = listed([str(confirmed.trial) for confirmed in findings.confirmed])
    by = (
        f"Of trials {trials} it has the best mean on fresh seeds"
        if len(findings.confirmed) > 1
        else "It was trained again"
    )
    if findings.gain is None:
        return f"{by}."
    shown = "a gain over trial 0 is shown" if findings.gain.is_shown else "no gain over trial 0 is shown"
    return f"{by}; {shown}."


def _write_trials(findings: Findings, path: Path) -> Path:
    settings = list(dict.fromkeys(dimension.path for dimension in findings.plan.space.dimensions))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "state", "value", "epochs", "seconds", *settings])
        for slot in findings.slots:
            had = findings.plan.searched(slot.config)
            trial = slot.trial
            epochs = trial.last_step if trial else None
            seconds = trial.duration.total_seconds() if trial and trial.duration else None
            writer.writerow([slot.number, slot.state, slot.value, epochs, seconds, *(had.get(s, "") for s in settings)])
    return path


def draw_sweep(findings: Findings, folder: Path) -> list[Path]:
    """Write Optuna's plots as PNG and return them; those that need more trials are left out."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    files, study, words = [], feasible(findings.slots, findings.plan.score), _words(findings)
    for name, (function, _) in PLOTS.items():
        # set before Optuna draws, because colour bars depend on it; a context, because Optuna changes the style
        with mpl.rc_context({**LOOK, "figure.figsize": SIZES.get(name, SIZE)}), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's, that its matplotlib plots are experimental
            drawn = _plot(plots, function, study, findings)
            if drawn is not None:
                figure = pyplot.gcf()
                figure.suptitle("")  # the page has headings
                for axes in figure.axes:
                    axes.set_title("")
                if name == "curves":
                    drawn.set_ylabel(words)
                _thin_out(figure)
                if name == "parallel":
                    _recolour(drawn)
                    _name_in_full(drawn, {words} | {path for trial in study.trials for path in trial.params})
                files.append(save(figure, folder / f"{name}.png", dpi=100, bbox_inches="tight"))
            pyplot.close("all")
    return files


def _recolour(axes: Any) -> None:
    """Lines from orange to blue, the best: the ends of Optuna's scale vanish on a white or a black page."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap

    for lines in axes.figure.findobj(LineCollection):
        ends = ["tab:orange", "tab:blue"]
        best_first = lines.get_cmap().name.endswith("_r")
        lines.set_cmap(LinearSegmentedColormap.from_list("scores", ends[::-1] if best_first else ends))


def _thin_out(figure: Any) -> None:
    """Label only the left and lower edge, and give logarithmic x axes few ticks, because the plots are narrow."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter

    for axes in figure.axes:
        if axes.get_subplotspec() is not None:
            axes.label_outer()
        if axes.get_xscale() == "log":
            low, high = axes.get_xlim()
            few = [float(f"{low * (high / low) ** share:.2g}") for share in (0.15, 0.5, 0.85)]
            axes.xaxis.set_major_locator(LogLocator(numticks=4) if high > MANY_DECADES * low else FixedLocator(few))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())


def _name_in_full(axes: Any, names: Collection[str]) -> None:
    """Restore names that Optuna has cut at 20 characters, if only one name begins so."""
    labels = []
    for label in (text.get_text() for text in axes.get_xticklabels()):
        whole = [name for name in names if label.endswith("...") and name.startswith(label.removesuffix("..."))]
        labels.append(whole[0] if len(whole) == 1 else label)
    axes.set_xticklabels(labels)


def _notes(findings: Findings) -> list[str]:
    """What mattered, in sentences."""
    shares = [
        f"{name} ({share:.0%} of the variance of the trials' ranks)" for name, share in findings.importances.items()
    ]
    return [
        *([_chosen_by(findings)] if findings.best else []),
        *([f"What mattered: {listed(shares)}"] if shares else []),
        *([findings.unknown] if findings.unknown else []),
    ]


def _plot(plots: ModuleType, function: str, study: Study, findings: Findings) -> Any:
    """None if the plot needs more trials."""
    try:
        return getattr(plots, function)(study, **_options(function, findings))
    except (ValueError, RuntimeError):
        return None


def _options(function: str, findings: Findings) -> dict[str, Any]:
    if function in ("plot_intermediate_values", "plot_timeline"):
        return {}
    named = {"target_name": _words(findings)}
    if function != "plot_contour":
        return named
    names = [*findings.importances, *(dimension.name for dimension in findings.plan.space.dimensions)]
    ranked = list(dict.fromkeys(names))[:MOST_IN_CONTOUR]
    return {**named, "params": [optuna_name(findings.plan.space[n]) for n in ranked]} if len(ranked) > 1 else named


def _words(findings: Findings) -> str:
    """The score, as on an axis."""
    return f"validation {findings.plan.score.words}"
