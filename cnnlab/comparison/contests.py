"""A contest: a sweep per arm with the same budget, and the best of each trained again on the same fresh seeds."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnnlab.comparison.verdicts import ArmResult, Final, Tried, Verdicts, judge
from cnnlab.config import RunConfig, flat
from cnnlab.config.arms import Arm, contains
from cnnlab.config.commands import CompareOptions, SweepOptions
from cnnlab.config.space import Range
from cnnlab.metrics import Metric
from cnnlab.search import Plan
from cnnlab.search.plan import digest_of
from cnnlab.search.slots import HISTORY, TEST_SCORE, CurvePoint, Slot, best_first
from cnnlab.search.stages import Search, Stage, confirmation_of, slots_of
from cnnlab.search.study import with_study
from cnnlab.tracking import as_word, studies_root

LR = "optimizer.lr"
NOT_ALL = "not all was trained; the same command goes on"


@dataclass(frozen=True)
class Contest:
    """What is compared, and how: the sweeps of its arms."""

    name: str
    """The names of its studies begin with it."""
    question: str
    config: RunConfig
    """The experiment as written."""
    plans: dict[str, Plan]
    """Arm -> its sweep."""
    margin: float
    """A difference of the score too small to matter."""
    target: float | None
    """The validation score to be reached; None for the median of the untuned defaults."""

    @property
    def score(self) -> Metric:
        """What the arms are compared by."""
        return self.config.task.metric

    @property
    def trials(self) -> int:
        return next(iter(self.plans.values())).trials

    @property
    def seeds(self) -> int:
        return next(iter(self.plans.values())).confirm_seeds

    @property
    def folder(self) -> Path:
        """What this machine keeps of it, beside the folders of its arms' studies."""
        return folder_of(self.name)

    @property
    def doubts(self) -> list[str]:
        """Why results on its data deserve less trust than they seem to."""
        return list(dict.fromkeys(doubt for plan in self.plans.values() for doubt in plan.doubts))

    def progress(self) -> list[str]:
        """How far each arm has got: `sgd 4 of 4 trials`."""
        return [
            f"{name} {len(arm_result(plan, name).tried)} of {plan.trials} trials" for name, plan in self.plans.items()
        ]


def folder_of(name: str) -> Path:
    """The folder of a comparison."""
    return (studies_root() / name).absolute()


def make_contest(
    config: RunConfig,
    question: str,
    arms: list[Arm],
    options: CompareOptions,
    *,
    name: str | None,
    experiment: str,
    tracking_uri: str,
) -> Contest:
    """A sweep for each arm: trial 0 is its untuned defaults, nothing is pruned, and the best and the defaults are
    trained again on fresh seeds.

    Args:
        config: the experiment as written.
        question: what the arms differ in.
        arms: two or more.
        options: of the comparison.
        name: of the comparison; None for a name that only the same comparison has.
        experiment, tracking_uri: MLflow's; resolved.

    Raises:
        BadInput: a sampler that a space does not suit or that is not installed; no such kind of storage.
    """
    tuning = SweepOptions(
        trials=options.trials,
        sampler=options.sampler,
        pruner="none",
        confirm=1,
        confirm_seeds=options.seeds,
        storage=options.storage,
    )
    plans = {
        arm.name: Plan.of(
            arm.config.model_copy(update={"name": f"{config.label}-{arm.name}"}),
            arm.space,
            tuning,
            experiment=experiment,
            tracking_uri=tracking_uri,
        )
        for arm in arms
    }
    name = name or _default_name(config, plans)
    named = {arm: with_study(replace(plan, study=f"{name}.{arm}")) for arm, plan in plans.items()}
    score = config.task.metric
    margin = score.margin if options.margin is None else options.margin / score.scale
    return Contest(name, question, config, named, margin, options.target)


def verdicts_of(contest: Contest, where: str) -> Verdicts:
    """What has been found by now; `where` is as of `caveats`."""
    found = judge(
        contest.question,
        [arm_result(plan, name) for name, plan in contest.plans.items()],
        margin=contest.margin,
        target=contest.target,
        caveats=caveats(contest, where),
        contains=contains,
        score=contest.score,
    )
    return replace(found, warnings=(*contest.doubts, *found.warnings))


