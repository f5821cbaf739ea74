"""The findings of a sweep: the best against trial 0, its scores on fresh seeds, importances, advice."""

import statistics
import warnings
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.study import Study

from cnnlab.config import changed
from cnnlab.config.space import Dimension, Range
from cnnlab.errors import BadInput
from cnnlab.metrics import Metric
from cnnlab.records import RunEnded
from cnnlab.result import Result
from cnnlab.search.plan import Plan
from cnnlab.search.sampling import dimension_named, from_optuna
from cnnlab.search.slots import Slot, best_first, counted
from cnnlab.search.stages import Search, confirmation_of, slots_of
from cnnlab.search.storage import shown
from cnnlab.tracking import RunDir, last, read

EDGE = 0.05
"""A share of a range's width. If the best value is nearer to an end, the range was too narrow."""
WIDEN = 0.5
"""The share of its width by which a range is to be widened."""
MANY_INFEASIBLE = 0.25
NO_MATTER = 0.02
"""A hyperparameter with a smaller importance has no effect, if there are TELLING complete trials."""
TRIALS_PER_DIMENSION = 4
TELLING = 20


@dataclass(frozen=True)
class Confirmed:
    """One of the best trials, trained again on fresh seeds."""

    trial: int
    selected: float
    """The value for which it was selected: as the best of many, it is biased upwards."""
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    @property
    def std(self) -> float | None:
        """The sample standard deviation over the seeds; None for one seed."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class Advice:
    """A warning, and the words to add to the command."""

    text: str
    action: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """All that a study shows by now."""

    plan: Plan
    slots: list[Slot]
    best: Slot | None
    confirmed: list[Confirmed]
    importances: dict[str, float]
    """Dimension -> its share of the variance of the values; they add up to 1. Empty if too little is known."""
    warnings: list[Advice]

    @property
    def baseline(self) -> float | None:
        """The value of the experiment as written."""
        return self.slots[0].value if self.slots else None

    @property
    def gain(self) -> float | None:
        """How much better the best is than the experiment as written."""
        if self.best is None or self.best.value is None or self.baseline is None:
            return None
        return self.plan.score.gain(self.best.value, self.baseline)


def findings_of(plan: Plan) -> Findings:
    """Read a plan's study."""
    slots = slots_of(Search(plan))
    best = next(iter(best_first(slots, plan.score)), None)
    importances = _importances(plan, slots)
    return Findings(
        plan=plan,
        slots=slots,
        best=best,
        confirmed=_confirmed(plan, slots),
        importances=importances,
        warnings=_warnings(plan, slots, best, importances),
    )


def sweep_result(findings: Findings, seconds: float) -> Result:
    """The object that `sweep --json` prints. Values are validation scores, as `score` says.

    `baseline` is the value of trial 0; `gain` is how much better the best is; `confirmed` are scores on fresh seeds.
    """
    plan, best = findings.plan, findings.best
    run = RunDir(Path(best.run_dir)) if best and best.run_dir else None
    return Result(
        {
            "study": plan.study,
            "storage": shown(plan.storage),
            "sampler": plan.sampler,
            "pruner": plan.pruner,
            "trials": counted(findings.slots),
            "best": best
            and {
                "trial": best.number,
                "value": best.value,
                "params": plan.searched(best.config),
                "run_id": run.run_id if run and run.journal_file.exists() else None,
            },
            "score": {
                "name": plan.score.name,
                "value": best and best.value,
                "higher_is_better": plan.score.higher_is_better,
            },
            "seconds": seconds,
            "warnings": [advice.text for advice in findings.warnings],
            "baseline": findings.baseline,
            "gain": findings.gain,
            "confirmed": [
                {"trial": c.trial, "selected": c.selected, "scores": list(c.scores), "mean": c.mean, "std": c.std}
                for c in findings.confirmed
            ],
            "importances": findings.importances,
        }
    )


def feasible(slots: list[Slot], score: Metric) -> Study:
    """A study in memory with the trials that were trained to their end or pruned."""
    study = optuna.create_study(direction=score.direction)
    study.add_trials([slot.trial for slot in slots if slot.state in ("complete", "pruned") and slot.trial])
    return study


def _confirmed(plan: Plan, slots: list[Slot]) -> list[Confirmed]:
    confirmation = confirmation_of(plan)
    if confirmation is None:
        return []
    scores: dict[int, list[float]] = {}
    for slot in slots_of(confirmation):
        if slot.value is not None:
            scores.setdefault(confirmation.trial_and_seed(slot.number)[0], []).append(slot.value)
    trials = [number for number, _ in confirmation.trials if number in scores]
    return [Confirmed(number, slots[number].value or 0.0, tuple(scores[number])) for number in trials]


