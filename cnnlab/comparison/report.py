"""A comparison as files: JSON, CSV, Markdown tables, figures, and one HTML page that needs no network."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cnnlab.comparison.figures import draw_comparison, draw_losses, heading_of
from cnnlab.comparison.statistics import LOOKS, Summary
from cnnlab.comparison.verdicts import ArmResult, ToTarget, Verdicts, sentence
from cnnlab.comparison.workloads import improvements, interquartile_means, ranked, scores_over
from cnnlab.metrics import Metric
from cnnlab.page import Table, page, picture
from cnnlab.result import Result, settings_text, strict_json
from cnnlab.tracking import RunDir

ARM_COLUMNS = (
    "",
    "trials",
    "diverged",
    "best tuned",
    "mean ± std",
    "95 % interval",
    "median",
    "untuned",
    "to the target",
)
PAIR_COLUMNS = ("pair", "difference", "95 % interval, all pairs", "P(A > B)", "p", "verdict")
ABOUT_SETTINGS = "verdict on these two settings"


def write_report(verdicts: Verdicts, folder: Path, untuned: Mapping[str, RunDir] | None = None) -> list[Path]:
    """Write all files into `folder`, which is created if it does not exist; returns their paths.

    Args:
        untuned: arm -> a training of it, if nothing is tuned; their losses are drawn too.
    """
    folder.mkdir(exist_ok=True)
    texts = {
        "compare.json": strict_json(verdicts_json(verdicts), indent=1) + "\n",
        "compare.md": markdown(verdicts),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    figures = draw_comparison(verdicts, folder)
    if untuned:
        figures.insert(0, draw_losses(untuned, folder))
    (folder / "compare.html").write_text(comparison_page(verdicts, figures), encoding="utf-8")
    return [*(folder / name for name in texts), _write_scores(verdicts, folder / "compare.csv"), *figures]


def verdicts_json(verdicts: Verdicts) -> dict[str, Any]:
    """The object in compare.json, and most of what `compare --json` prints. Scores are test scores.

    The interval of a pair decides its verdict; it holds over all pairs and looks. The cost of a target that was missed
    is null.
    """
    return {
        "question": verdicts.question,
        "score": {
            "name": verdicts.score.name,
            "value": verdicts.summaries[verdicts.ranking[0]].mean if verdicts.summaries else None,
            "higher_is_better": verdicts.score.higher_is_better,
        },
        "optimizers": [_arm_json(verdicts, arm) for arm in verdicts.arms],
        "pairs": [
            {**asdict(pair), "failed": list(pair.failed), "tied": pair.tied, "claim": verdicts.claim}
            for pair in verdicts.pairs
        ],
        "ranking": verdicts.ranking,
        "not_worse": verdicts.not_worse,
        "claim": verdicts.claim,
        "tunings": max((len(arm.tunings) for arm in verdicts.arms), default=0),
        "look": verdicts.look,
        "warnings": list(verdicts.warnings),
        "verdict": sentence(verdicts),
        "margin": verdicts.margin,
        "target": verdicts.target,
        "caveats": list(verdicts.caveats),
    }


def comparison_result(by_name: Mapping[str, Verdicts], seconds: float, *, one: bool) -> Result:
    """The object that `compare --json` prints.

    Args:
        by_name: the contest's name -> its verdicts, one per workload.
        seconds: of the whole comparison.
        one: whether only one workload was asked for.
    """
    if one:
        ((name, only),) = by_name.items()
        return Result({**verdicts_json(only), "study": name, "seconds": seconds})
    workloads = list(by_name.values())
    scores = scores_over(workloads)
    return Result(
        {
            "workloads": [{"study": name, **verdicts_json(verdicts)} for name, verdicts in by_name.items()],
            "profile": {arm: score._asdict() for arm, score in scores.items()},
            "ranking": ranked(scores),
            "iqm": {arm: mean._asdict() for arm, mean in interquartile_means(workloads).items()},
            "improvements": [
                {"a": found.a, "b": found.b, **found.probability._asdict()} for found in improvements(workloads)
            ],
            "seconds": seconds,
        }
    )


def markdown(verdicts: Verdicts) -> str:
    """Tables to paste into a paper, with warnings and caveats as a list below."""
    lines = [f"**{sentence(verdicts)}.**", "", *markdown_table(*arm_table(verdicts))]
    if verdicts.pairs:
        lines += ["", *markdown_table(pair_columns(verdicts), pair_rows(verdicts)), "", f"{note_on_pairs(verdicts)}."]
    notes = [*(f"Warning: {warning}." for warning in verdicts.warnings), *(f"{caveat}." for caveat in verdicts.caveats)]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def arm_table(verdicts: Verdicts) -> tuple[list[str], list[list[str]]]:
    """The columns of ARM_COLUMNS with values, and a row per arm. Scores are in their unit: accuracies in percent."""
    table = verdicts.score.table
    rows = []
    for arm in verdicts.arms:
        summary, untuned, to = _results(verdicts, arm)
        cost = f"{to.steps:.0f} steps, {to.seconds:.1f} s" if to and math.isfinite(to.steps) else "missed"
        rows.append(
            [
                arm.name,
                str(len(arm.tried)),
                diverged(arm),
                settings_text(arm.best_params(verdicts.score)),
                f"{table(summary.mean)} ± {table(summary.std)}" if summary else "none",
                between(verdicts.score, summary.ci_low, summary.ci_high) if summary else "",
                table(summary.median) if summary else "",
                f"{table(untuned.mean)} ± {table(untuned.std)}" if untuned and verdicts.tuned else "",
                "" if to is None else cost,
            ]
        )
    return with_values(ARM_COLUMNS, rows)


def with_values(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """A table without the columns that are empty in each row; the first one stays."""
    kept = [index for index in range(len(columns)) if index == 0 or any(row[index] for row in rows)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]


def diverged(arm: ArmResult) -> str:
    """The number of trials and of finals that diverged: `3 trials, 2 of 8 finals`; empty if none did."""
    trials = arm.infeasible - arm.failed
    words = [f"{trials} trial{'s' * (trials > 1)}"] if trials else []
    return ", ".join([*words, *([f"{arm.failed} of {len(arm.finals)} finals"] if arm.failed else [])])


def between(score: Metric, low: float | None, high: float | None, sign: str = "") -> str:
    """An interval in the score's unit: `87.1 to 88.2`; empty if there is none."""
    return "" if low is None or high is None else f"{score.table(low, sign=sign)} to {score.table(high, sign=sign)}"


