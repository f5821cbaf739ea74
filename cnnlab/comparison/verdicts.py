"""The verdicts of a contest: the arms' scores on fresh seeds, each pair's verdict, and warnings about the tuning."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, combinations
from statistics import fmean, median_low
from typing import Literal, TypeAlias

import numpy as np

from cnnlab.comparison.images import images_interval, shares
from cnnlab.comparison.statistics import LOOKS, Pair, Summary, compare_all, error_rate, expected_best, summarize
from cnnlab.config.arms import contains
from cnnlab.config.commands import LEAST_TUNINGS
from cnnlab.intervals import ALPHA, LEAST, interval
from cnnlab.metrics import Metric
from cnnlab.result import listed
from cnnlab.search.slots import CurvePoint

Claim: TypeAlias = Literal["optimizers", "settings"]
Unit: TypeAlias = tuple[int, ...]
"""One value of the sample: a tuning (its index), or one of its finals (with the seed's index)."""


@dataclass(frozen=True)
class Tried:
    """One trial of an arm's search."""

    value: float | None
    """Best validation score; None if it diverged or failed."""
    lr: float
    position: float | None = None
    """Of the learning rate in its range, in [0, 1]; None if it is not tuned, or not drawn."""
    untuned: bool = False
    """Whether it is the first trial, which has the defaults."""
    diverged: bool = False


@dataclass(frozen=True)
class Final:
    """One training on a fresh seed."""

    seed: int
    """Its index. Trainings of one tuning with the same index have the same initial weights and order of the data."""
    score: float
    """On the test split; the metric's worst value if it diverged, which no mean counts."""
    history: tuple[CurvePoint, ...] = ()
    """One point per epoch."""
    diverged: bool = False
    correct: bytes | None = None
    """1 for each test image that it had right, else 0; None if it is not known, or if the score counts no images."""

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
class Tuning:
    """One tuning of an arm: its trials, and its winner trained again."""

    number: int
    """Tunings of all arms with the same number have the same points, seeds and splits."""
    tried: tuple[Tried, ...]
    """The first has the untuned defaults."""
    best_trial: int | None
    best_params: dict[str, object]
    """Of the best trial: dotted path -> value."""
    finals: tuple[Final, ...]
    untuned: tuple[Final, ...]
    """Trainings with the defaults on the same seeds."""

    @property
    def drawn(self) -> list[Tried]:
        """The trials without the untuned one."""
        return [tried for tried in self.tried if not tried.untuned]

    def best_of(self, trials: int, score: Metric) -> float:
        """The best value of the first `trials` trials; the metric's worst value if none has one."""
        best = score.best(tried.value for tried in self.tried[:trials])
        return score.worst if best is None else best


@dataclass(frozen=True)
class ArmResult:
    """The tunings of one arm."""

    name: str
    tunings: tuple[Tuning, ...]
    independent: bool = True
    """Whether trials were drawn without regard to earlier ones."""

    @property
    def finals(self) -> tuple[Final, ...]:
        return tuple(final for tuning in self.tunings for final in tuning.finals)

    @property
    def untuned(self) -> tuple[Final, ...]:
        return tuple(final for tuning in self.tunings for final in tuning.untuned)

    @property
    def tried(self) -> tuple[Tried, ...]:
        return tuple(tried for tuning in self.tunings for tried in tuning.tried)

    @property
    def infeasible(self) -> int:
        """Trials and finals that diverged."""
        return sum(tried.diverged for tried in self.tried) + self.failed

    @property
    def failed(self) -> int:
        """Finals that diverged."""
        return sum(final.diverged for final in self.finals)

    def best_params(self, score: Metric) -> dict[str, object]:
        """The settings with the best validation score of all tunings."""
        if not any(tuning.best_params for tuning in self.tunings):
            return {}
        return min(self.tunings, key=lambda tuning: score.rank(tuning.best_of(len(tuning.tried), score))).best_params

    def sample(self, claim: Claim) -> dict[Unit, list[Final]]:
        """The finals of each tuning, or each final alone; those that diverged are left out, so a unit may have none."""
        sample: dict[Unit, list[Final]] = {}
        for tuning in self.tunings:
            for final in tuning.finals:
                unit = (tuning.number,) if claim == "optimizers" else (tuning.number, final.seed)
                sample.setdefault(unit, []).extend([] if final.diverged else [final])
        return sample

    def units(self, claim: Claim) -> dict[Unit, float | None]:
        """The mean score of each unit of the sample; None if all of it diverged."""
        return {
            unit: fmean(final.score for final in finals) if finals else None
            for unit, finals in self.sample(claim).items()
        }


@dataclass(frozen=True)
class ToTarget:
    """The cost of reaching the target: a median that occurred; infinity if most trainings missed it."""

    steps: float
    seconds: float
    missed: int
    """The number of trainings that missed it."""


@dataclass(frozen=True)
class Verdicts:
    """The results of a contest."""

    question: str
    """`optimizer`, or the setting that was compared."""
    score: Metric
    claim: Claim
    """What a verdict is about: the arms, over tunings, or the settings that were chosen, over seeds."""
    arms: tuple[ArmResult, ...]
    """The best mean first; arms without a final last."""
    margin: float
    look: int
    """The number of results of this comparison so far with other designs, this one included."""
    target: float | None
    """A validation score; None if none was given and no training of the first arm's defaults has ended."""
    summaries: Mapping[str, Summary]
    untuned: Mapping[str, Summary]
    """Of the trainings with the defaults."""
    pairs: tuple[Pair, ...]
    units: int
    """The number of values per arm that the pairs are made of: tunings, or finals."""
    to_target: Mapping[str, ToTarget]
    warnings: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()

    @property
    def ranking(self) -> list[str]:
        return [arm.name for arm in self.arms]

    @property
    def tuned(self) -> bool:
        """Whether a setting was searched."""
        return any(arm.best_params(self.score) for arm in self.arms)

    @property
    def not_worse(self) -> list[str]:
        """The arms that are not shown to be worse than any other."""
        worse = {pair.b for pair in self.pairs if pair.verdict == "better"}
        worse |= {pair.a for pair in self.pairs if pair.verdict == "worse"}
        return [name for name in self.summaries if name not in worse]

    @property
    def unit_words(self) -> str:
        """The number of units, in words: `8 tunings`."""
        word = "tuning" if self.claim == "optimizers" else "seed"
        return f"{self.units} {word}{'s' * (self.units != 1)}"


def judge(
    question: str,
    arms: Sequence[ArmResult],
    margin: float,
    target: float | None = None,
    *,
    score: Metric,
    look: int = 1,
    resolution: float = 0.0,
    chance: float | None = None,
) -> Verdicts:
    """Rank the arms, compare each pair, and warn about flaws of the tuning.

    Args:
        question: `optimizer`, or the setting that is compared.
        arms: a tuning or a seed that one arm lacks is left out of all pairs.
        margin: a smaller difference of the score does not matter; at least `resolution` is used.
        target: a validation score; None for the median of the best ones that the first arm's defaults reached.
        score: the metric by which they are compared.
        look: as of `statistics.error_rate`.
        resolution: the smallest step of the test score: one image of the test split.
        chance: the score of a network that has learned nothing, if it is known.
    """
    trained = [arm for arm in arms if arm.finals]
    tunings = min((sum(bool(tuning.finals) for tuning in arm.tunings) for arm in trained), default=0)
    claim: Claim = "optimizers" if tunings >= LEAST_TUNINGS else "settings"
    margin = max(margin, resolution)
    units = {arm.name: arm.units(claim) for arm in trained}
    sound = {name: [value for value in some.values() if value is not None] for name, some in units.items()}
    summaries = {name: summarize(some, resolution, score.bounds) for name, some in sound.items() if some}
    ranked = sorted(arms, key=lambda arm: score.rank(summaries[arm.name].mean if arm.name in summaries else None))
    common = _common(units.values()) if len(trained) > 1 else []
    pairs = compare_all(
        {arm.name: [units[arm.name][unit] for unit in common] for arm in ranked if arm.finals} if common else {},
        margin,
        look=look,
        resolution=resolution,
        higher_is_better=score.higher_is_better,
    )
    samples = {arm.name: arm.sample(claim) for arm in trained}
    target = _default_target(arms[0], score) if target is None and arms else target
    verdicts = Verdicts(
        question=question,
        score=score,
        claim=claim,
        arms=tuple(ranked),
        margin=margin,
        look=look,
        target=target,
        summaries={arm.name: summaries[arm.name] for arm in ranked if arm.name in summaries},
        untuned={arm.name: summarize(some, bounds=score.bounds) for arm in ranked if (some := _sound(arm.untuned))},
        pairs=tuple(_with_images(pair, samples, common, error_rate(look) / len(pairs)) for pair in pairs),
        units=len(common),
        to_target={} if target is None else {arm.name: _to_target(arm, target, score) for arm in trained},
    )
    return replace(verdicts, warnings=tuple(_warnings(verdicts, resolution, chance)))


def _common(units: Iterable[Iterable[Unit]]) -> list[Unit]:
    """The units that each arm has."""
    return sorted(set.intersection(*map(set, units)))


def sentence(verdicts: Verdicts) -> str:
    """The verdicts on the best arm, in one sentence."""
    if not verdicts.pairs:
        return "nothing to compare: fewer than two were trained to their end"
    best = verdicts.ranking[0]
    lead = f"{best} has the best mean"
    if tied := [name for pair in verdicts.pairs if pair.tied and (name := pair.b if pair.a == best else "")]:
        lead = f"{listed([best, *tied])} are tied for the best mean"
    if verdicts.units < LEAST:
        return f"{lead}, but {verdicts.unit_words} are too few to claim anything; at least {LEAST} are needed"
    clauses = []
    pairs = [pair for pair in verdicts.pairs if pair.a == best]
    if better := [pair for pair in pairs if pair.verdict == "better"]:
        clauses.append("better than " + listed([f"{p.b} ({_lead(verdicts.score, p)})" for p in better]))
    if equal := [pair.b for pair in pairs if pair.verdict == "equal"]:
        clauses.append(
            f"equal to {listed(equal)} within {verdicts.score.table(verdicts.margin)} {verdicts.score.points}"
        )
    if open_ := [pair.b for pair in pairs if pair.verdict == "undecided"]:
        clauses.append(f"not told apart from {listed(open_)}")
    if worse := [pair.b for pair in pairs if pair.verdict == "worse"]:  # by its failures
        clauses.append(f"worse than {listed(worse)}, because more of its trainings diverged")
    about = "" if verdicts.claim == "optimizers" else "; each verdict is about these two settings"
    return f"{lead}; it is {listed(clauses)}{about}"


def claim_words(verdicts: Verdicts) -> str:
    """What the verdicts are about, as a sentence without a full stop."""
    arms = "optimizers" if verdicts.question == "optimizer" else "arms"
    if verdicts.claim == "optimizers":
        return f"A verdict is about two {arms}, tuned in this way: the sample is {verdicts.unit_words}"
    if not verdicts.tuned:
        return f"A verdict is about these two settings as written: the sample is {verdicts.unit_words}"
    return (
        f"A verdict is about these two settings, not about the {arms}: the sample is {verdicts.unit_words}, not "
        f"tunings; --tunings {LEAST_TUNINGS} or more would compare the {arms}"
    )


def images_words(verdicts: Verdicts) -> str:
    """Whether the verdicts hold for other test images too, as a sentence without a full stop."""
    decided = [pair for pair in verdicts.pairs if pair.verdict != "undecided"]
    if not decided:
        return "No verdict was reached, on these test samples or on others"
    if all(pair.images is None for pair in decided):
        return "The verdicts hold for these test samples only: how much others would change is not known"
    only = [f"{pair.a} - {pair.b}" for pair in decided if not _holds_for_other_images(pair, verdicts.margin)]
    if not only:
        return "The verdicts hold for other test samples of the same source too"
    if len(only) == len(decided):
        return "The verdicts hold for these test samples only; on others the differences might be none"
    return f"The verdicts hold for other test samples too, but for {listed(only)} for these only"


def _holds_for_other_images(pair: Pair, margin: float) -> bool:
    """Whether the interval over images gives the verdict too."""
    if pair.images is None:
        return False
    low, high = pair.images.ci_low, pair.images.ci_high
    return -margin < low and high < margin if pair.verdict == "equal" else low > 0 or high < 0


def _with_images(
    pair: Pair, samples: Mapping[str, Mapping[Unit, Sequence[Final]]], common: Sequence[Unit], alpha: float
) -> Pair:
    if pair.ci_low is None or pair.ci_high is None:
        return pair
    a, b = samples[pair.a], samples[pair.b]
    sound = [unit for unit in common if a[unit] and b[unit]]
    of_a, of_b = ([shares([final.correct for final in sample[unit]]) for unit in sound] for sample in (a, b))
    return replace(pair, images=images_interval(of_a, of_b, (pair.ci_low, pair.ci_high), alpha))


def best_so_far(arm: ArmResult, score: Metric) -> list[tuple[float, tuple[float, float] | None]]:
    """The expected best value of 1, 2 ... trials: its mean over the tunings, and its 95 % interval.

    The first trial is the untuned one, which can be selected too; the order of the drawn ones is random.
    """
    sign = 1 if score.higher_is_better else -1
    curves = []
    for tuning in arm.tunings:
        first = [sign * _or_worst(tried, score) for tried in tuning.tried if tried.untuned]
        with_first = [max([*first, sign * _or_worst(tried, score)]) for tried in tuning.drawn]
        curves.append([sign * value for value in (*first, *expected_best(with_first))])
    return [(fmean(column), interval(column, bounds=score.bounds)) for column in zip(*curves, strict=False)]


def _lead(score: Metric, pair: Pair) -> str:
    if not pair.excludes_0:  # the failures decided
        return "fewer of its trainings diverged"
    return f"by {score.table(abs(pair.difference))} {score.points}"


def _sound(finals: Sequence[Final]) -> list[float]:
    return [final.score for final in finals if not final.diverged]


def _default_target(reference: ArmResult, score: Metric) -> float | None:
    best = [score.best(final.validation) for final in reference.untuned if final.history]
    known = [value for value in best if value is not None]
    return median_low(known) if known else None


def _to_target(arm: ArmResult, target: float, score: Metric) -> ToTarget:
    reached = [(final, final.reaches(target, score)) for final in arm.finals]
    steps = [math.inf if index is None else final.steps[index] for final, index in reached]
    seconds = [math.inf if index is None else final.seconds[index] for final, index in reached]
    return ToTarget(median_low(steps), median_low(seconds), sum(index is None for _, index in reached))


def _warnings(verdicts: Verdicts, resolution: float, chance: float | None) -> list[str]:
    arms, score, target = verdicts.arms, verdicts.score, verdicts.target
    unfinished = [arm.name for arm in arms if not arm.finals]
    warnings = [f"{name}: no trial was trained to its end, so it is in no pair and ranked last" for name in unfinished]
    warnings += [
        f"{arm.name}: {arm.failed} of {len(arm.finals)} finals diverged; its mean is that of the others"
        for arm in arms
        if arm.failed
    ]
    if verdicts.look > LOOKS:
        warnings.append(f"this is look {verdicts.look}; the error rate of 5 % holds for {LOOKS} looks")
    limit = None if chance is None else chance + 2 * math.sqrt(chance * (1 - chance) * resolution)
    warnings += [text for arm in arms if limit is not None and (text := _at_chance(arm, limit))]
    if target is not None and limit is not None and target <= limit:
        warnings.append(f"the target {score.show(target)} is at chance level: steps to it say nothing; give a --target")
    warnings += [text for pair in verdicts.pairs if (text := _under_tuned(pair))]
    warnings += [text for arm in arms if (text := edge_warning(arm, score, ALPHA / len(arms)))]
    warnings += [text for a, b in combinations(arms, 2) if (text := crossing_warning(a, b, score, len(arms)))]
    units = {arm.name: arm.units(verdicts.claim) for arm in arms if arm.finals}
    if missing := [name for name, some in units.items() if sorted(some) != _common(units.values())]:
        warnings.append(
            f"{listed(missing)}: trainings without a partner were left out of the pairs; the same command goes on"
        )
    if target is not None and not any(f.reaches(target, score) is not None for arm in arms for f in arm.finals):
        warnings.append(f"the target {score.show(target)} was reached by none")
    return warnings


def _at_chance(arm: ArmResult, limit: float) -> str:
    """A warning if finals are no better than chance: within two standard errors of a count on the test split."""
    low = [score for score in _sound(arm.finals) if score <= limit]
    if not low:
        return ""
    many = f"{len(low)} of {len(arm.finals)} finals"
    return f"{arm.name}: {many} are at chance level ({max(low):.3f}), which lowers its mean"


def _under_tuned(pair: Pair) -> str:
    """A warning if an optimizer is shown to be worse than its special case; pairs are in the order of the means."""
    if not contains(pair.b, pair.a) or pair.verdict != "better":
        return ""
    return f"{pair.b} is worse than {pair.a}, its special case: it is under-tuned; more --trials would show"


def edge_warning(arm: ArmResult, score: Metric, alpha: float) -> str:
    """A warning if the best learning rate lies in the outer fifth of its range, or beyond it.

    In each tuning the outermost rate is compared with the next one, and a paired t test over the tunings decides.
    """
    rows = []
    for tuning in arm.tunings:
        points = [(tried.position, _or_worst(tried, score)) for tried in tuning.drawn if tried.position is not None]
        if len(points) >= LEAST:
            rows.append([value for _, value in sorted(points)])
    for end, outer, inner in (("lower", 0, 1), ("upper", -1, -2)):
        rises = interval([score.gain(row[outer], row[inner]) for row in rows], alpha)
        if rises and rises[0] > 0:
            return (
                f"{arm.name}: at the {end} end of its range the outermost learning rate does better than the next one "
                f"over {len(rows)} tunings; the best one lies near this end or beyond it"
            )
    return ""


def _or_worst(tried: Tried, score: Metric) -> float:
    return score.worst if tried.value is None else tried.value


def crossing_warning(a: ArmResult, b: ArmResult, score: Metric, arms: int) -> str:
    """A warning if one arm is shown ahead after 1, 2, 4 ... trials and the other one after all of them.

    A false alarm needs a false lead at the end, or at one of the earlier numbers, which share the error rate.
    """
    tunings = list(zip(a.tunings, b.tunings, strict=False))
    trials = min((len(t.tried) for pair in tunings for t in pair), default=0)
    if len(tunings) < LEAST or trials < 2:
        return ""
    early = [2**power for power in range(trials.bit_length()) if 2**power < trials]
    alpha = ALPHA / math.comb(arms, 2)

    def ahead(count: int, alpha: float) -> int:
        """1 if a is shown ahead after this number of trials, -1 if b is, else 0."""
        gains = [score.gain(x.best_of(count, score), y.best_of(count, score)) for x, y in tunings]
        low, high = interval(gains, alpha, resolution=1e-9) or (0.0, 0.0)
        return int(np.sign(low)) if low * high > 0 else 0

    at_end = ahead(trials, alpha)
    turned = next((count for count in early if ahead(count, alpha / len(early)) == -at_end != 0), None)
    if turned is None:
        return ""
    late, first = (a.name, b.name) if at_end > 0 else (b.name, a.name)
    lead = f"after {turned} trial{'s' * (turned > 1)} {first} is ahead of {late}"
    return f"{lead}, after {trials} it is behind: the ranks depend on the budget"
