"""The Bayesian t test with a region of practical equivalence (Benavoli et al. 2017, JMLR 18:77), by baycomp."""

import importlib
from dataclasses import replace
from statistics import fmean, variance

from cnnlab.comparison.statistics import Pair, Rope
from cnnlab.comparison.verdicts import Verdicts
from cnnlab.errors import BadInput
from cnnlab.intervals import LEAST


def check_installed() -> None:
    """Raises BadInput if baycomp is missing."""
    try:
        importlib.import_module("baycomp")
    except ImportError:
        raise BadInput("--rope: baycomp is missing; pip install 'cnnlab[paper]', or leave --rope out") from None


def with_rope(verdicts: Verdicts) -> Verdicts:
    """The verdicts with the probabilities of each pair, and a sentence about them among the caveats."""
    pairs = tuple(replace(pair, rope=_rope(pair, verdicts)) for pair in verdicts.pairs)
    words = "; ".join(
        f"{pair.a} - {pair.b} better {pair.rope.better:.3f}, equal {pair.rope.equal:.3f}, worse {pair.rope.worse:.3f}"
        for pair in pairs
        if pair.rope
    )
    if not words:
        return replace(verdicts, pairs=pairs)
    margin = f"{verdicts.score.table(verdicts.margin)} {verdicts.score.points}"
    lead = f"Bayesian t test over {verdicts.unit_words}, equal within {margin}, each pair for itself"
    return replace(verdicts, pairs=pairs, caveats=(*verdicts.caveats, f"{lead}: {words}"))


def _rope(pair: Pair, verdicts: Verdicts) -> Rope | None:
    a, b = (next(arm for arm in verdicts.arms if arm.name == name).units(verdicts.claim) for name in (pair.a, pair.b))
    differences = [x - y for unit, x in a.items() if x is not None and (y := b.get(unit)) is not None]
    if len(differences) < LEAST:
        return None
    # baycomp's CorrelatedTTest is for folds of a cross-validation; tunings are independent: its posterior without them
    posterior = importlib.import_module("baycomp.single").Posterior
    mean, spread = fmean(differences), variance(differences) / len(differences)
    probabilities = posterior(mean, spread, len(differences) - 1, verdicts.margin).probs()
    lower, higher = float(probabilities[0]), float(probabilities[-1])
    better, worse = (higher, lower) if verdicts.score.higher_is_better else (lower, higher)
    return Rope(better=better, equal=max(0.0, 1 - better - worse), worse=worse)