def note_on_pairs(verdicts: Verdicts) -> str:
    """What the intervals and p-values of the pairs are."""
    score = verdicts.score
    return (
        f"differences in {score.points} of {score.words}, paired over {verdicts.unit_words}; the 95 % intervals and p "
        f"hold for all pairs and up to {LOOKS} looks together (this is look {verdicts.look}); equal: within "
        f"±{score.table(verdicts.margin)}"
    )


def pair_columns(verdicts: Verdicts) -> list[str]:
    """PAIR_COLUMNS; the last one says if verdicts are about settings alone."""
    return [*PAIR_COLUMNS[:-1], PAIR_COLUMNS[-1] if verdicts.claim == "optimizers" else ABOUT_SETTINGS]


def pair_rows(verdicts: Verdicts) -> list[list[str]]:
    """A row per pair with the cells of PAIR_COLUMNS. Differences are in the unit of the score."""
    table = verdicts.score.table
    return [
        [
            f"{pair.a} - {pair.b}",
            "none" if math.isnan(pair.difference) else table(pair.difference, sign="+"),
            between(verdicts.score, pair.ci_low, pair.ci_high, "+") or "none",
            "none" if math.isnan(pair.probability) else f"{pair.probability:.2f}",
            _p_value(pair.p_value),
            f"{pair.verdict} (tied)" if pair.tied else pair.verdict,
        ]
        for pair in verdicts.pairs
    ]


def _arm_json(verdicts: Verdicts, arm: ArmResult) -> dict[str, Any]:
    summary, untuned, to = _results(verdicts, arm)
    return {
        "name": arm.name,
        "trials": len(arm.tried),
        "best_params": arm.best_params(verdicts.score),
        "seeds": len(arm.finals),
        "scores": [final.score for final in arm.finals],
        "failed": arm.failed / len(arm.finals) if arm.finals else None,
        "tunings": [
            {"trial": t.best_trial, "params": t.best_params, "scores": [final.score for final in t.finals]}
            for t in arm.tunings
        ],
        **_summary_json(summary),
        "infeasible": arm.infeasible,
        "untuned": {"scores": [final.score for final in arm.untuned], **_summary_json(untuned)},
        "steps_to_target": _finite(to.steps if to else None),
        "seconds_to_target": _finite(to.seconds if to else None),
        "missed_target": to.missed if to else None,
    }


def _results(verdicts: Verdicts, arm: ArmResult) -> tuple[Summary | None, Summary | None, ToTarget | None]:
    return verdicts.summaries.get(arm.name), verdicts.untuned.get(arm.name), verdicts.to_target.get(arm.name)


def _summary_json(summary: Summary | None) -> dict[str, float | None]:
    return asdict(summary) if summary else dict.fromkeys(field.name for field in fields(Summary))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _p_value(p: float | None) -> str:
    if p is None:
        return "none"
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]


def _write_scores(verdicts: Verdicts, path: Path) -> Path:
    """Write one row per final."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        score = f"test_{verdicts.score.name}"
        writer.writerow(["arm", "tuning", "settings", "seed", score, "diverged", "steps", "seconds"])
        for arm in verdicts.arms:
            for tuning in arm.tunings:
                for settings, finals in (("tuned", tuning.finals), ("untuned", tuning.untuned)):
                    for f in finals:
                        steps, seconds = (f.steps[-1], round(f.seconds[-1], 3)) if f.history else ("", "")
                        row = [arm.name, tuning.number, settings, f.seed, f.score, f.diverged, steps, seconds]
                        writer.writerow(row)
    return path


def comparison_page(verdicts: Verdicts, figures: Sequence[Path]) -> str:
    """The page of a comparison, with the figures of `draw_comparison`."""
    tables = [Table(*arm_table(verdicts))]
    if verdicts.pairs:
        tables.append(Table(pair_columns(verdicts), pair_rows(verdicts), f"{note_on_pairs(verdicts)}."))
    return page(
        f"Comparison over {verdicts.question}",
        lead=f"{sentence(verdicts)}.",
        tables=tables,
        notes=[*(f"Warning: {warning}" for warning in verdicts.warnings), *verdicts.caveats],
        figures=[picture(path, heading_of(path.stem, verdicts.score)) for path in figures],
    )
