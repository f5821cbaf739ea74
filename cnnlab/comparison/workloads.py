"""Arms over several workloads: AlgoPerf's score and the performance profile that it is the area of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from cnnlab.comparison.figures import draw_profile
from cnnlab.comparison.statistics import algoperf_scores
from cnnlab.comparison.verdicts import Verdicts


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
    return {arm: [getattr(one.to_target[arm], unit) if arm in one.to_target else inf for one in found] for arm in arms}
