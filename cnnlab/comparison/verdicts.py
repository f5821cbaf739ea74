"""What a contest found: the arms' scores on fresh seeds, each pair's verdict, and how far to trust the tuning."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
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
from cnnlab.metrics import Metric
from cnnlab.result import listed
from cnnlab.search.slots import CurvePoint

EDGE = 0.05
"""If the best learning rate is this near to an end of its range, as a share of the width, the range was too narrow."""


@dataclass(frozen=True)
class Tried:
    """One trial of an arm's search."""

    value: float | None
    """Best validation score; None if it diverged or failed."""
    lr: float
    position: float | None = None
    """Where in its range the learning rate lies, in [0, 1]; None if it is not tuned."""
    untuned: bool = False
    """Whether it is the first trial, the defaults."""
    diverged: bool = False


@dataclass(frozen=True)
class Final:
    """One training on a fresh seed."""

    seed: int
    """Its index. Trainings of the same index have the same initial weights and the same order of the data."""
    score: float
    """On the test split; the worst that there is if it diverged."""
    history: tuple[CurvePoint, ...] = ()
    """After each epoch."""
    diverged: bool = False

    @property
    def steps(self) -> list[int]:
        return [point.step for point in self.history]

    @property
    def seconds(self) -> list[float]:
        """Since the training began."""
        return list(accumulate(point.seconds for point in self.history))

    @property
    def validation(self) -> list[float]:
        """The validation scores."""
        return [point.val for point in self.history]

    def reaches(self, target: float, score: Metric) -> int | None:
        """The index of the first epoch whose validation score is as good as the target; None if there is none."""
        return next((index for index, value in enumerate(self.validation) if score.reaches(value, target)), None)


@dataclass(frozen=True)
class ArmResult:
    """All that is known of one arm."""

    name: str
    tried: tuple[Tried, ...]
    """The first is the untuned default, the others are quasi-random."""
    best_trial: int | None
    best_params: dict[str, object]
    """Of the trial that was selected: dotted path -> value."""
    finals: tuple[Final, ...]
    untuned: tuple[Final, ...]
    """The defaults on the same seeds."""

    @property
    def infeasible(self) -> int:
        """Trials and finals that diverged."""
        return sum(tried.diverged for tried in self.tried) + sum(final.diverged for final in self.finals)

    def random_values(self, score: Metric) -> list[float]:
        """The values of the quasi-random trials; the worst that there is for one that diverged."""
        return [_or_worst(tried, score) for tried in self.tried if not tried.untuned]

    def best_of_first(self, trials: int, score: Metric) -> float:
        """The value that would have been selected after this number of trials."""
        best = score.best(_or_worst(tried, score) for tried in self.tried[:trials])
        return score.worst if best is None else best


def _or_worst(tried: Tried, score: Metric) -> float:
    return score.worst if tried.value is None else tried.value


@dataclass(frozen=True)
class ToTarget:
    """What it took to reach the target, the median over seeds; infinity if most seeds missed it."""

    steps: float
    seconds: float
    missed: int


