"""The verdicts of a contest: the arms' scores on fresh seeds, each pair's verdict, and warnings about the tuning."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations

from cnnlab.comparison.statistics import (
    LEAST_SEEDS,
    MOST_SEEDS,
    Pair,
    Summary,
    compare_all,
    expected_best,
    share_near_best,
    summarize,
)
from cnnlab.config.arms import contains
from cnnlab.metrics import Metric
from cnnlab.result import listed
from cnnlab.search.slots import CurvePoint

EDGE = 0.05
"""Share of a range. If the best learning rate is nearer to an end of its range, the range was too narrow."""


@dataclass(frozen=True)
class Tried:
    """One trial of an arm's search."""

    value: float | None
    """Best validation score; None if it diverged or failed."""
    lr: float
    position: float | None = None
    """Of the learning rate in its range, in [0, 1]; None if it is not tuned."""
    untuned: bool = False
    """Whether it is the first trial, which has the defaults."""
    diverged: bool = False


@dataclass(frozen=True)
class Final:
    """One training on a fresh seed."""

    seed: int
    """Its index. Trainings with the same index have the same initial weights and the same order of the data."""
    score: float
    """On the test split; the metric's worst value if it diverged."""
    history: tuple[CurvePoint, ...] = ()
    """One point per epoch."""
    diverged: bool = False

    @property
    def steps(self) -> list[int]:
        return [point.step for point in self.history]

    @property
    def seconds(self) -> list[float]:
        """Since the training began, one per epoch."""
        return list(accumulate(point.seconds for point in self.history))

    @property
    def validation(self) -> list[float]:
        """The validation scores, one per epoch."""
        return [point.val for point in self.history]

    def reaches(self, target: float, score: Metric) -> int | None:
        """The index of the first epoch whose validation score is as good as the target; None if there is none."""
        return next((index for index, value in enumerate(self.validation) if score.reaches(value, target)), None)


@dataclass(frozen=True)
class ArmResult:
    """The trials and finals of one arm."""

    name: str
    tried: tuple[Tried, ...]
    """The first has the untuned defaults, the others are quasi-random."""
    best_trial: int | None
    best_params: dict[str, object]
    """Of the best trial: dotted path -> value."""
    finals: tuple[Final, ...]
    untuned: tuple[Final, ...]
    """Trainings with the defaults on the same seeds."""

    @property
    def infeasible(self) -> int:
        """Trials and finals that diverged."""
        return sum(tried.diverged for tried in self.tried) + sum(final.diverged for final in self.finals)

    def random_values(self, score: Metric) -> list[float]:
        """The values of the quasi-random trials; the metric's worst value for one that diverged."""
        return [_or_worst(tried, score) for tried in self.tried if not tried.untuned]

    def best_of_first(self, trials: int, score: Metric) -> float:
        """The best value of the first `trials` trials."""
        best = score.best(_or_worst(tried, score) for tried in self.tried[:trials])
        return score.worst if best is None else best


def _or_worst(tried: Tried, score: Metric) -> float:
    return score.worst if tried.value is None else tried.value


@dataclass(frozen=True)
class ToTarget:
    """The cost of reaching the target, as a median over seeds; infinity if most seeds missed it."""

    steps: float
    seconds: float
    missed: int
    """The number of seeds that missed it."""


@dataclass(frozen=True)
class Verdicts:
    """The results of a contest."""

    question: str
    """`optimizer`, or the setting that was compared."""
    score: Metric
    arms: tuple[ArmResult, ...]
    """The best mean first; arms without a final last."""
    margin: float
    target: float | None
    """A validation score; None if none was given and no training of the defaults has ended."""
    summaries: Mapping[str, Summary]
    untuned: Mapping[str, Summary]
    """Of the trainings with the defaults."""
    pairs: tuple[Pair, ...]
    to_target: Mapping[str, ToTarget]
    warnings: tuple[str, ...]
    caveats: tuple[str, ...] = ()

    @property
    def ranking(self) -> list[str]:
        return [arm.name for arm in self.arms]

    @property
    def seeds(self) -> int:
        """The number of seeds that all arms have."""
        return len(_common_seeds(self.arms))

    def near_best(self, arm: ArmResult) -> float | None:
        """The share of the learning rate's range that is near the best; None for fewer than 3 rates."""
        score = self.score
        points = [(t.position, -score.rank(_or_worst(t, score))) for t in arm.tried if t.position is not None]
        if len(points) < 3:
            return None
        return share_near_best([x for x, _ in points], [y for _, y in points], score.near_best)


def judge(
    question: str,
    arms: Sequence[ArmResult],
    margin: float,
    target: float | None = None,
    *,
    score: Metric,
) -> Verdicts:
    """Rank the arms, compare each pair, and warn about flaws of the tuning.

    Args:
        question: `optimizer`, or the setting that is compared.
        arms: a seed that one arm lacks is left out of all pairs.
        margin: a smaller difference of the score does not matter.
        target: a validation score; None for the median of the untuned defaults' best validation scores.
        score: the metric by which they are compared.
    """
    summaries = {arm.name: summarize([final.score for final in arm.finals]) for arm in arms if arm.finals}
    ranked = sorted(arms, key=lambda arm: score.rank(summaries[arm.name].mean if arm.finals else None))
    common = _common_seeds(ranked)
    scores = {arm.name: [final.score for final in arm.finals if final.seed in common] for arm in ranked if arm.finals}
    pairs = tuple(compare_all(scores, margin, higher_is_better=score.higher_is_better)) if common else ()
    target = _default_target(ranked, score) if target is None else target
    return Verdicts(
        question=question,
        score=score,
        arms=tuple(ranked),
        margin=margin,
        target=target,
        summaries=summaries,
        untuned={arm.name: summarize([final.score for final in arm.untuned]) for arm in ranked if arm.untuned},
        pairs=pairs,
        to_target={} if target is None else {arm.name: _to_target(arm, target, score) for arm in ranked if arm.finals},
        warnings=tuple(_warnings(ranked, pairs, margin, target, score)),
    )