def arm_result(plan: Plan, name: str) -> ArmResult:
    """What is known of an arm by now."""
    slots = slots_of(Search(plan))
    best = next(iter(best_first(slots, plan.score)), None)
    finals = _finals(plan)
    return ArmResult(
        name=name,
        tried=tuple(_tried(plan, slot) for slot in slots if slot.finished),
        best_trial=best.number if best else None,
        best_params=plan.searched(best.config) if best else {},
        finals=finals.get(best.number, ()) if best else (),
        untuned=finals.get(0, ()),
    )


def is_done(plan: Plan) -> bool:
    """Whether nothing of an arm is left to train."""
    again = confirmation_of(plan)
    stages: list[Stage] = [Search(plan)] if again is None else [Search(plan), again]
    return all(slot.finished for stage in stages for slot in slots_of(stage))


def caveats(contest: Contest, where: str) -> list[str]:
    """What has to be said of all arms, in sentences without a full stop.

    Args:
        where: the number of trainings that ran side by side, in words.
    """
    plan = next(iter(contest.plans.values()))
    tuned = "; ".join(f"{arm}: {_space_text(plan)}" for arm, plan in contest.plans.items())
    settings = flat(contest.config)
    fixed = ("data.batch_size", "schedule.name", "training.epochs", "data.augment", "model.dropout")
    held = ", ".join(f"{path} {settings[path]}" for path in fixed if path in settings and path != contest.question)
    decay = flat(plan.config).get("optimizer.weight_decay")
    return [
        f"Tuned by {contest.trials} trials each, the untuned defaults among them, drawn by {plan.sampler} and not "
        f"pruned: {tuned}",
        f"Fixed for all: {held}" + (f", optimizer.weight_decay {decay:g}" if contest.question == "optimizer" else ""),
        f"Selected on validation data; scores are the test {contest.score.words} on {contest.seeds} fresh seeds, the "
        "same for each",
        "A seed is the initial weights, the order of the data and the validation split; the test images are the same "
        "for all, so intervals and tests are over seeds, not over data sets",
        f"Seconds are those of trainings in {where}, one arm after the other: whatever else the machine did shows in "
        "them, and not in steps",
    ]


def _default_name(config: RunConfig, plans: dict[str, Plan]) -> str:
    identities = {arm: plan.identity() for arm, plan in plans.items()}
    return f"compare-{as_word(config.label)}-{digest_of(identities)}"


def _tried(plan: Plan, slot: Slot) -> Tried:
    lr = plan.searched(slot.config).get(LR, plan.config.optimizer.lr)
    domain = next((d.domain for d in plan.space.dimensions if d.path == LR), None)
    position = domain.position(lr) if isinstance(domain, Range) and slot.number else None
    return Tried(slot.value, lr, position, untuned=slot.number == 0, diverged=slot.state == "infeasible")


def _finals(plan: Plan) -> dict[int, tuple[Final, ...]]:
    """Trial -> its trainings on fresh seeds, those that have ended."""
    again = confirmation_of(plan)
    if again is None:
        return {}
    found: dict[int, list[Final]] = {}
    for slot in slots_of(again):
        if slot.state in ("complete", "infeasible"):
            number, seed = again.trial_and_seed(slot.number)
            found.setdefault(number, []).append(_final(slot, seed, plan.score))
    return {number: tuple(finals) for number, finals in found.items()}


def _final(slot: Slot, seed: int, score: Metric) -> Final:
    known: dict[str, Any] = slot.trial.user_attrs if slot.trial else {}
    history = tuple(CurvePoint(*point) for point in known.get(HISTORY, ()))
    if slot.state == "infeasible":
        return Final(seed, score.worst, history, diverged=True)
    return Final(seed, float(known[TEST_SCORE]), history)


def _space_text(plan: Plan) -> str:
    return ", ".join(f"{d.path.rpartition('.')[2]} in {d.domain}" for d in plan.space.dimensions)
