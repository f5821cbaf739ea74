"""The findings of a sweep: the gain over trial 0 on fresh seeds, the settings that matter, advice."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import optuna
from optuna.study import Study

from cnnlab.config import changed
from cnnlab.config.space import Dimension, Range
from cnnlab.errors import BadInput
from cnnlab.intervals import ALPHA, interval
from cnnlab.metrics import Metric
from cnnlab.records import RunEnded, RunStarted, SweepEnded, SweepStarted
from cnnlab.result import Result
from cnnlab.search.importances import End, Outcome, importances, rising_ends, words
from cnnlab.search.plan import Plan
from cnnlab.search.sampling import from_optuna
from cnnlab.search.slots import Slot, best_first, counted
from cnnlab.search.stages import Search, confirmation_of, slots_of
from cnnlab.search.storage import shown, storage_url
from cnnlab.search.study import stored_plan
from cnnlab.tracking import RunDir, last, read, studies_root

BOUNDARIES = "Identifying bad search space boundaries"
INFEASIBLE = "Extracting insight from experimental results"
FEW = "Not sampling enough points in the search space"
CURVES = "Examining the training curves"
WIDEN = 0.5
"""A range that is too narrow is widened by this share of its width."""
MANY_INFEASIBLE = 0.25
TRIALS_PER_DIMENSION = 4


@dataclass(frozen=True)
class Confirmed:
    """One of the best trials, trained again on fresh seeds."""

    trial: int
    selected: float
    """The value for which it was selected: as the best of many, it is biased upwards."""
    by_seed: Mapping[int, float]
    """Index of the fresh seed -> score, of trainings that did not diverge."""
    diverged: int
    """The number of the others."""
    resolution: float
    """One image of the validation split; 0 if it is not known."""
    bounds: tuple[float, float]
    """The least and the greatest possible score."""

    @property
    def scores(self) -> tuple[float, ...]:
        return tuple(self.by_seed.values())

    @property
    def mean(self) -> float | None:
        """Of the seeds that did not diverge; None if all did."""
        return fmean(self.scores) if self.scores else None

    @property
    def std(self) -> float | None:
        """The sample standard deviation over the seeds; None for one seed."""
        return stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean by Student's t; None for fewer than 3 scores."""
        return interval(self.scores, resolution=self.resolution, bounds=self.bounds)


@dataclass(frozen=True)
class Gain:
    """How much better a trial is than trial 0, paired by fresh seed."""

    values: tuple[float, ...]
    """Per seed on which neither diverged."""
    ends: tuple[float, float] | None
    """95 % interval of the mean by Student's t, simultaneous over the trials that were confirmed (Bonferroni), since
    the best of them is chosen by the same seeds. None for fewer than 3 values."""

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def is_shown(self) -> bool:
        """Whether the interval lies above 0."""
        return self.ends is not None and self.ends[0] > 0


@dataclass(frozen=True)
class Advice:
    """A warning, and the words to add to the command."""

    text: str
    action: tuple[str, ...] = ()
    section: str = ""
    """Of Google's tuning playbook, from which the rule is."""


@dataclass(frozen=True)
class Findings:
    """All that a study shows by now."""

    plan: Plan
    slots: list[Slot]
    best: Slot | None
    """By the mean of the confirmation, if there was one; else by the validation score."""
    confirmed: list[Confirmed]
    gain: Gain | None
    """Of the best; None without a confirmation, or if trial 0 is the best."""
    importances: dict[str, float]
    """Dimension -> its share of the variance, of those that are shown to matter."""
    unknown: str
    """What is known of the other dimensions, in words."""
    warnings: list[Advice]

    @property
    def baseline(self) -> float | None:
        """The value of the experiment as written."""
        return self.slots[0].value if self.slots else None


