"""How often `cnnlab compare` errs:   uv run python benchmarks/honesty.py [--only PART ...]

Thousands of comparisons of known truth are drawn, and judged by the rules of cnnlab and by those of commit 83965c3. A
world has a validation score as a function of the learning rate, with noise from seeds and from counting images. Prints
false differences, power, coverage and false alarms; minutes on 2 cores. `sweep` draws searches instead, for
docs/sweeps.md, and `null` trains networks (two hours for 100 comparisons).
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any, TypeAlias, cast

import numpy as np
import optuna
from optuna.trial import TrialState
from scipy import stats

from cnnlab.comparison.images import images_interval
from cnnlab.comparison.statistics import ImagesInterval, compare_all, error_rate
from cnnlab.comparison.verdicts import ArmResult, Tried, Tuning, crossing_warning, edge_warning
from cnnlab.config.commands import DESIGNS
from cnnlab.config.space import Choices, Dimension, Params, Range, Space
from cnnlab.intervals import ALPHA, interval
from cnnlab.metrics import ACCURACY
from cnnlab.search.importances import Outcome, importances, rising_ends
from cnnlab.search.sampling import make_pruner, make_sampler, suggest

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
POINT = 1.0
"""Scores of the worlds are in percent; power is that of finding a difference of this size."""


@dataclass(frozen=True)
class World:
    """How a validation score depends on the position x of the learning rate in its range, in [0, 1]."""

    best: float
    """Score at the best position, in percent."""
    curve: float
    """Points that are lost at a distance of one `width` from the best position."""
    width: tuple[float, float]
    """Of even and of odd arms."""
    seeds: float
    """Standard deviation over seeds, in points."""
    unstable: float
    """How fast that grows above the best position."""
    val: int
    test: int
    """Numbers of images."""
    tail: float = 0.0
    """Share of trainings that lose an exponential number of points with a mean of 2."""
    centre: float = 0.5
    """The best position."""


WORLDS = {
    "digits-like": World(96.5, 1.0, (0.25, 0.25), 0.45, 1.0, 143, 359),
    "Fashion-like": World(88, 0.22, (0.2, 0.2), 0.2, 0.3, 1000, 10_000),
    "flat": World(88, 0.06, (0.25, 0.25), 0.2, 0.0, 1000, 10_000),
    "long tails": World(88, 0.4, (0.2, 0.2), 0.15, 0.0, 1000, 10_000, tail=0.08),
    "narrow and broad": World(88, 1.5, (0.08, 0.4), 0.25, 0.0, 1000, 10_000),
}
SHARED = 0.3
"""The part of a seed's variance that all arms share, since they have the same weights and order of the data."""


@dataclass(frozen=True)
class Drawn:
    """Trials and finals of many comparisons: N comparisons, A arms, R tunings, T trials, S finals."""

    positions: Array
    """(N, R, T), the same for all arms."""
    values: Array
    """(N, A, R, T) validation scores."""
    finals: Array
    """(N, A, R, S) test scores of the winners."""


def draw(
    world: World,
    rng: np.random.Generator,
    count: int,
    tunings: int,
    trials: int,
    seeds: int,
    *,
    arms: int = 2,
    selection: int = 1,
) -> Drawn:
    """Tune and train again. `selection` seeds per trial choose the winner."""
    spread = (np.arange(trials) + 0.5) / trials + rng.random((count, tunings, 1))
    x = np.clip(spread % 1 + (rng.random((count, tunings, trials)) - 0.5) / (2 * trials), 0, 1)
    x = rng.permuted(x, axis=-1)
    shared_trials = rng.standard_normal((count, tunings, trials, selection))
    shared_finals = rng.standard_normal((count, tunings, seeds))
    values, finals = [], []
    for arm in range(arms):
        scores = _trained(world, rng, arm, x[..., None], shared_trials)
        counted = 100 * rng.binomial(world.val, np.clip(scores / 100, 0, 1)) / world.val
        values.append(counted.mean(-1))
        winner = (values[-1] + 1e-6 * rng.random(x.shape)).argmax(-1)[..., None]
        at = np.take_along_axis(x, winner, -1)
        tested = _trained(world, rng, arm, at, shared_finals)
        finals.append(100 * np.round(np.clip(tested / 100, 0, 1) * world.test) / world.test)
    return Drawn(x, np.stack(values, 1), np.stack(finals, 1))


