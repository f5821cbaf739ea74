"""The verdict on a claim, from what was measured; with the statistics of `compare`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, TypeAlias

from cnnlab.comparison.statistics import compare_all
from cnnlab.lab.claim import Claim, Expectation

Word: TypeAlias = Literal["holds", "holds by arithmetic", "does not hold", "undecided here"]
Values: TypeAlias = Mapping[str, Mapping[str, Sequence[float | None]]]
"""Measure as written -> arm -> its value on each seed; one value if it is arithmetic; None if there is none."""


@dataclass(frozen=True)
class Part:
    """One expectation, and whether it holds."""

    expectation: Expectation
    word: Word
    left: float | None
    """Mean of the left side."""
    right: float | None
    difference: float | None
    """Mean of left - right."""
    ci_low: float | None = None
    """Simultaneous 95 % interval of the difference, over all parts; None if arithmetic, or with too few seeds."""
    ci_high: float | None = None

    def __str__(self) -> str:
        """As `best_score: relu > sigmoid: 0.965 and 0.108, difference +0.857 (+0.83 to +0.882): holds`."""
        text = f"{self.expectation.measure}: {self.expectation.relation}: "
        if self.left is None or self.right is None:
            return f"{text}no value: {self.word}"
        text += f"{number_text(self.left)} and {number_text(self.right)}"
        if self.difference is not None and self.ci_low is not None and self.ci_high is not None:
            low, high = number_text(self.ci_low, "+"), number_text(self.ci_high, "+")
            text += f", difference {number_text(self.difference, '+')} ({low} to {high})"
        return f"{text}: {self.word}"


def number_text(value: float, sign: str = "") -> str:
    """A value in a few characters: 3 significant digits, or a whole number if it is large."""
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else f"{value:{sign}.3g}"


@dataclass(frozen=True)
class Judgement:
    """The verdict on a claim, and on its parts."""

    word: Word
    parts: tuple[Part, ...]


def judge(claim: Claim, values: Values, resolutions: Mapping[str, float]) -> Judgement:
    """A claim holds if all its parts hold, and does not hold if one of them does not.

    A part holds if the interval of left - right, paired over seeds, is on the expected side of 0; it does not hold if
    the interval is on the other side.

    Args:
        values: of every measure and arm in the claim's expectations.
        resolutions: measure -> the smallest step between two of its values.
    """
    tests = sum(not part.exact for part in claim.expect)
    parts = tuple(
        _exactly(part, values[part.measure])
        if part.exact
        else _statistically(part, values[part.measure], resolutions.get(part.measure, 0.0), tests)
        for part in claim.expect
    )
    words = {part.word for part in parts}
    word: Word = "undecided here"
    if "does not hold" in words:
        word = "does not hold"
    elif words == {"holds by arithmetic"}:
        word = "holds by arithmetic"
    elif "undecided here" not in words:
        word = "holds"
    return Judgement(word, parts)


def _exactly(part: Expectation, values: Mapping[str, Sequence[float | None]]) -> Part:
    left, right = part.at({arm: some[0] for arm, some in values.items()})
    assert left is not None
    assert right is not None
    holds = {"<": left < right, ">": left > right, "==": left == right}[part.sides[1]]
    return Part(part, "holds by arithmetic" if holds else "does not hold", left, right, left - right)


def _statistically(
    part: Expectation, values: Mapping[str, Sequence[float | None]], resolution: float, tests: int
) -> Part:
    seeds = min(len(values[arm]) for arm in part.names)
    sides = [part.at({arm: values[arm][seed] for arm in part.names}) for seed in range(seeds)]
    lefts, rights = [left for left, _ in sides], [right for _, right in sides]
    pair = compare_all({"left": lefts, "right": rights}, 0.0, resolution=resolution, tests=tests)[0]
    word: Word = "undecided here"
    if pair.verdict in ("better", "worse"):
        expected = {">": "better", "<": "worse"}[part.sides[1]]
        word = "holds" if pair.verdict == expected else "does not hold"
    left, right = _mean(lefts), _mean(rights)
    return Part(part, word, left, right, pair.difference, pair.ci_low, pair.ci_high)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
