"""A contest: a sweep per arm with the same budget, and the best of each trained again on the same fresh seeds."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnnlab.comparison.verdicts import ArmResult, Final, Tried, Verdicts, judge
from cnnlab.config import RunConfig, flat
from cnnlab.config.arms import Arm
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
    """Its studies are `NAME.ARM`."""
    question: str
    """`optimizer`, or the setting that is compared."""
    config: RunConfig
    """The experiment as written."""
    plans: dict[str, Plan]
    """Arm -> its sweep."""
    margin: float
    """A smaller difference of the score does not matter."""
    target: float | None
    """The validation score to reach; None for the median of the untuned defaults."""

    @property
    def score(self) -> Metric:
        """The metric by which the arms are compared."""
        return self.config.task.metric

    @property
    def trials(self) -> int:
        return next(iter(self.plans.values())).trials

    @property
    def seeds(self) -> int:
        return next(iter(self.plans.values())).confirm_seeds

    @property
    def folder(self) -> Path:
        """Of its run and report; its arms' studies have folders beside it."""
        return folder_of(self.name)

    @property
    def doubts(self) -> list[str]:
        """Reasons to distrust results on its data, one per line."""
        return list(dict.fromkeys(doubt for plan in self.plans.values() for doubt in plan.doubts))

    def progress(self) -> list[str]:
        """The progress of each arm: `sgd 4 of 4 trials`."""
        finished = {arm: sum(slot.finished for slot in slots_of(Search(plan))) for arm, plan in self.plans.items()}
        return [f"{arm} {count} of {self.trials} trials" for arm, count in finished.items()]


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
    """A sweep per arm. Trial 0 has the untuned defaults; no trial is pruned; the best trial and the defaults are
    trained again on fresh seeds.

    Args:
        config: the experiment as written.
        question: `optimizer`, or the setting that is compared.
        arms: two or more.
        name: of the comparison; None for a name made of a digest of its plans.
        experiment, tracking_uri: of MLflow, resolved.

    Raises:
        BadInput: the sampler does not suit a space or is not installed, or the storage is of an unknown kind.
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
    if name is None:
        identities = {arm: plan.identity() for arm, plan in plans.items()}
        name = f"compare-{as_word(config.label)}-{digest_of(identities)}"
    named = {arm: with_study(replace(plan, study=f"{name}.{arm}")) for arm, plan in plans.items()}
    score = config.task.metric
    margin = score.margin if options.margin is None else options.margin / score.scale
    return Contest(name, question, config, named, margin, options.target)


def verdicts_of(contest: Contest, where: str) -> Verdicts:
    """The verdicts on the trainings that have ended; `where` is as of `_caveats`."""
    arms = [_arm_result(plan, name) for name, plan in contest.plans.items()]
    verdicts = judge(contest.question, arms, contest.margin, contest.target, score=contest.score)
    return replace(verdicts, warnings=(*contest.doubts, *verdicts.warnings), caveats=tuple(_caveats(contest, where)))


def _arm_result(plan: Plan, name: str) -> ArmResult:
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
    """Whether all trainings of an arm have ended."""
    confirmation = confirmation_of(plan)
    stages: list[Stage] = [Search(plan), *([confirmation] if confirmation else [])]
    return all(slot.finished for stage in stages for slot in slots_of(stage))


def _caveats(contest: Contest, where: str) -> list[str]:
    """The conditions that hold for all arms, in sentences without a full stop.

    Args:
        where: the number of trainings that ran side by side, in words.
    """
    plan = next(iter(contest.plans.values()))
    spaces = {
        arm: ", ".join(f"{d.path.rpartition('.')[2]} in {d.domain}" for d in plan.space.dimensions)
        for arm, plan in contest.plans.items()
    }
    tuned = "; ".join(f"{arm}: {space}" for arm, space in spaces.items())
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


def _tried(plan: Plan, slot: Slot) -> Tried:
    lr = plan.searched(slot.config).get(LR, plan.config.optimizer.lr)
    domain = next((d.domain for d in plan.space.dimensions if d.path == LR), None)
    position = domain.position(lr) if isinstance(domain, Range) and slot.number else None
    return Tried(slot.value, lr, position, untuned=slot.number == 0, diverged=slot.state == "infeasible")


def _finals(plan: Plan) -> dict[int, tuple[Final, ...]]:
    """Trial -> its trainings on fresh seeds that have ended."""
    confirmation = confirmation_of(plan)
    if confirmation is None:
        return {}
    finals: dict[int, tuple[Final, ...]] = {}
    for slot in slots_of(confirmation):
        if slot.state in ("complete", "infeasible"):
            number, seed = confirmation.trial_and_seed(slot.number)
            finals[number] = (*finals.get(number, ()), _final(slot, seed, plan.score))
    return finals


def _final(slot: Slot, seed: int, score: Metric) -> Final:
    attributes: dict[str, Any] = slot.trial.user_attrs if slot.trial else {}
    history = tuple(CurvePoint(*point) for point in attributes.get(HISTORY, ()))
    if slot.state == "infeasible":
        return Final(seed, score.worst, history, diverged=True)
    return Final(seed, float(attributes[TEST_SCORE]), history)