def findings_of(plan: Plan) -> Findings:
    """Read a plan's study."""
    slots = slots_of(Search(plan))
    confirmed = _confirmed(plan, slots)
    best = _best(plan, slots, confirmed)
    outcomes = [outcome for slot in slots if (outcome := _outcome(plan, slot))]
    shares = importances(outcomes, plan.space, plan.score)
    return Findings(
        plan=plan,
        slots=slots,
        best=best,
        confirmed=confirmed,
        gain=_gain(plan.score, best, confirmed),
        importances=shares,
        unknown=words(shares, len(plan.space.dimensions), len(outcomes)),
        warnings=_warnings(plan, slots, best, rising_ends(outcomes, plan.space, plan.score, shares)),
    )


def sweep_result(findings: Findings, seconds: float) -> Result:
    """The object that `sweep --json` prints. Values are validation scores, as `score` says.

    `baseline` is the value of trial 0; `gain` is how much better the best is than trial 0 on fresh seeds; `confirmed`
    are the scores on them.
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
            "gain": _gain_object(findings.gain),
            "confirmed": [_confirmed_object(confirmed) for confirmed in findings.confirmed],
            "importances": findings.importances,
        }
    )


def feasible(slots: list[Slot], score: Metric) -> Study:
    """A study in memory with the trials that were trained to their end or pruned."""
    study = optuna.create_study(direction=score.direction)
    study.add_trials([slot.trial for slot in slots if slot.state in ("complete", "pruned") and slot.trial])
    return study


def _gain_object(gain: Gain | None) -> dict[str, object] | None:
    if gain is None:
        return None
    low, high = gain.ends or (None, None)
    return {"mean": gain.mean, "ci_low": low, "ci_high": high, "values": list(gain.values), "shown": gain.is_shown}


def _confirmed_object(confirmed: Confirmed) -> dict[str, object]:
    low, high = confirmed.interval or (None, None)
    return {
        "trial": confirmed.trial,
        "selected": confirmed.selected,
        "scores": list(confirmed.scores),
        "mean": confirmed.mean,
        "std": confirmed.std,
        "ci_low": low,
        "ci_high": high,
        "diverged": confirmed.diverged,
    }


def _confirmed(plan: Plan, slots: list[Slot]) -> list[Confirmed]:
    """The trials of the confirmation that have been trained again on at least one seed."""
    confirmation = confirmation_of(plan)
    if confirmation is None:
        return []
    again = slots_of(confirmation)
    found = []
    for number, _ in confirmation.trials:
        mine = {
            confirmation.trial_and_seed(s.number)[1]: s
            for s in again
            if confirmation.trial_and_seed(s.number)[0] == number
        }
        scores = {seed: slot.value for seed, slot in mine.items() if slot.value is not None}
        diverged = sum(slot.state == "infeasible" for slot in mine.values())
        if scores or diverged:
            selected = slots[number].value
            assert selected is not None
            resolution = _resolution(plan.score, again)
            found.append(Confirmed(number, selected, scores, diverged, resolution, plan.score.bounds))
    return found


def _resolution(score: Metric, slots: list[Slot]) -> float:
    """One image of the validation split, if the score counts images and a run of the slots is on this machine."""
    if not score.counts_samples:
        return 0.0
    journals = (RunDir(Path(slot.run_dir)).journal_file for slot in slots if slot.run_dir)
    started = (last(read(journal)[0], RunStarted) for journal in journals if journal.exists())
    return next((1 / run.val_size for run in started if run and run.val_size), 0.0)


def stored_findings(study: str, storage: str | None) -> tuple[Findings, float]:
    """The findings of a recorded sweep by now, and its seconds.

    Args:
        study: its name.
        storage: --storage.

    Raises:
        BadInput: the storage does not have it.
    """
    records = read(RunDir(studies_root() / study).journal_file)[0]
    started, ended = last(records, SweepStarted), last(records, SweepEnded)
    plan = stored_plan(study, storage_url(storage, study)) if started else None
    if plan is None or started is None:
        raise BadInput(f"{study}: its study is not in {storage or 'its folder'}; if it is in a database, add --storage")
    return findings_of(plan), (ended.time if ended else time.time()) - started.time


def _best(plan: Plan, slots: list[Slot], confirmed: list[Confirmed]) -> Slot | None:
    """Of the confirmed trials that diverged least often, the one with the best mean; else the best complete trial."""
    if confirmed:
        return slots[min(confirmed, key=lambda c: (c.diverged, plan.score.rank(c.mean))).trial]
    return next(iter(best_first(slots, plan.score)), None)


def _gain(score: Metric, best: Slot | None, confirmed: list[Confirmed]) -> Gain | None:
    by_trial = {one.trial: one for one in confirmed}
    if best is None or best.number == 0 or not {0, best.number} <= by_trial.keys():
        return None
    ours, written = by_trial[best.number], by_trial[0]
    values = tuple(
        score.gain(value, written.by_seed[seed]) for seed, value in ours.by_seed.items() if seed in written.by_seed
    )
    if not values:
        return None
    return Gain(values, interval(values, ALPHA / (len(confirmed) - 1), ours.resolution))


def _outcome(plan: Plan, slot: Slot) -> Outcome | None:
    """None for a trial that failed, has not ended, or has no score."""
    if slot.trial is None or slot.state not in ("complete", "pruned", "infeasible"):
        return None
    history = tuple(value for _, value in sorted(slot.trial.intermediate_values.items()))
    if slot.state == "pruned" and not history:
        return None
    params = from_optuna(plan.space, dict(slot.trial.params))
    return Outcome(params, history, slot.value, diverged=slot.state == "infeasible")


def _warnings(plan: Plan, slots: list[Slot], best: Slot | None, rising: list[tuple[Dimension, End]]) -> list[Advice]:
    advice = [Advice(doubt) for doubt in plan.doubts] + _at_an_end(plan, rising) + _many_infeasible(plan, slots)
    dimensions = len({dimension.path for dimension in plan.space.dimensions})
    if plan.sampler != "grid" and len(slots) < TRIALS_PER_DIMENSION * dimensions:
        text = f"{len(slots)} trials are few for {dimensions} hyperparameter{'s' if dimensions > 1 else ''}"
        advice.append(Advice(text, ("--trials", str(TRIALS_PER_DIMENSION * dimensions)), FEW))
    return [*advice, *(_last_epoch(plan, best) if best else [])]


def _at_an_end(plan: Plan, rising: list[tuple[Dimension, End]]) -> list[Advice]:
    advice = []
    for dimension, end in rising:
        if wider := _wider(plan, dimension, end):
            text = (
                f"{dimension.path}: trials at the {end} end of {dimension.domain} do better than those next to it; "
                "the best value lies near this end or beyond it"
            )
            advice.append(Advice(text, ("--extend", plan.study, "--search", wider), BOUNDARIES))
    return advice


def _wider(plan: Plan, dimension: Dimension, end: End) -> str | None:
    """The range made wider at an end, as a word of --search; None if the wider range is not allowed."""
    domain = dimension.domain
    assert isinstance(domain, Range)
    low, high = (domain.at(-WIDEN), domain.high) if end == "lower" else (domain.low, domain.at(1 + WIDEN))
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
        return [Advice(text, section=INFEASIBLE)]
    scale = ":log" if domain.log else ""
    narrower = f"optimizer.lr={domain.low:.4g}:{max(rates):.4g}{scale}"
    return [Advice(text, ("--search", narrower), INFEASIBLE)]


def _last_epoch(plan: Plan, best: Slot) -> list[Advice]:
    if best.run_dir is None or any(d.path == "training.epochs" for d in plan.space.dimensions):
        return []
    ended = last(read(RunDir(Path(best.run_dir)).journal_file)[0], RunEnded)
    epochs = plan.config.training.epochs
    if ended is None or ended.best_epoch != epochs:
        return []
    return [Advice("the best trial was still getting better in its last epoch", ("--epochs", str(2 * epochs)), CURVES)]