@dataclass(frozen=True)
class Verdicts:
    """What a contest found."""

    question: str
    """`optimizer`, or the setting that was compared."""
    score: Metric
    """What the arms were compared by."""
    arms: tuple[ArmResult, ...]
    """The best mean first; arms without a final last."""
    margin: float
    target: float | None
    """None if no training of the defaults has ended from which to take it."""
    summaries: Mapping[str, Summary]
    untuned: Mapping[str, Summary]
    pairs: tuple[Pair, ...]
    to_target: Mapping[str, ToTarget]
    warnings: tuple[str, ...]
    caveats: tuple[str, ...]

    @property
    def ranking(self) -> list[str]:
        return [arm.name for arm in self.arms]

    @property
    def seeds(self) -> int:
        """The number of seeds that all arms were trained with."""
        return len(_common_seeds(self.arms))

    def near_best(self, arm: ArmResult) -> float | None:
        """The share of the learning rate's range that is near the best; None for fewer than 3
        rates."""
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
    caveats: Sequence[str] = (),
    contains: Callable[[str, str], bool] = lambda general, special: False,
    *,
    score: Metric,
) -> Verdicts:
    """Rank the arms, compare each pair, and warn of what the tuning may have done.

    Args:
        question: what the arms differ in.
        arms: each with its finals on the same seeds; a seed that one of them lacks is left out of all pairs.
        margin: a difference of the score too small to matter.
        target: a score; None for the median of what the untuned defaults reached on validation data.
        contains: whether the first arm has the second as a special case.
        score: what they are compared by.
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
        warnings=tuple(_warnings(ranked, pairs, margin, target, contains, score)),
        caveats=tuple(caveats),
    )


def sentence(found: Verdicts) -> str:
    """The verdict in a few words."""
    if not found.pairs:
        return "nothing to compare: fewer than two were trained to their end"
    best = found.ranking[0]
    if found.seeds < LEAST_SEEDS:
        return (
            f"{best} has the best mean, but {found.seeds} seeds are too few to claim anything: {LEAST_SEEDS} at least"
        )
    mine = [pair for pair in found.pairs if pair.a == best]
    said = []
    if better := [pair for pair in mine if pair.verdict == "better"]:
        said.append("better than " + listed([f"{p.b} (by {_lead(found.score, p)})" for p in better]))
    if equal := [pair.b for pair in mine if pair.verdict == "equal"]:
        said.append(f"equal to {listed(equal)} within {found.score.amount(found.margin)}")
    if undecided := [pair for pair in mine if pair.verdict == "undecided"]:
        said.append("not told apart from " + listed([f"{pair.b} ({_would_decide(pair)})" for pair in undecided]))
    return f"{best} has the best mean; it is {listed(said)}"


def _lead(score: Metric, pair: Pair) -> str:
    return f"{score.table(abs(pair.difference))} {score.points}"


def expected_best_of(arm: ArmResult, score: Metric) -> list[float]:
    """By the number of quasi-random trials, from 1 on."""
    values = arm.random_values(score)
    if score.higher_is_better:
        return expected_best(values)
    return [-value for value in expected_best([-value for value in values])]


def _would_decide(pair: Pair) -> str:
    return (
        f"about {pair.seeds_to_decide} seeds would decide"
        if pair.seeds_to_decide
        else f"{MOST_SEEDS} seeds would not decide"
    )


def _common_seeds(arms: Sequence[ArmResult]) -> set[int]:
    found = [{final.seed for final in arm.finals} for arm in arms if arm.finals]
    return set.intersection(*found) if len(found) > 1 else set()


def _default_target(arms: Sequence[ArmResult], score: Metric) -> float | None:
    reached = [score.best(final.validation) for arm in arms for final in arm.untuned if final.history]
    known = [value for value in reached if value is not None]
    return statistics.median(known) if known else None


def _to_target(arm: ArmResult, target: float, score: Metric) -> ToTarget:
    at = [(final, final.reaches(target, score)) for final in arm.finals]
    steps = [math.inf if index is None else final.steps[index] for final, index in at]
    seconds = [math.inf if index is None else final.seconds[index] for final, index in at]
    return ToTarget(statistics.median(steps), statistics.median(seconds), sum(index is None for _, index in at))


def _warnings(
    arms: Sequence[ArmResult],
    pairs: Sequence[Pair],
    margin: float,
    target: float | None,
    contains: Callable[[str, str], bool],
    score: Metric,
) -> list[str]:
    found = [
        f"{arm.name}: no trial was trained to its end, so it is in no pair and ranked last"
        for arm in arms
        if not arm.finals
    ]
    found += [text for pair in pairs if (text := _under_tuned(pair, margin, contains))]
    found += [text for arm in arms if (text := _edge(arm))]
    found += _turned(arms, margin, score)
    if missing := [arm.name for arm in arms if arm.finals and {f.seed for f in arm.finals} != _common_seeds(arms)]:
        found.append(f"{listed(missing)}: seeds that not all have were left out of the pairs; the same command goes on")
    if target is not None and not any(f.reaches(target, score) is not None for arm in arms for f in arm.finals):
        found.append(f"the target {score.show(target)} was reached by none")
    return found


def _under_tuned(pair: Pair, margin: float, contains: Callable[[str, str], bool]) -> str:
    """A warning if the optimizer that contains the other came out below it; pairs are in the order of the means."""
    if not contains(pair.b, pair.a) or abs(pair.difference) <= margin:
        return ""
    why = "it is under-tuned" if pair.verdict == "better" else "it is under-tuned, or its seeds were unlucky"
    return f"{pair.b} is below {pair.a}, its special case: {why}; more trials would show"


def _edge(arm: ArmResult) -> str:
    position = arm.tried[arm.best_trial].position if arm.best_trial is not None else None
    if position is None or EDGE < position < 1 - EDGE:
        return ""
    assert arm.best_trial is not None
    end = "lower" if position < 0.5 else "upper"
    return f"{arm.name}: its best learning rate, {arm.tried[arm.best_trial].lr:.3g}, lies at the {end} end of its range"


def _turned(arms: Sequence[ArmResult], margin: float, score: Metric) -> list[str]:
    """Pairs of arms that would have been ranked the other way round with half the trials."""
    found = []
    for a, b in combinations(arms, 2):
        half = max(len(a.tried), len(b.tried)) // 2
        before = a.best_of_first(half, score) - b.best_of_first(half, score)
        after = a.best_of_first(2 * half + 1, score) - b.best_of_first(2 * half + 1, score)
        if before * after < 0 and max(abs(before), abs(after)) > margin:
            found.append(f"{a.name} and {b.name} would have been ranked the other way round with half the trials")
    return found
