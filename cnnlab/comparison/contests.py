"""A comparison as sweeps: one an arm, each with the same budget, its best trained again on the same fresh seeds."""

from dataclasses import dataclass, replace
from typing import Any

from cnnlab.comparison.verdicts import ArmResult, Final, Tried
from cnnlab.config import RunConfig, flat
from cnnlab.config.arms import Arm
from cnnlab.config.space import Range
from cnnlab.search.findings.findings import settings_of
from cnnlab.search.studies.claims import study_slots
from cnnlab.search.studies.plan import Plan, digest_of
from cnnlab.search.studies.slots import HISTORY, TEST_ACCURACY, Slot
from cnnlab.search.studies.storage import open_storage, storage_url
from cnnlab.search.studies.study import attributes, open_or_make
from cnnlab.search.sweep import best_first, confirmation_of
from cnnlab.search.trials.stages import Confirmation, Search
from cnnlab.tracking import as_word

LR = "optimizer.lr"


@dataclass(frozen=True)
class Contest:
    """What is compared, and how."""

    name: str
    """What its studies' names begin with."""
    question: str
    config: RunConfig
    """The experiment as written."""
    plans: dict[str, Plan]
    """Arm -> its sweep."""

    @property
    def trials(self) -> int:
        return next(iter(self.plans.values())).trials

    @property
    def seeds(self) -> int:
        return next(iter(self.plans.values())).confirm_seeds


def contest_of(
    config: RunConfig,
    question: str,
    arms: list[Arm],
    *,
    trials: int,
    seeds: int,
    sampler: str,
    name: str | None,
    storage: str | None,
    experiment: str,
    tracking_uri: str,
) -> Contest:
    """A sweep for each arm: trial 0 is its untuned defaults, nothing is pruned, the best and the defaults are trained
    again on fresh seeds.

    Args:
        name: --study; None for one that only the same comparison has.
        storage: --storage.
    """
    plans = {
        arm.name: Plan(
            _named(config, arm),
            arm.space,
            trials,
            sampler,
            pruner="none",
            confirm=1,
            confirm_seeds=seeds,
            experiment=experiment,
            tracking_uri=tracking_uri,
        )
        for arm in arms
    }
    name = name or _default_name(config, plans)
    studies = {arm: f"{name}.{arm}" for arm in plans}
    placed = {
        arm: replace(plan, study=studies[arm], storage=storage_url(storage, studies[arm]))
        for arm, plan in plans.items()
    }
    return Contest(name, question, config, placed)


def result_of(plan: Plan, name: str) -> ArmResult:
    """What is known of an arm by now."""
    slots = study_slots(open_or_make(plan.study, plan.storage), Search(plan).wanted)
    best = next(iter(best_first(slots)), None)
    finals = _finals(plan)
    number = best.number if best else None
    return ArmResult(
        name,
        tuple(_tried(plan, slot) for slot in slots if slot.finished),
        number,
        settings_of(plan, best) if best else {},
        finals.get(number, ()) if number is not None else (),
        finals.get(0, ()),
    )


def is_done(plan: Plan) -> bool:
    """Whether nothing of an arm is left to train."""
    slots = study_slots(open_or_make(plan.study, plan.storage), Search(plan).wanted)
    again = confirmation_of(plan)
    return all(slot.finished for slot in slots) and (
        again is None or all(slot.finished for slot in _slots_again(plan, again))
    )


def caveats(contest: Contest, where: str) -> list[str]:
    """What holds for all arms and is not asked about, in sentences without a full stop.

    Args:
        where: how many trainings ran side by side, in words.
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
        f"Selected on validation data; scores are test accuracies of {contest.seeds} fresh seeds, the same for each",
        "A seed is the initial weights, the order of the data and the validation split; the test images are the same "
        "for all, so intervals and tests are over seeds, not over data sets",
        f"Seconds are those of trainings in {where}, one arm after the other: whatever else the machine did shows in "
        "them, and not in steps",
    ]


def _named(config: RunConfig, arm: Arm) -> RunConfig:
    return arm.config.model_copy(update={"name": f"{config.label}-{arm.name}"})


def _default_name(config: RunConfig, plans: dict[str, Plan]) -> str:
    identities = {arm: plan.naming() for arm, plan in plans.items()}
    return f"compare-{as_word(config.label)}-{digest_of(identities)}"


def _tried(plan: Plan, slot: Slot) -> Tried:
    lr = settings_of(plan, slot).get(LR, plan.config.optimizer.lr)
    domain = next((d.domain for d in plan.space.dimensions if d.path == LR), None)
    position = domain.position(lr) if isinstance(domain, Range) and slot.number else None
    return Tried(slot.value, lr, position, untuned=slot.number == 0, diverged=slot.state == "infeasible")


def _finals(plan: Plan) -> dict[int, tuple[Final, ...]]:
    """Trial -> its trainings on fresh seeds, those that have ended."""
    again = confirmation_of(plan)
    if again is None:
        return {}
    found: dict[int, list[Final]] = {}
    for slot in _slots_again(plan, again):
        number, seed = again.trial_and_seed(slot.number)
        if slot.state in ("complete", "infeasible"):
            found.setdefault(number, []).append(_final(slot, seed))
    return {number: tuple(finals) for number, finals in found.items()}


def _slots_again(plan: Plan, again: Confirmation) -> list[Slot]:
    if attributes(open_storage(plan.storage), again.study) is None:
        return [Slot(number, ()) for number in range(again.wanted)]
    return study_slots(open_or_make(again.study, plan.storage), again.wanted)


def _final(slot: Slot, seed: int) -> Final:
    known: dict[str, Any] = slot.trial.user_attrs if slot.trial else {}
    history = tuple((step, seconds, loss, accuracy) for step, seconds, loss, accuracy in known.get(HISTORY, ()))
    if slot.state == "infeasible":
        return Final(seed, 0.0, history, diverged=True)
    return Final(seed, float(known[TEST_ACCURACY]), history)


def _space_text(plan: Plan) -> str:
    return ", ".join(f"{d.path.rpartition('.')[2]} in {d.domain}" for d in plan.space.dimensions)