def _trained(world: World, rng: np.random.Generator, arm: int, x: Array, shared: Array) -> Array:
    distance = (x - world.centre) / world.width[arm % 2]
    mean = world.best - world.curve * distance**2 / (1 + 0.15 * distance**2)
    std = world.seeds * np.exp(4 * world.unstable * np.maximum(x - world.centre, 0))
    noise = math.sqrt(SHARED) * shared + math.sqrt(1 - SHARED) * rng.standard_normal(shared.shape)
    lost = (rng.random(shared.shape) < world.tail) * rng.exponential(2, shared.shape)
    scores: Array = mean + std * noise - lost
    return scores


def truth(world: World, trials: int, selection: int = 1) -> float:
    """The true difference of an even arm and an odd one after tuning: the mean of 100,000."""
    finals = draw(world, np.random.default_rng(99), 100_000, 1, trials, 1, selection=selection).finals
    return float((finals[:, 0] - finals[:, 1]).mean())


# which design


def designs(rng: np.random.Generator, count: int) -> None:
    """At equal cost: more tunings, more trials, more finals, or more seeds to select by."""
    print("Paired t over tunings at 5 %, two arms: false differences; share of differences of 1 point that are found;")
    print("points that the tuned arms lie below the best possible. Cost: trainings per arm, without the defaults'.\n")
    shapes = [(5, 8, 2, 1), (6, 8, 1, 1), (7, 6, 1, 1), (10, 4, 1, 1), (4, 5, 2, 2), (3, 8, 2, 1), (3, 5, 2, 3)]
    shapes += [(8, 8, 1, 1), (7, 8, 2, 1), (6, 11, 1, 1), (8, 4, 1, 2), (10, 6, 1, 1)]
    head = " | ".join(WORLDS)
    print(f"| tunings x (trials + finals), seeds to select by | cost | {head} |\n|{'---|' * (len(WORLDS) + 2)}")
    for tunings, trials, seeds, selection in shapes:
        cells = []
        for world in WORLDS.values():
            bias = truth(world, trials, selection)
            finals = draw(world, rng, count, tunings, trials, seeds, selection=selection).finals
            differences = (finals[:, 0] - finals[:, 1]).mean(-1) - bias
            below = world.best - finals.mean()
            cells.append(f"{_differs(differences).mean():.1%}, {_differs(differences + POINT).mean():.0%}, {below:.2f}")
        cost = tunings * (trials * selection + seeds)
        print(f"| {tunings} x ({trials} + {seeds}), {selection} | {cost} | {' | '.join(cells)} |", flush=True)
    print()