def sentence(verdicts: Verdicts) -> str:
    """The verdicts on the best arm, in one sentence."""
    if not verdicts.pairs:
        return "nothing to compare: fewer than two were trained to their end"
    best = verdicts.ranking[0]
    if verdicts.seeds < LEAST_SEEDS:
        few = f"{verdicts.seeds} seeds are too few to claim anything"
        return f"{best} has the best mean, but {few}: {LEAST_SEEDS} at least"
    pairs = [pair for pair in verdicts.pairs if pair.a == best]
    clauses = []
    if better := [pair for pair in pairs if pair.verdict == "better"]:
        clauses.append("better than " + listed([f"{p.b} (by {_lead(verdicts.score, p)})" for p in better]))
    if equal := [pair.b for pair in pairs if pair.verdict == "equal"]:
        clauses.append(f"equal to {listed(equal)} within {verdicts.score.amount(verdicts.margin)}")
    if undecided := [pair for pair in pairs if pair.verdict == "undecided"]:
        clauses.append("not told apart from " + listed([f"{pair.b} ({_would_decide(pair)})" for pair in undecided]))
    return f"{best} has the best mean; it is {listed(clauses)}"


def _lead(score: Metric, pair: Pair) -> str:
    return f"{score.table(abs(pair.difference))} {score.points}"


def expected_best_of(arm: ArmResult, score: Metric) -> list[float]:
    """The expected best value of 1, 2, ... quasi-random trials."""
    values = arm.random_values(score)
    if score.higher_is_better:
        return expected_best(values)
    return [-value for value in expected_best([-value for value in values])]


def _would_decide(pair: Pair) -> str:
    seeds = pair.seeds_to_decide
    return f"about {seeds} seeds would decide" if seeds else f"{MOST_SEEDS} seeds would not decide"


def _common_seeds(arms: Sequence[ArmResult]) -> set[int]:
    seeds = [{final.seed for final in arm.finals} for arm in arms if arm.finals]
    return set.intersection(*seeds) if len(seeds) > 1 else set()


def _default_target(arms: Sequence[ArmResult], score: Metric) -> float | None:
    best = [score.best(final.validation) for arm in arms for final in arm.untuned if final.history]
    known = [value for value in best if value is not None]
    return statistics.median(known) if known else None


def _to_target(arm: ArmResult, target: float, score: Metric) -> ToTarget:
    reached = [(final, final.reaches(target, score)) for final in arm.finals]
    steps = [math.inf if index is None else final.steps[index] for final, index in reached]
    seconds = [math.inf if index is None else final.seconds[index] for final, index in reached]
    return ToTarget(statistics.median(steps), statistics.median(seconds), sum(index is None for _, index in reached))


def _warnings(
    arms: Sequence[ArmResult], pairs: Sequence[Pair], margin: float, target: float | None, score: Metric
) -> list[str]:
    unfinished = [arm.name for arm in arms if not arm.finals]
    warnings = [f"{name}: no trial was trained to its end, so it is in no pair and ranked last" for name in unfinished]
    warnings += [text for pair in pairs if (text := _under_tuned(pair, margin))]
    warnings += [text for arm in arms if (text := _edge(arm))]
    warnings += _reversed(arms, margin, score)
    if missing := [arm.name for arm in arms if arm.finals and {f.seed for f in arm.finals} != _common_seeds(arms)]:
        warnings.append(
            f"{listed(missing)}: seeds that not all have were left out of the pairs; the same command goes on"
        )
    if target is not None and not any(f.reaches(target, score) is not None for arm in arms for f in arm.finals):
        warnings.append(f"the target {score.show(target)} was reached by none")
    return warnings


def _under_tuned(pair: Pair, margin: float) -> str:
    """A warning if an optimizer has a lower mean than its special case; pairs are in the order of the means."""
    if not contains(pair.b, pair.a) or abs(pair.difference) <= margin:
        return ""
    why = "it is under-tuned" if pair.verdict == "better" else "it is under-tuned, or its seeds were unlucky"
    return f"{pair.b} is below {pair.a}, its special case: {why}; more trials would show"


def _edge(arm: ArmResult) -> str:
    best = None if arm.best_trial is None else arm.tried[arm.best_trial]
    if best is None or best.position is None or EDGE < best.position < 1 - EDGE:
        return ""
    end = "lower" if best.position < 0.5 else "upper"
    return f"{arm.name}: its best learning rate, {best.lr:.3g}, lies at the {end} end of its range"


def _reversed(arms: Sequence[ArmResult], margin: float, score: Metric) -> list[str]:
    """A warning for each pair of arms whose order is reversed with half the trials."""
    warnings = []
    for a, b in combinations(arms, 2):
        half = max(len(a.tried), len(b.tried)) // 2
        before = a.best_of_first(half, score) - b.best_of_first(half, score)
        after = a.best_of_first(2 * half + 1, score) - b.best_of_first(2 * half + 1, score)
        if before * after < 0 and max(abs(before), abs(after)) > margin:
            warnings.append(f"{a.name} and {b.name} would have been ranked the other way round with half the trials")
    return warnings
