"""A contest: each arm is tuned several times with the same budget, and each winner trained again on fresh seeds."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnnlab.comparison.images import read_correct
from cnnlab.comparison.verdicts import ArmResult, Final, Tried, Tuning, Verdicts, claim_words, images_words, judge
from cnnlab.config import RunConfig, changed, flat
from cnnlab.config.arms import Arm
from cnnlab.config.commands import CompareOptions, SweepOptions
from cnnlab.config.space import Range
from cnnlab.metrics import Metric
from cnnlab.search import Plan
from cnnlab.search.plan import digest_of
from cnnlab.search.slots import HISTORY, TEST_SCORE, CurvePoint, Slot, best_first
from cnnlab.search.stages import Search, Stage, confirmation_of, slots_of
from cnnlab.search.study import with_study
from cnnlab.seeds import derive
from cnnlab.tracking import RunDir, as_word, studies_root

LR = "optimizer.lr"
NOT_ALL = "not all was trained; the same command goes on"


@dataclass(frozen=True)
class Contest:
    """What is compared, and how: the sweeps of its arms."""

    name: str
    """Its studies are `NAME.ARM`, and `NAME.ARM.2` ... for the other tunings."""
    question: str
    """`optimizer`, or the setting that is compared."""
    config: RunConfig
    """The experiment as written."""
    plans: dict[str, tuple[Plan, ...]]
    """Arm -> its sweeps, one per tuning."""
    margin: float
    """A smaller difference of the score does not matter."""
    target: float | None
    """The validation score to reach; None for what the first arm's defaults reach."""
    test_size: int = 0
    """The number of test images; 0 if it is unknown, or if the score does not count images."""
    chance: float | None = None
    """The score of a network that has learned nothing, if it is known."""

    @property
    def score(self) -> Metric:
        """The metric by which the arms are compared."""
        return self.config.task.metric

    @property
    def first(self) -> Plan:
        """The first arm's first sweep, whose numbers are those of all."""
        return next(iter(self.plans.values()))[0]

    @property
    def trials(self) -> int:
        """Of each tuning."""
        return self.first.trials

    @property
    def tunings(self) -> int:
        """Of each arm."""
        return len(next(iter(self.plans.values())))

    @property
    def seeds(self) -> int:
        """The number of fresh seeds on which each winner is trained again."""
        return self.first.confirm_seeds

    @property
    def trainings(self) -> int:
        """The number of trainings: trials, and finals of the winner and of the defaults."""
        return len(self.plans) * self.tunings * (self.trials + 2 * self.seeds)

    @property
    def folder(self) -> Path:
        """Of its run and report; its arms' studies have folders beside it."""
        return folder_of(self.name)

    @property
    def untuned_runs(self) -> dict[str, RunDir]:
        """Each arm's first training, if nothing is tuned; else none."""
        if self.first.space.dimensions:
            return {}
        runs = {arm: RunDir(Search(plan).folder(0)) for arm, (plan, *_) in self.plans.items()}
        return {arm: run for arm, run in runs.items() if run.is_created()}

    @property
    def doubts(self) -> list[str]:
        """Reasons to distrust results on its data, one per line."""
        return list(dict.fromkeys(doubt for plans in self.plans.values() for plan in plans for doubt in plan.doubts))

    def progress(self) -> list[str]:
        """The progress of each arm: `sgd 4 of 64 trials`."""
        finished = {
            arm: sum(slot.finished for plan in plans for slot in slots_of(Search(plan)))
            for arm, plans in self.plans.items()
        }
        return [f"{arm} {count} of {self.trials * self.tunings} trials" for arm, count in finished.items()]


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
    """A sweep per arm and tuning. Trial 0 has the untuned defaults; no trial is pruned; the best trial and the defaults
    are trained again on fresh seeds. Tunings of one number have the same seed in all arms, and so the same points.

    Args:
        config: the experiment as written.
        question: `optimizer`, or the setting that is compared.
        arms: two or more.
        name: of the comparison; None for a name made of a digest of its plans.
        experiment, tracking_uri: of MLflow, resolved.

    Raises:
        BadInput: the sampler does not suit a space or is not installed, or the storage is of an unknown kind.
    """
    design = options.design
    sweep = SweepOptions(
        trials=design.trials,
        sampler=options.sampler,
        pruner="none",
        confirm=1,
        confirm_seeds=design.seeds,
        storage=options.storage,
    )
    seed = config.training.seed
    plans = {
        arm.name: [
            Plan.of(
                changed(
                    arm.config,
                    {
                        "name": f"{config.label}-{arm.name}",
                        # the arm of --null that is the other one under a second name must not repeat its trainings
                        "training.seed": _tuning_seed(seed, number, again=options.null is not None and index == 1),
                    },
                ),
                arm.space,
                sweep,
                experiment=experiment,
                tracking_uri=tracking_uri,
            )
            for number in range(design.tunings)
        ]
        for index, arm in enumerate(arms)
    }
    if name is None:
        identities = {arm: some[0].identity() for arm, some in plans.items()}
        name = f"compare-{as_word(config.label)}-{digest_of(identities)}"
    named = {
        arm: tuple(with_study(replace(plan, study=study_of(name, arm, i))) for i, plan in enumerate(some))
        for arm, some in plans.items()
    }
    score = config.task.metric
    margin = score.margin if options.margin is None else options.margin / score.scale
    return Contest(name, question, config, named, margin, options.target)


