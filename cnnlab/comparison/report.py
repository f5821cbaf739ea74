"""A comparison as files: JSON, CSV, a Markdown table, the figures, and one page that needs no network."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnnlab.comparison.figures import draw_comparison, draw_profile, heading_of
from cnnlab.comparison.statistics import Pair, Summary, algoperf_scores, least_p_value
from cnnlab.comparison.verdicts import ArmResult, ToTarget, Verdicts, sentence
from cnnlab.page import Table, page, picture
from cnnlab.result import Result, settings_text, strict_json

COLUMNS = ("", "trials", "diverged", "tuned", "mean ± std", "95 % interval", "median", "untuned", "to the target", "lr")
PAIR_COLUMNS = ("pair", "difference", "95 % interval", "P(A > B)", "t", "Wilcoxon", "verdict")


def write_report(found: Verdicts, folder: Path) -> list[Path]:
    """Write all of it into a folder, which is made if there is none; returns the files."""
    folder.mkdir(exist_ok=True)
    texts = {
        "compare.json": strict_json(verdicts_json(found), indent=1) + "\n",
        "compare.md": markdown(found),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    figures = draw_comparison(found, folder)
    (folder / "compare.html").write_text(_page(found, figures), encoding="utf-8")
    return [*(folder / name for name in texts), _write_scores(found, folder / "compare.csv"), *figures]


def verdicts_json(found: Verdicts) -> dict[str, Any]:
    """The object in compare.json, and most of what `compare --json` prints. Scores are test scores, as `score` says.

    `p_value` is what the verdict rests on: the larger of the paired t test's and the exact Wilcoxon test's, both
    corrected by Holm over the pairs; null if there are too few seeds for either. A target that was missed is null.
    """
    return {
        "question": found.question,
        "score": {
            "name": found.score.name,
            "value": found.summaries[found.ranking[0]].mean if found.summaries else None,
            "higher_is_better": found.score.higher_is_better,
        },
        "optimizers": [_arm_json(found, arm) for arm in found.arms],
        "pairs": [_pair_json(pair) for pair in found.pairs],
        "ranking": found.ranking,
        "warnings": list(found.warnings),
        "verdict": sentence(found),
        "margin": found.margin,
        "target": found.target,
        "caveats": list(found.caveats),
    }


def comparison_result(found: Mapping[str, Verdicts], seconds: float, *, one: bool) -> Result:
    """The object that `compare --json` prints.

    Args:
        found: comparison's name -> what was found, one per workload.
        seconds: what all of it took.
        one: whether only one workload was asked for.
    """
    if one:
        ((name, only),) = found.items()
        return Result({**verdicts_json(only), "study": name, "seconds": seconds})
    scores = scores_over(list(found.values()))
    return Result(
        {
            "workloads": [{"study": name, **verdicts_json(verdicts)} for name, verdicts in found.items()],
            "algoperf": {arm: {"steps": score.steps, "seconds": score.seconds} for arm, score in scores.items()},
            "ranking": ranked(scores),
            "seconds": seconds,
        }
    )


def markdown(found: Verdicts) -> str:
    """Tables to paste into a paper, with what has to be said beside them."""
    lines = [f"**{sentence(found)}.**", "", *_markdown_table(COLUMNS, arm_rows(found))]
    if found.pairs:
        lines += ["", *_markdown_table(PAIR_COLUMNS, pair_rows(found)), "", f"{note_on_pairs(found)}."]
    notes = [*(f"Warning: {warning}." for warning in found.warnings), *(f"{caveat}." for caveat in found.caveats)]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def arm_rows(found: Verdicts) -> list[list[str]]:
    """A row per arm, as COLUMNS says. Scores in their unit: accuracies in per cent."""
    table, near_best = found.score.table, found.score.amount(found.score.near_best)
    rows = []
    for arm in found.arms:
        summary, untuned, to = _known(found, arm)
        near = found.near_best(arm)
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
                "" if to is None else _never(to.steps, f"{to.steps:.0f} steps, {to.seconds:.1f} s"),
                "" if near is None else f"{near:.0%} of its range within {near_best}",
            ]
        )
    return rows


def note_on_pairs(found: Verdicts) -> str:
    """What the pairs' p-values are, and if there are none, why."""
    score = found.score
    tests = "p-values of the paired t and the exact Wilcoxon test, after Holm"
    note = f"differences in {score.points} of {score.words}; {tests}"
    if all(pair.p_value is not None and pair.p_wilcoxon is not None for pair in found.pairs):
        return note
    least = least_p_value(found.seeds)
    return f"{note}; none: {found.seeds} seeds give p = {least:.2g} at best, times {len(found.pairs)} for Holm"


