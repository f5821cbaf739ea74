"""A comparison as files: JSON, CSV, Markdown tables, figures, and one HTML page that needs no network."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple

from cnnlab.comparison.figures import draw_comparison, heading_of
from cnnlab.comparison.statistics import Summary, algoperf_scores, least_p_value
from cnnlab.comparison.verdicts import ArmResult, ToTarget, Verdicts, sentence
from cnnlab.page import Table, page, picture
from cnnlab.result import Result, settings_text, strict_json

COLUMNS = ("", "trials", "diverged", "tuned", "mean ± std", "95 % interval", "median", "untuned", "to the target", "lr")
PAIR_COLUMNS = ("pair", "difference", "95 % interval", "P(A > B)", "t", "Wilcoxon", "verdict")


def write_report(verdicts: Verdicts, folder: Path) -> list[Path]:
    """Write all files into `folder`, which is created if it does not exist; returns their paths."""
    folder.mkdir(exist_ok=True)
    texts = {
        "compare.json": strict_json(verdicts_json(verdicts), indent=1) + "\n",
        "compare.md": markdown(verdicts),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    figures = draw_comparison(verdicts, folder)
    (folder / "compare.html").write_text(_page(verdicts, figures), encoding="utf-8")
    return [*(folder / name for name in texts), _write_scores(verdicts, folder / "compare.csv"), *figures]


def verdicts_json(verdicts: Verdicts) -> dict[str, Any]:
    """The object in compare.json, and most of what `compare --json` prints. Scores are test scores.

    `p_value` decides the verdict: the larger of the paired t test's and the exact Wilcoxon test's, both corrected by
    Holm over the pairs; null if there are too few seeds for either. The cost of a target that was missed is null.
    """
    return {
        "question": verdicts.question,
        "score": {
            "name": verdicts.score.name,
            "value": verdicts.summaries[verdicts.ranking[0]].mean if verdicts.summaries else None,
            "higher_is_better": verdicts.score.higher_is_better,
        },
        "optimizers": [_arm_json(verdicts, arm) for arm in verdicts.arms],
        "pairs": [{**asdict(pair), "p_value": pair.p_value} for pair in verdicts.pairs],
        "ranking": verdicts.ranking,
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
    scores = scores_over(list(by_name.values()))
    return Result(
        {
            "workloads": [{"study": name, **verdicts_json(verdicts)} for name, verdicts in by_name.items()],
            "algoperf": {arm: score._asdict() for arm, score in scores.items()},
            "ranking": ranked(scores),
            "seconds": seconds,
        }
    )


def markdown(verdicts: Verdicts) -> str:
    """Tables to paste into a paper, with warnings and caveats as a list below."""
    lines = [f"**{sentence(verdicts)}.**", "", *_markdown_table(COLUMNS, arm_rows(verdicts))]
    if verdicts.pairs:
        lines += ["", *_markdown_table(PAIR_COLUMNS, pair_rows(verdicts)), "", f"{note_on_pairs(verdicts)}."]
    notes = [*(f"Warning: {warning}." for warning in verdicts.warnings), *(f"{caveat}." for caveat in verdicts.caveats)]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def arm_rows(verdicts: Verdicts) -> list[list[str]]:
    """A row per arm with the cells of COLUMNS. Scores are in their unit: accuracies in percent."""
    table, near_best = verdicts.score.table, verdicts.score.amount(verdicts.score.near_best)
    rows = []
    for arm in verdicts.arms:
        summary, untuned, to = _results(verdicts, arm)
        near = verdicts.near_best(arm)
        cost = f"{to.steps:.0f} steps, {to.seconds:.1f} s" if to and math.isfinite(to.steps) else "missed"
        rows.append(
            [
                arm.name,
                str(len(arm.tried)),
                str(arm.infeasible),
                settings_text(arm.best_params),
                f"{table(summary.mean)} ± {table(summary.std)}" if summary else "none",
                f"{table(summary.ci_low)} to {table(summary.ci_high)}" if summary else "",
                table(summary.median) if summary else "",
                f"{table(untuned.mean)} ± {table(untuned.std)}" if untuned else "",
                "" if to is None else cost,
                "" if near is None else f"{near:.0%} of its range within {near_best}",
            ]
        )
    return rows


def note_on_pairs(verdicts: Verdicts) -> str:
    """Which tests the p-values of the pairs are of; if there are none, why."""
    score = verdicts.score
    tests = "p-values of the paired t and the exact Wilcoxon test, after Holm"
    note = f"differences in {score.points} of {score.words}; {tests}"
    if all(pair.p_value is not None and pair.p_wilcoxon is not None for pair in verdicts.pairs):
        return note
    least = least_p_value(verdicts.seeds)
    return f"{note}; none: {verdicts.seeds} seeds give p = {least:.2g} at best, times {len(verdicts.pairs)} for Holm"


def pair_rows(verdicts: Verdicts) -> list[list[str]]:
    """A row per pair with the cells of PAIR_COLUMNS. Differences are in the unit of the score."""
    table = verdicts.score.table
    return [
        [
            f"{pair.a} - {pair.b}",
            table(pair.difference, sign="+"),
            f"{table(pair.ci_low, sign='+')} to {table(pair.ci_high, sign='+')}",
            f"{pair.probability:.2f}",
            _p_value(pair.p_t),
            _p_value(pair.p_wilcoxon),
            pair.verdict + (f" (about {pair.seeds_to_decide} seeds)" if pair.seeds_to_decide else ""),
        ]
        for pair in verdicts.pairs
    ]


def _arm_json(verdicts: Verdicts, arm: ArmResult) -> dict[str, Any]:
    summary, untuned, to = _results(verdicts, arm)
    return {
        "name": arm.name,
        "trials": len(arm.tried),
        "best_params": arm.best_params,
        "seeds": len(arm.finals),
        "scores": [final.score for final in arm.finals],
        **_summary_json(summary),
        "infeasible": arm.infeasible,
        "untuned": {"scores": [final.score for final in arm.untuned], **_summary_json(untuned)},
        "steps_to_target": _finite(to.steps if to else None),
        "seconds_to_target": _finite(to.seconds if to else None),
        "missed_target": to.missed if to else None,
        "lr_range_near_best": verdicts.near_best(arm),
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


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]


def _write_scores(verdicts: Verdicts, path: Path) -> Path:
    """Write one row per final."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["arm", "settings", "seed", f"test_{verdicts.score.name}", "diverged", "steps", "seconds"])
        for arm in verdicts.arms:
            for settings, finals in (("tuned", arm.finals), ("untuned", arm.untuned)):
                for f in finals:
                    steps, seconds = (f.steps[-1], round(f.seconds[-1], 3)) if f.history else ("", "")
                    writer.writerow([arm.name, settings, f.seed, f.score, f.diverged, steps, seconds])
    return path