def study_of(name: str, arm: str, tuning: int) -> str:
    """The name of a tuning's study."""
    return f"{name}.{arm}" + (f".{tuning + 1}" if tuning else "")


def _tuning_seed(seed: int, number: int, *, again: bool) -> int:
    """The first tuning has the experiment's own seed."""
    if again:
        return derive(seed, "null", index=number) >> 32
    return derive(seed, "tuning", index=number) >> 32 if number else seed


def verdicts_of(contest: Contest, where: str, look: int) -> Verdicts:
    """The verdicts on the trainings that have ended; `where` is as of `_caveats`, `look` as of `judge`."""
    verdicts = judge(
        contest.question,
        [_arm_result(name, plans) for name, plans in contest.plans.items()],
        contest.margin,
        contest.target,
        score=contest.score,
        look=look,
        resolution=1 / contest.test_size if contest.test_size else 0.0,
        chance=contest.chance,
    )
    caveats = (claim_words(verdicts), images_words(verdicts), *_caveats(contest, verdicts, where))
    return replace(verdicts, warnings=(*contest.doubts, *verdicts.warnings), caveats=caveats)


def _arm_result(name: str, plans: tuple[Plan, ...]) -> ArmResult:
    return ArmResult(
        name=name,
        tunings=tuple(_tuning(plan, number) for number, plan in enumerate(plans)),
        independent=plans[0].sampler in ("qmc", "random"),
    )


def _tuning(plan: Plan, number: int) -> Tuning:
    slots = slots_of(Search(plan))
    best = next(iter(best_first(slots, plan.score)), None)
    finals = _finals(plan)
    return Tuning(
        number=number,
        tried=tuple(_tried(plan, slot) for slot in slots if slot.finished),
        best_trial=best.number if best else None,
        best_params=plan.searched(best.config) if best else {},
        finals=finals.get(best.number if best else 0, ()),
        untuned=finals.get(0, ()),
    )


def is_done(plan: Plan) -> bool:
    """Whether all trainings of a tuning have ended."""
    confirmation = confirmation_of(plan)
    stages: list[Stage] = [Search(plan), *([confirmation] if confirmation else [])]
    return all(slot.finished for stage in stages for slot in slots_of(stage))


def _caveats(contest: Contest, verdicts: Verdicts, where: str) -> list[str]:
    """The conditions that hold for all arms, in sentences without a full stop.

    Args:
        where: the number of trainings that ran side by side, in words.
    """
    plan = contest.first
    spaces = {
        arm: ", ".join(f"{d.path.rpartition('.')[2]} {d.domain}" for d in plans[0].space.dimensions)
        for arm, plans in contest.plans.items()
    }
    tuned = "; ".join(f"{arm}: {space}" for arm, space in spaces.items())
    settings = flat(contest.config)
    fixed = ("data.batch_size", "schedule.name", "training.epochs", "data.augment", "model.dropout")
    held = ", ".join(f"{path} {settings[path]}" for path in fixed if path in settings and path != contest.question)
    decay = flat(plan.config).get("optimizer.weight_decay")
    trials = "1 trial" if contest.trials == 1 else f"{contest.trials} trials"
    often = "once" if contest.tunings == 1 else f"{contest.tunings} times"
    finals = "1 fresh seed" if contest.seeds == 1 else f"{contest.seeds} fresh seeds"
    return [
        "Nothing is tuned: each arm has its settings as written"
        if not plan.space.dimensions
        else f"Each tuned {often} with {trials} ({plan.sampler}, the defaults first, no pruning): {tuned}",
        f"Fixed for all: {held}" + (f", optimizer.weight_decay {decay:g}" if contest.question == "optimizer" else ""),
        f"Selected by validation {contest.score.words} on one seed; scored by test {contest.score.words} on {finals} "
        "per tuning, the same for all"
        if plan.space.dimensions
        else f"Scored by test {contest.score.words} on {finals}, the same for all",
        "The 95 % interval of a single mean holds for that mean alone, and for this look",
        f"Seconds depend on what else the machine did ({where}); steps do not",
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
            finals[number] = (*finals.get(number, ()), _final(slot, seed, plan.score, confirmation.folder(slot.number)))
    return finals


def _final(slot: Slot, seed: int, score: Metric, run: Path) -> Final:
    attributes: dict[str, Any] = slot.trial.user_attrs if slot.trial else {}
    history = tuple(CurvePoint(*point) for point in attributes.get(HISTORY, ()))
    if slot.state == "infeasible":
        return Final(seed, score.worst, history, diverged=True)
    tested = float(attributes[TEST_SCORE])
    return Final(seed, tested, history, correct=read_correct(run, tested) if score.counts_samples else None)
