"""Arms over several workloads: AlgoPerf's score and the performance profile that it is the area of."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from cnnlab.comparison.figures import draw_profile
from cnnlab.comparison.statistics import algoperf_scores
from cnnlab.comparison.verdicts import Comparison


@dataclass(frozen=True)
class Score:
    """AlgoPerf's, in [0, 1], from the medians over seeds of what it took to reach each workload's target."""

    steps: float
    seconds: float


def scores_over(found: Sequence[Comparison]) -> dict[str, Score]:
    """Each arm's score over the workloads."""
    steps, seconds = algoperf_scores(_times(found, "steps")), algoperf_scores(_times(found, "seconds"))
    return {arm: Score(steps[arm], seconds[arm]) for arm in steps}


def write_profile(found: Sequence[Comparison], folder: Path) -> Path:
    """The performance profile by seconds, as PNG."""
    return draw_profile(_times(found, "seconds"), folder)


def _times(found: Sequence[Comparison], unit: str) -> dict[str, list[float]]:
    arms = sorted(found[0].ranking)
    return {arm: [getattr(one.to_target[arm], unit) if arm in one.to_target else inf for one in found] for arm in arms}