def _page(verdicts: Verdicts, figures: Sequence[Path]) -> str:
    tables = [Table(COLUMNS, arm_rows(verdicts))]
    if verdicts.pairs:
        tables.append(Table(PAIR_COLUMNS, pair_rows(verdicts), f"{note_on_pairs(verdicts)}."))
    return page(
        f"Comparison over {verdicts.question}",
        lead=f"{sentence(verdicts)}.",
        tables=tables,
        notes=[*(f"Warning: {warning}" for warning in verdicts.warnings), *verdicts.caveats],
        figures=[picture(path, heading_of(path.stem, verdicts.score)) for path in figures],
    )


class Score(NamedTuple):
    """AlgoPerf's score in [0, 1], from the median over seeds of the cost of reaching each workload's target."""

    steps: float
    seconds: float


def scores_over(workloads: Sequence[Verdicts]) -> dict[str, Score]:
    """Each arm's score over the workloads."""
    steps, seconds = (algoperf_scores(times_to_target(workloads, unit)) for unit in Score._fields)
    return {arm: Score(steps[arm], seconds[arm]) for arm in steps}


def ranked(scores: Mapping[str, Score]) -> list[str]:
    """The arms in the order of their scores by seconds, the highest first."""
    return sorted(scores, key=lambda arm: -scores[arm].seconds)


def times_to_target(workloads: Sequence[Verdicts], unit: str) -> dict[str, list[float]]:
    """Arm -> its `steps` or `seconds` to the target of each workload; infinity if it was missed."""
    missed = ToTarget(math.inf, math.inf, 0)
    return {
        arm: [getattr(verdicts.to_target.get(arm, missed), unit) for verdicts in workloads]
        for arm in sorted(workloads[0].ranking)
    }