def _differs(differences: Array, alpha: float = ALPHA) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(N,): whether a t test finds a difference in each row of (N, R)."""
    count = differences.shape[1]
    error = np.maximum(differences.std(1, ddof=1), 1e-9) / math.sqrt(count)
    found: np.ndarray[Any, np.dtype[np.bool_]] = np.abs(differences.mean(1)) / error > stats.t.isf(alpha / 2, count - 1)
    return found


# several pairs


def correction(rng: np.random.Generator, count: int) -> None:
    """Bonferroni, Tukey's range, and a multivariate t with the correlation of the sample: one rule for all pairs."""
    print("Six equal arms, 5 and 8 tunings, at 5 %: comparisons with any false difference; 1 point found.\n")
    print("| tunings | world | Bonferroni | Tukey's range | multivariate t |\n|---|---|---|---|---|")
    for tunings in (5, 8):
        for name in ("digits-like", "Fashion-like", "long tails"):
            finals = draw(WORLDS[name], rng, count // 4, tunings, 8, 1, arms=6).finals[..., 0]
            pairs = list(combinations(range(6), 2))
            differences = np.stack([finals[:, a] - finals[:, b] for a, b in pairs], 1)
            limits = {
                "bonferroni": np.full(len(finals), stats.t.isf(ALPHA / 2 / len(pairs), tunings - 1)),
                "tukey": np.full(len(finals), stats.studentized_range.ppf(1 - ALPHA, 6, tunings - 1) / math.sqrt(2)),
                "multivariate": np.array([_multivariate_limit(some, rng) for some in differences]),
            }
            error = np.maximum(differences.std(2, ddof=1), 1e-9) / math.sqrt(tunings)
            cells = []
            for limit in limits.values():
                false = (np.abs(differences.mean(2)) / error > limit[:, None]).any(1).mean()
                ours = [index for index, (a, _) in enumerate(pairs) if a == 0]
                found = (np.abs(differences[:, ours].mean(2) + POINT) / error[:, ours] > limit[:, None]).mean()
                cells.append(f"{false:.1%}, {found:.0%}")
            print(f"| {tunings} | {name} | {' | '.join(cells)} |", flush=True)
    print()


def _multivariate_limit(differences: Array, rng: np.random.Generator, draws: int = 1000) -> float:
    values, vectors = np.linalg.eigh(np.nan_to_num(np.corrcoef(differences)))
    normal = rng.standard_normal((draws, len(values))) @ (vectors * np.sqrt(np.clip(values, 0, None))).T
    degrees = differences.shape[1] - 1
    return float(np.quantile(np.abs(normal).max(1) / np.sqrt(rng.chisquare(degrees, draws) / degrees), 1 - ALPHA))


# verdicts, before and now


def verdicts(rng: np.random.Generator, count: int) -> None:
    """The rules of 83965c3 on one tuning, and today's on the default design, with two arms."""
    design = DESIGNS["default"]
    print("Two arms. 83965c3: one tuning of 8 trials, 5 or 10 finals. Now: the default design, first look.\n")
    print("| world | false, 83965c3: 5 seeds | 10 seeds | false, now | upper bound of 95 % | 1 point found, now |")
    print("|---|---|---|---|---|---|")
    for name, world in WORLDS.items():
        before, bias = [], truth(world, 8)
        for seeds in (5, 10):
            finals = draw(world, rng, count, 1, 8, seeds).finals[:, :, 0]
            before.append(np.mean([_old_verdict(a, b + bias) in ("better", "worse") for a, b in finals]))
        bias = truth(world, design.trials)
        finals = draw(world, rng, count, design.tunings, design.trials, design.seeds).finals.mean(-1)
        false = float(np.mean([_verdict(a, b + bias, world) in ("better", "worse") for a, b in finals]))
        found = np.mean([_verdict(a + POINT, b + bias, world) == "better" for a, b in finals])
        upper = _upper(false, count)
        print(f"| {name} | {before[0]:.1%} | {before[1]:.1%} | {false:.1%} | {upper:.1%} | {found:.0%} |", flush=True)
    print(
        "\nSix arms, the default design: comparisons with any false verdict; pairs called equal if the true difference"
    )
    print("is exactly the margin; undecided pairs whose interval leaves out 0.\n")
    print("| world | any false | equal at the margin | undecided without 0 |\n|---|---|---|---|")
    for name, world in WORLDS.items():
        bias = truth(world, design.trials)
        few = count // 5
        finals = draw(world, rng, few, design.tunings, design.trials, 1, arms=6).finals[..., 0]
        finals[:, 1::2] += bias
        false, equal, open_ = 0, 0, 0
        for scores in finals:
            pairs = compare_all({str(i): row.tolist() for i, row in enumerate(scores)}, 0.2)
            false += any(pair.verdict in ("better", "worse") for pair in pairs)
            open_ += sum(p.verdict == "undecided" and (p.ci_low or 0) * (p.ci_high or 0) > 0 for p in pairs)
            scores[0] += 0.2
            at_margin = compare_all({str(i): row.tolist() for i, row in enumerate(scores)}, 0.2)
            equal += sum(pair.verdict == "equal" for pair in at_margin if pair.a == "0")
        print(f"| {name} | {false / few:.1%} | {equal / few / 5:.1%} | {open_ / few / 15:.1%} |", flush=True)
    print()


def _verdict(a: Array, b: Array, world: World) -> str:
    (pair,) = compare_all({"a": a.tolist(), "b": b.tolist()}, 0.2, resolution=100 / world.test)
    return pair.verdict


def _old_verdict(a: Array, b: Array, margin: float = 0.2) -> str:
    """As 83965c3: equal by two one-sided t tests; else the paired t test and, from 6 seeds on, Wilcoxon's, both."""
    differences = a - b
    count = len(differences)
    error = max(float(differences.std(ddof=1)), 1e-9) / math.sqrt(count)
    mean = float(differences.mean())
    if stats.t.sf((margin - abs(mean)) / error, count - 1) < ALPHA:
        return "equal"
    if 2 * stats.t.sf(abs(mean) / error, count - 1) >= ALPHA:
        return "undecided"
    if 2.0 ** (1 - count) <= ALPHA and _wilcoxon(differences) >= ALPHA:
        return "undecided"
    return "better" if mean > 0 else "worse"


SIGNS = np.array(list(product((-1, 1), repeat=10)))


def _wilcoxon(differences: Array) -> float:
    """The exact p-value, with ties and without zeros, of up to 10 differences."""
    left = differences[differences != 0]
    ranks = stats.rankdata(np.abs(left))
    observed = abs(float(ranks @ np.sign(left)))
    return float(np.mean(np.abs(SIGNS[:, : len(left)] @ ranks) >= observed - 1e-9))


def looks(rng: np.random.Generator, count: int) -> None:
    """More tunings, or more finals of each, until there is a verdict: six looks.

    One tuning is about settings: both arms then have the same point and the same curve, so their true difference is 0.
    """
    print(
        "More tunings, or more finals of each, until there is a verdict, six looks: false differences with 5 % at each"
    )
    print("look, and now with the upper bound of 95 %; differences of 1 point that are found by look 1, 3 and 6.\n")
    print("| world | trials | tunings x finals | 5 % at each | now | upper bound | found by 1 | by 3 | by 6 |")
    print("|---|---|---|---|---|---|---|---|---|")
    quick, default, thorough = (DESIGNS[name].trials for name in ("quick", "default", "thorough"))
    plans: list[tuple[int, Sequence[int], Sequence[int]]] = [
        (default, range(10, 21, 2), [1] * 6),
        (default, range(10, 61, 10), [1] * 6),
    ]
    plans += [(default, range(3, 9), [1] * 6), (default, [10] * 6, [1, 2, 4, 8, 16, 32])]
    plans += [(quick, range(5, 31, 5), [1] * 6), (quick, [3, 6, 12, 24, 48, 96], [1] * 6)]
    plans += [(thorough, range(16, 27, 2), [2] * 6), (thorough, range(16, 97, 16), [2] * 6)]
    plans += [(thorough, [16] * 6, [2, 4, 8, 16, 32, 64]), (1, [1] * 6, range(10, 61, 10))]
    for name, world in WORLDS.items():
        for trials, tunings, seeds in plans:
            settings = tunings[0] == 1
            finals = draw(world, rng, count, tunings[-1], trials, seeds[-1], arms=3 if settings else 2).finals
            differences = finals[:, 0] - (finals[:, 2] if settings else finals[:, 1] + truth(world, trials))
            samples = [
                differences[:, 0, :some] if settings else differences[:, :many, :some].mean(-1)
                for many, some in zip(tunings, seeds, strict=True)
            ]
            each = _found_by([(sample, ALPHA) for sample in samples])[-1]
            rates = [error_rate(look + 1) for look in range(len(samples))]
            false = _found_by(list(zip(samples, rates, strict=True)))[-1]
            found = _found_by([(sample + POINT, rate) for sample, rate in zip(samples, rates, strict=True)])
            plan = ", ".join(f"{many} x {some}" for many, some in zip(tunings, seeds, strict=True))
            cells = [f"{each:.1%}", f"{false:.1%}", f"{_upper(false, count):.1%}"]
            cells += [f"{found[look]:.0%}" for look in (0, 2, 5)]
            print(f"| {name} | {trials} | {plan} | {' | '.join(cells)} |", flush=True)
    print()


def _found_by(looks: Sequence[tuple[Array, float]]) -> list[float]:
    """The share of comparisons in which a difference was found by each look: a sample of each, and its error rate."""
    found = np.zeros(len(looks[0][0]), bool)
    shares = []
    for sample, alpha in looks:
        found |= _differs(sample, alpha)
        shares.append(float(found.mean()))
    return shares


def _upper(share: float, count: int) -> float:
    """The upper bound of 95 % of a share of `count` comparisons (Clopper and Pearson 1934)."""
    return float(stats.beta.ppf(0.95, share * count + 1, count - share * count))


# intervals


def coverage(rng: np.random.Generator, count: int) -> None:
    """95 % intervals of a mean of 3, 5, 8 and 16 values."""
    print("Coverage of 95 % intervals of a mean. Long tails: 8 % of values lose points, 2 in the mean.\n")
    print("| values | n | t (now) | percentile bootstrap (83965c3) | BCa | Johnson's t |\n|---|---|---|---|---|---|")
    for name, tail in (("normal", 0.0), ("long tails", 0.08)):
        mean = -2 * tail
        for n in (3, 5, 8, 16):
            values = 0.15 * rng.standard_normal((count, n)) - (rng.random((count, n)) < tail) * rng.exponential(
                2, (count, n)
            )
            t = np.mean([_covers(interval(row.tolist()), mean) for row in values])
            boot = [_covers(_bootstrap(row, rng, "percentile"), mean) for row in values[: count // 4]]
            bca = [_covers(_bootstrap(row, rng, "BCa"), mean) for row in values[: count // 4]]
            johnson = np.mean([_covers(_johnson(row), mean) for row in values])
            print(f"| {name} | {n} | {t:.1%} | {np.mean(boot):.1%} | {np.mean(bca):.1%} | {johnson:.1%} |", flush=True)
    share = 0.92**8
    print(f"\nOf 8 such values {share:.0%} of samples have none from the tail, so no rule can know of it.\n")


def _covers(ends: tuple[float, float] | None, value: float) -> bool:
    return ends is not None and ends[0] <= value <= ends[1]


def _bootstrap(values: Array, rng: np.random.Generator, method: str) -> tuple[float, float]:
    found = stats.bootstrap((values,), np.mean, n_resamples=999, method=method, rng=rng).confidence_interval
    return float(found.low), float(found.high)


def _johnson(values: Array) -> tuple[float, float]:
    """Corrected for skewness (Johnson 1978)."""
    n, std = len(values), float(values.std(ddof=1))
    third = float(((values - values.mean()) ** 3).mean())
    centre = float(values.mean()) + third / (6 * std**2 * n)
    half = float(stats.t.isf(ALPHA / 2, n - 1)) * std / math.sqrt(n)
    return centre - half, centre + half


# warnings


EDGES = {name: WORLDS[name] for name in ("digits-like", "Fashion-like", "flat")}
EDGES["steep"] = replace(WORLDS["digits-like"], curve=8.0)


def warnings(rng: np.random.Generator, count: int) -> None:
    """The warnings that the best learning rate lies near an end or beyond, and that the arms' curves cross."""
    design, few = DESIGNS["default"], count // 4
    print("Best learning rate near an end or beyond: warnings. 83965c3: one tuning, within 5 % of the end.\n")
    print("| world | optimum at | 83965c3, 8 trials | now, default design |\n|---|---|---|---|")
    for name, world in EDGES.items():
        for centre in (0.5, 0.3, 0.2, 0.1, -0.2, -0.5):
            drawn = draw(replace(world, centre=centre), rng, few, design.tunings, design.trials, 1)
            old = new = 0
            for x, values in zip(drawn.positions, drawn.values[:, 0], strict=True):
                best = x[0][values[0].argmax()]
                old += not 0.05 < best < 0.95
                new += bool(edge_warning(_arm(x, values), ACCURACY, ALPHA))
            where = f"{centre}" if 0 <= centre <= 1 else f"{centre}, outside"
            print(f"| {name} | {where} | {old / few:.1%} | {new / few:.1%} |", flush=True)
    print("\nCurves of the best so far that cross: share of pairs with a warning. 83965c3: ranked the other way round")
    print("with half the trials. One arm of `narrow and broad` needs more trials; its best is raised by some points.\n")
    print("| world | raised by | 83965c3, 8 trials | now, default design | 16 tunings of 16 |\n|---|---|---|---|---|")
    for name, raised in (*((name, 0.0) for name in WORLDS), ("narrow and broad", 2.0), ("narrow and broad", 4.0)):
        cells = []
        for size in (design, DESIGNS["thorough"]):
            drawn = draw(WORLDS[name], rng, few, size.tunings, size.trials, 1)
            drawn.values[:, 0] += raised
            pairs = list(zip(drawn.positions, drawn.values, strict=True))
            if size is design:
                cells.append(np.mean([_turned(*values[:, 0]) for _, values in pairs]))
            cells.append(
                np.mean([bool(crossing_warning(_arm(x, a, "a"), _arm(x, b, "b"), ACCURACY, 2)) for x, (a, b) in pairs])
            )
        print(f"| {name} | {raised:g} | {' | '.join(f'{cell:.1%}' for cell in cells)} |", flush=True)
    print()


def _turned(a: Array, b: Array) -> bool:
    half = len(a) // 2
    return bool((a.max() - b.max()) * (a[:half].max() - b[:half].max()) < 0)


def _arm(x: Array, values: Array, name: str = "arm") -> ArmResult:
    tunings = [
        Tuning(number, tuple(Tried(float(v), 0.1, float(at)) for at, v in zip(row, some, strict=True)), 0, {}, (), ())
        for number, (row, some) in enumerate(zip(x, values, strict=True))
    ]
    return ArmResult(name, tuple(tunings))


# other images


def images(rng: np.random.Generator, count: int) -> None:
    """The interval of a difference over tunings, and over tunings and images, against the truth for all images."""
    few = max(1, count // 8)
    print("Two arms, 8 tunings. Each comparison has its own test images; an image is easier for one arm by chance (its")
    print("own effect, in standard deviations of what decides an answer). Coverage of the true difference by the 95 %")
    print(
        "interval over tunings; over tunings and images (now); by Clark's min F', which does not take off the rest.\n"
    )
    print(f"({few:,} comparisons per cell.)\n")
    print("| images | accuracy | own effect | tunings alone | and images (now) | min F' | width, now to alone |")
    print("|---|---|---|---|---|---|---|")
    t = float(stats.t.isf(ALPHA / 2, 7))
    for size, accuracy, spread in ((359, 0.965, 0.1), (2000, 0.88, 0.05)):
        for own in (0.0, 0.5, 1.0, 2.0):
            covered = np.zeros(3)
            widths: list[float] = []
            for _ in range(few):
                a, b = (_answers(rng, size, accuracy, own, spread) for _ in range(2))
                alone = interval((a - b).mean(1).tolist(), resolution=1 / size) or (0.0, 0.0)
                both = images_interval(list(a), list(b), alone, ALPHA) or ImagesInterval(0.0, 0.0)
                half = t * math.sqrt((a - b).mean(1).var(ddof=1) / 8 + (a - b).mean(0).var(ddof=1) / size)
                now, middle = (both.ci_low, both.ci_high), float((a - b).mean())
                covered += [_covers(ends, 0.0) for ends in (alone, now, (middle - half, middle + half))]
                widths.append((now[1] - now[0]) / (alone[1] - alone[0]))
            shares = " | ".join(f"{share:.1%}" for share in covered / few)
            print(f"| {size} | {accuracy:.1%} | {own} | {shares} | {np.median(widths):.2f} |", flush=True)
    print()


def _answers(rng: np.random.Generator, size: int, accuracy: float, own: float, spread: float) -> Array:
    """(8, size): 1 if a tuning of an arm has an image right. All arms have the same accuracy over all images.

    An answer is right if the arm's level, the image's own effect, the tuning's effect and noise are positive together.
    """
    noise = math.sqrt(1 + own**2 + spread**2)
    level = float(stats.norm.ppf(accuracy)) * noise
    decides = level + own * rng.standard_normal(size) + spread * rng.standard_normal((8, 1))
    right: Array = (decides + rng.standard_normal((8, size)) > 0).astype(float)
    return right


# with networks


def null(rng: np.random.Generator, count: int) -> None:
    """Compare an optimizer with itself, searches included, on digits; `count` is divided by 40."""
    wrong = done = 0
    for number in range(max(1, count // 40)):
        with tempfile.TemporaryDirectory() as folder:
            words = ["compare", "--null", "momentum", "--seed", str(number), "--json", "-q", "--tracking-uri", "none"]
            ran = subprocess.run(
                [sys.executable, "-m", "cnnlab", *words], cwd=folder, stdout=subprocess.PIPE, check=True
            )
            (pair,) = json.loads(ran.stdout)["pairs"]
            done, wrong = done + 1, wrong + (pair["verdict"] in ("better", "worse"))
            print(
                f"{done}: {pair['verdict']}, {100 * pair['difference']:+.2f} points; {wrong} false so far", flush=True
            )


# sweeps


@dataclass(frozen=True)
class Landscape:
    """What a sweep searches: which settings matter, in points of the score."""

    lr: float = 0.0
    """Points lost at half the range from the best learning rate. At the upper end half of the trainings diverge."""
    centre: float = 0.5
    """The best position of the learning rate in its range."""
    dropout: float = 0.0
    """Points that are lost at the upper end of its range."""

    @property
    def true(self) -> set[str]:
        worth = {"optimizer.lr": self.lr, "model.dropout": self.dropout}
        return {name for name, points in worth.items() if points}


LANDSCAPES = {
    "noise": Landscape(),
    "only lr matters": Landscape(lr=6),
    "only dropout, 2 points": Landscape(dropout=2),
    "lr, and dropout 2 points": Landscape(lr=6, dropout=2),
    **{f"lr, best at {centre}": Landscape(lr=6, centre=centre) for centre in (0.1, 0.2, 0.3, 0.8, 0.9)},
    "lr, best at -0.2, outside": Landscape(lr=6, centre=-0.2),
    "lr, best at 1.2, outside": Landscape(lr=6, centre=1.2),
}
SPACE = Space(
    (
        Dimension("optimizer.lr", "optimizer.lr", Range(1e-4, 1.0, log=True)),
        Dimension("optimizer.momentum", "optimizer.momentum", Range(0.5, 0.999, log=True, complement=True)),
        Dimension("optimizer.weight_decay", "optimizer.weight_decay", Range(1e-6, 1e-2, log=True)),
        Dimension("data.batch_size", "data.batch_size", Choices((16, 32, 64, 128, 256))),
        Dimension("model.dropout", "model.dropout", Range(0.0, 0.6)),
    )
)
EPOCHS, LENGTHS = 9, (20, 50, 100)


def draw_sweep(landscape: Landscape, seed: int, trials: int = LENGTHS[-1]) -> list[Outcome]:
    """A study by cnnlab's own TPE and asha. Its first trials are those of a shorter study.

    After an epoch the score has Spearman's correlation with the best one of 0.76, 0.91, 0.97 (first, second, fourth
    epoch; only lr matters, points drawn evenly); docs/sweeps.md measured 0.77, 0.89, 0.93.
    """
    rng = np.random.default_rng([seed, 17])
    study = optuna.create_study(direction="maximize")
    outcomes = []
    for number in range(trials):
        study.sampler = make_sampler("tpe", SPACE, study_seed=seed, trial_seed=int(rng.integers(2**31)))
        study.pruner = make_pruner("asha" if number else "none", EPOCHS)
        trial = study.ask()
        params = suggest(trial, SPACE)
        history = _train_drawn(landscape, params, rng, trial)
        if history is None:
            study.tell(trial, 0.0)
        elif len(history) < EPOCHS:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, max(history))
        value = max(history) if history and len(history) == EPOCHS else None
        outcomes.append(Outcome(params, tuple(history or ()), value, diverged=history is None))
    return outcomes


def _train_drawn(
    landscape: Landscape, params: Params, rng: np.random.Generator, trial: optuna.Trial
) -> list[float] | None:
    """The scores after each epoch until the trial is pruned; None if it diverged."""
    x = cast("Range", SPACE["optimizer.lr"].domain).position(params["optimizer.lr"])
    if landscape.lr and landscape.centre < 1 and x > 0.9 and rng.random() < 0.5:
        return None
    history: list[float] = []
    best = 88 - landscape.dropout * params["model.dropout"] / 0.6 + 0.4 * rng.standard_normal()
    early = 0.7 * rng.standard_normal()
    for epoch in range(1, EPOCHS + 1):
        left = 0.5 ** (epoch - 1)  # of what it has to learn; a larger learning rate is better at first
        distance = (x - landscape.centre - 0.1 * left) / 0.5
        score = best - landscape.lr * distance**2 - (15 - early) * left + 0.3 * rng.standard_normal()
        history.append(round(score / 100, 3))  # 1,000 images
        trial.report(history[-1], epoch)
        if trial.should_prune():
            break
    return history


def sweep(rng: np.random.Generator, count: int) -> None:
    """What a sweep says of settings and ranges, over `count` / 20 studies per row; the studies' seeds are 0, 1 ..."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    studies = max(1, count // 20)
    print(f"Studies of TPE and asha, {len(SPACE.dimensions)} settings. Named: shown to matter.\n")
    heads = ["what matters", "studies", "trials", "complete", "named first", "all named", "any other named"]
    print(f"| {' | '.join([*heads, 'an end warned of'])} |\n|{'---|' * (len(heads) + 1)}")
    with ProcessPoolExecutor() as pool:
        for name, landscape in LANDSCAPES.items():
            drawn = list(pool.map(draw_sweep, [landscape] * studies, range(studies)))
            for trials in LENGTHS:
                row = _said([outcomes[:trials] for outcomes in drawn], landscape.true)
                print(f"| {name} | {studies} | {trials} | {row} |", flush=True)
    print()


def _said(drawn: Sequence[list[Outcome]], true: set[str]) -> str:
    named = [list(importances(outcomes, SPACE, ACCURACY)) for outcomes in drawn]
    complete = np.mean([sum(outcome.value is not None for outcome in outcomes) for outcomes in drawn])
    first = np.mean([names[:1] != [] and names[0] in true for names in named])
    every = np.mean([true <= set(names) for names in named])
    other = np.mean([not set(names) <= true for names in named])
    ends = [rising_ends(outcomes, SPACE, ACCURACY, names) for outcomes, names in zip(drawn, named, strict=True)]
    # the best dropout is at the end of its range, where no wider one is allowed
    warned = np.mean([any(dimension.name != "model.dropout" for dimension, _ in some) for some in ends])
    hits = f"{first:.0%} | {every:.0%}" if true else " | "
    return f"{complete:.0f} | {hits} | {other:.1%} | {warned:.1%}"


PARTS = {
    "designs": designs,
    "correction": correction,
    "verdicts": verdicts,
    "looks": looks,
    "coverage": coverage,
    "warnings": warnings,
    "images": images,
    "null": null,
    "sweep": sweep,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=[name for name in PARTS if name != "null"])
    parser.add_argument("--count", type=int, default=4000, help="comparisons per cell")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    for part in given.only:
        print(f"## {part}   ({given.count:,} comparisons per cell, seed {given.seed})\n")
        PARTS[part](np.random.default_rng(given.seed), given.count)


if __name__ == "__main__":
    main()