def pair_rows(found: Verdicts) -> list[list[str]]:
    """A row per pair, as PAIR_COLUMNS says. Differences in the unit of the score."""
    table = found.score.table
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
        for pair in found.pairs
    ]


def _arm_json(found: Verdicts, arm: ArmResult) -> dict[str, Any]:
    summary, untuned, to = _known(found, arm)
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
        "lr_range_near_best": found.near_best(arm),
    }


def _known(found: Verdicts, arm: ArmResult) -> tuple[Summary | None, Summary | None, ToTarget | None]:
    return found.summaries.get(arm.name), found.untuned.get(arm.name), found.to_target.get(arm.name)


def _summary_json(summary: Summary | None) -> dict[str, float | None]:
    keys = ("mean", "std", "median", "ci_low", "ci_high")
    return {key: getattr(summary, key) if summary else None for key in keys}


def _pair_json(pair: Pair) -> dict[str, Any]:
    return {
        "a": pair.a,
        "b": pair.b,
        "difference": pair.difference,
        "ci_low": pair.ci_low,
        "ci_high": pair.ci_high,
        "p_value": pair.p_value,
        "verdict": pair.verdict,
        "p_t": pair.p_t,
        "p_wilcoxon": pair.p_wilcoxon,
        "p_equal": pair.p_equal,
        "probability": pair.probability,
        "seeds_to_decide": pair.seeds_to_decide,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _never(value: float, text: str) -> str:
    return text if math.isfinite(value) else "missed"


def _p_value(p: float | None) -> str:
    if p is None:
        return "none"
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]


def _write_scores(found: Verdicts, path: Path) -> Path:
    """One line per training of the finals."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["arm", "settings", "seed", f"test_{found.score.name}", "diverged", "steps", "seconds"])
        for arm in found.arms:
            for settings, finals in (("tuned", arm.finals), ("untuned", arm.untuned)):
                for f in finals:
                    steps, seconds = (f.steps[-1], round(f.seconds[-1], 3)) if f.history else ("", "")
                    writer.writerow([arm.name, settings, f.seed, f.score, f.diverged, steps, seconds])
    return path


def _page(found: Verdicts, figures: Sequence[Path]) -> str:
    tables = [Table(COLUMNS, arm_rows(found))]
    if found.pairs:
        tables.append(Table(PAIR_COLUMNS, pair_rows(found), f"{note_on_pairs(found)}."))
    return page(
        f"Comparison over {found.question}",
        lead=f"{sentence(found)}.",
        tables=tables,
        notes=[*(f"Warning: {warning}" for warning in found.warnings), *found.caveats],
        figures=[picture(path, heading_of(path.stem, found.score)) for path in figures],
    )


@dataclass(frozen=True)
class Score:
    """AlgoPerf's score in [0, 1], from the medians over seeds of what it took to reach each workload's target."""

    steps: float
    seconds: float


def scores_over(found: Sequence[Verdicts]) -> dict[str, Score]:
    """Each arm's score over the workloads."""
    steps, seconds = algoperf_scores(_times(found, "steps")), algoperf_scores(_times(found, "seconds"))
    return {arm: Score(steps[arm], seconds[arm]) for arm in steps}


def ranked(scores: Mapping[str, Score]) -> list[str]:
    """The arms, the highest score by seconds first."""
    return sorted(scores, key=lambda arm: -scores[arm].seconds)


def write_profile(found: Sequence[Verdicts], folder: Path) -> Path:
    """The performance profile by seconds, as PNG in a folder that is made if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    return draw_profile(_times(found, "seconds"), folder)


def _times(found: Sequence[Verdicts], unit: str) -> dict[str, list[float]]:
    arms = sorted(found[0].ranking)
    return {
        arm: [getattr(one.to_target[arm], unit) if arm in one.to_target else math.inf for one in found] for arm in arms
    }