def _importances(plan: Plan, slots: list[Slot]) -> dict[str, float]:
    complete = [slot for slot in slots if slot.value is not None]
    if len(complete) < 4 or len({slot.value for slot in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            shares = optuna.importance.get_param_importances(feasible(complete, plan.score))
        except (RuntimeError, ValueError):  # no variance, or no parameter that all trials have
            return {}
    return {dimension_named(plan.space, name).name: float(share) for name, share in shares.items()}


def _warnings(plan: Plan, slots: list[Slot], best: Slot | None, importances: dict[str, float]) -> list[Advice]:
    advice = [Advice(doubt) for doubt in plan.doubts] + (_at_an_end(plan, best) if best else [])
    advice += [*_many_infeasible(plan, slots), *(_no_effect(plan, slots, best, importances) if best else [])]
    dimensions = len({dimension.path for dimension in plan.space.dimensions})
    if plan.sampler != "grid" and len(slots) < TRIALS_PER_DIMENSION * dimensions:
        text = f"{len(slots)} trials are few for {dimensions} hyperparameter{'s' if dimensions > 1 else ''}"
        advice.append(Advice(text, ("--trials", str(TRIALS_PER_DIMENSION * dimensions))))
    return [*advice, *(_last_epoch(plan, best) if best else [])]


def _at_an_end(plan: Plan, best: Slot) -> list[Advice]:
    advice, settings = [], plan.searched(best.config)
    for name in from_optuna(plan.space, dict(best.trial.params)) if best.trial else ():
        dimension = plan.space[name]
        value = settings[dimension.path]
        if isinstance(dimension.domain, Range) and value in dimension.domain:
            position = dimension.domain.position(value)
            if wider := _wider(plan, dimension, dimension.domain, position):
                end = "lower" if position < 0.5 else "upper"
                text = f"the best {dimension.path}, {value:.4g}, lies at the {end} end of {dimension.domain}"
                advice.append(Advice(text, ("--extend", plan.study, "--search", wider)))
    return advice


def _wider(plan: Plan, dimension: Dimension, domain: Range, position: float) -> str | None:
    """The range made wider at the end where `position` lies, as a word of --search.

    None if `position` lies at no end, or if the wider range is not allowed.
    """
    if EDGE < position < 1 - EDGE:
        return None
    low, high = (domain.at(-WIDEN), domain.high) if position <= EDGE else (domain.low, domain.at(1 + WIDEN))
    kind = {dimension.only.path: dimension.only.values[0]} if dimension.only else {}
    try:
        for value in (low, high):
            changed(plan.config, {**kind, dimension.path: value})
    except BadInput:
        return None
    return f"{dimension.path}={low:.4g}:{high:.4g}{':log' if domain.log else ''}"


def _many_infeasible(plan: Plan, slots: list[Slot]) -> list[Advice]:
    diverged = sum(slot.state == "infeasible" for slot in slots)
    if diverged <= MANY_INFEASIBLE * len(slots):
        return []
    text = f"{diverged} of {len(slots)} trials diverged"
    good = [plan.searched(slot.config).get("optimizer.lr") for slot in slots if slot.state in ("complete", "pruned")]
    rates = [rate for rate in good if rate is not None]
    domain = next((d.domain for d in plan.space.dimensions if d.path == "optimizer.lr"), None)
    if not rates or not isinstance(domain, Range) or max(rates) <= domain.low:
        return [Advice(text)]
    scale = ":log" if domain.log else ""
    return [Advice(text, ("--search", f"optimizer.lr={domain.low:.4g}:{max(rates):.4g}{scale}"))]


def _no_effect(plan: Plan, slots: list[Slot], best: Slot, importances: dict[str, float]) -> list[Advice]:
    if sum(slot.value is not None for slot in slots) < TELLING:
        return []
    settings = plan.searched(best.config)
    weak = [(plan.space[name].path, share) for name, share in importances.items() if share < NO_MATTER]
    return [
        Advice(f"{path} made no difference ({share:.0%} of the variance): fix it", ("-s", f"{path}={settings[path]}"))
        for path, share in weak
        if path in settings
    ]


def _last_epoch(plan: Plan, best: Slot) -> list[Advice]:
    if best.run_dir is None or any(d.path == "training.epochs" for d in plan.space.dimensions):
        return []
    ended = last(read(RunDir(Path(best.run_dir)).journal_file)[0], RunEnded)
    epochs = plan.config.training.epochs
    if ended is None or ended.best_epoch != epochs:
        return []
    return [Advice("the best trial was still getting better in its last epoch", ("--epochs", str(2 * epochs)))]
