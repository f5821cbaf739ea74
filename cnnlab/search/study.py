"""A plan's study in its storage, and the sweep's run: its journal tells MLflow how the trials ended."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.study import Study

from cnnlab.config import RunConfig, flat
from cnnlab.config.space import Space
from cnnlab.errors import BadInput, InUse, without_passwords
from cnnlab.metrics import Metric
from cnnlab.records import Record, Status, SweepEnded, SweepStarted, TrialEnded
from cnnlab.run import create_run
from cnnlab.search.claims import study_slots
from cnnlab.search.plan import Plan, differences, what_it_is
from cnnlab.search.sampling import check_sampler, distribution, from_optuna, nearest_inside, optuna_name, to_optuna
from cnnlab.search.slots import ASKED, ATTEMPT, IDENTITY, PARENT, SLOT, Slot
from cnnlab.search.storage import STUDY_FILE, open_storage, shown, storage_url
from cnnlab.tracking import Journal, RunDir, read, studies_root

ASKED_FOR = ("trials", "confirm", "confirm_seeds", "retries", "experiment", "tracking_uri", "doubts")
"""The fields of a plan that a study keeps beside its identity."""


def with_study(plan: Plan) -> Plan:
    """The plan with the name of its study and the URL of its storage.

    Raises:
        BadInput: a sampler that the space does not suit or that is not installed; no such kind of storage.
    """
    check_sampler(plan.sampler, plan.space)
    study = plan.study or plan.default_study()
    return replace(plan, study=study, storage=storage_url(plan.storage or None, study))


def enter(plan: Plan) -> tuple[Plan, Study]:
    """Make the plan's study, or open it; also returns the plan with the sweep's run id, if it has one.

    Raises:
        BadInput: the study was made for another experiment or another space; names the first difference.
    """
    study = open_or_make(plan.study, plan.storage, plan.score)
    known = study.user_attrs
    if IDENTITY not in known:
        study.set_user_attr(IDENTITY, plan.identity())
    else:
        check_same(plan)
    asked = {**{key: getattr(plan, key) for key in ASKED_FOR}, "tracking_uri": without_passwords(plan.tracking_uri)}
    if known.get(ASKED) != asked:
        study.set_user_attr(ASKED, asked)
    return replace(plan, parent=known.get(PARENT, "")), study


def open_or_make(name: str, storage: str, score: Metric) -> Study:
    """The study of this name in a storage, made if there is none. The score determines which values are better."""
    return optuna.create_study(
        study_name=name, storage=open_storage(storage), direction=score.direction, load_if_exists=True
    )


def find_study(name: str, storage: str) -> Study | None:
    """The study of this name; None if there is none. Makes no storage."""
    if "://" not in storage and not Path(storage).exists():
        return None
    try:
        return optuna.load_study(study_name=name, storage=open_storage(storage))
    except KeyError:
        return None


def check_same(plan: Plan) -> None:
    """Raises BadInput if the plan's study exists and was made for something else; makes no study."""
    study = find_study(plan.study, plan.storage)
    known = study.user_attrs.get(IDENTITY) if study else None
    if known is None:
        return
    config = what_it_is(RunConfig.model_validate(known["config"]))  # with the defaults of settings that are newer
    if differing := differences({**known, "config": config}, plan.identity()):
        more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
        without_defaults = known["space"].keys() < plan.space.to_json().keys()
        do = "add --only to search only what --search names" if without_defaults else "name another study"
        raise BadInput(
            f"--study {plan.study}: it was made for something else: {differing[0]}{more}; {do}, or widen its space in "
            f"a new one by --extend {plan.study}"
        )


def extend(plan: Plan, old: str, storage: str | None) -> None:
    """Copy the trials of another study that have ended and lie inside the plan's space into the plan's study.

    Args:
        plan: if its study has trials already, nothing is copied.
        old: the other study's name.
        storage: --storage, which holds both studies; None if each has its own file.

    Raises:
        BadInput: there is no such study, or it is of another experiment.
    """
    old_study = find_study(old, storage_url(storage, old))
    before = stored_plan(old, storage_url(storage, old))
    if old_study is None or before is None:
        raise BadInput(f"--extend {old}: there is no such study; cnnlab studies lists what there is")
    if differing := differences({**before.identity(), "space": {}}, {**plan.identity(), "space": {}}):
        raise BadInput(f"--extend {old}: it was made for something else: {differing[0]}")
    plan, study = enter(plan)
    if study.get_trials(deepcopy=False):
        return
    copied = 0  # slot 0 stays free for the experiment as written, unless the old study has trained it
    for slot in study_slots(old_study, before.trials):
        if slot.trial is None or slot.state not in ("complete", "pruned", "infeasible"):
            continue
        if slot.number == 0:
            params = nearest_inside(plan.space, flat(plan.config))
        elif plan.space.contains(params := from_optuna(before.space, dict(slot.trial.params))):
            copied += 1
        else:
            continue
        study.add_trial(
            optuna.trial.create_trial(
                state=slot.trial.state,
                value=slot.trial.value,
                params=to_optuna(plan.space, params),
                distributions={optuna_name(plan.space[name]): distribution(plan.space[name]) for name in params},
                user_attrs={**slot.trial.user_attrs, SLOT: copied if slot.number else 0, ATTEMPT: 0},
                intermediate_values=slot.trial.intermediate_values,
            )
        )


def stored_plan(study: str, storage: str) -> Plan | None:
    """The plan of a study, with the options that were given last; None if there is no such study."""
    found = find_study(study, storage)
    known = found.user_attrs if found else {}
    if IDENTITY not in known:
        return None
    identity = known[IDENTITY]
    return Plan(
        config=RunConfig.model_validate(identity["config"]),
        space=Space.from_json(identity["space"]),
        **{name: identity[name] for name in ("sampler", "pruner", "seeds")},
        study=study,
        storage=storage,
        parent=known.get(PARENT, ""),
        **known[ASKED],
    )


def list_plans(storage: str | None) -> list[Plan]:
    """The plans of the studies in a database, or of those below mlruns/studies, by name."""
    if storage is None:
        named = [(path.parent.name, str(path.absolute())) for path in sorted(studies_root().glob(f"*/{STUDY_FILE}"))]
    else:
        url = storage_url(storage, "")
        named = [(name, url) for name in sorted(optuna.get_all_study_names(open_storage(url)))]
    plans = (stored_plan(name, url) for name, url in named)
    return [plan for plan in plans if plan]


def find_or_make_run(
    config: RunConfig, folder: Path, *, experiment: str, tracking_uri: str, parent: str | None, tags: dict[str, str]
) -> RunDir:
    """The run in a folder that several processes may open at the same time; the first of them makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "made.lock"):
        run = RunDir(folder)
        if run.is_created():
            return run
        return create_run(config, experiment, tracking_uri, folder, parent=parent, tags=tags)


def open_sweep(plan: Plan) -> tuple[Plan, "SweepJournal"]:
    """Open or make the study and the sweep's run; returns the plan with the run's id, and the journal.

    Raises:
        BadInput: the study was made for something else, or its folder has trials that its storage does not know.
    """
    plan, study = enter(plan)
    if not study.get_trials(deepcopy=False) and any(plan.folder.glob("trials/*")):
        raise BadInput(
            f"--study {plan.study}: {plan.folder} has the trials of an earlier study of this name, which its storage "
            "does not know; remove the folder, or name another study"
        )
    journal = SweepJournal(plan)
    if journal.ours and not plan.parent:
        study.set_user_attr(PARENT, journal.run.run_id)
        plan = replace(plan, parent=journal.run.run_id)
    return plan, journal


class SweepJournal:
    """The sweep's run, the parent of its trials: one record per ended trial, in the order in which the ends were seen.

    Of the processes of this machine that work on the study, one writes the journal; the others write nothing. A context
    manager that closes it.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.run = find_or_make_run(
            plan.config,
            plan.folder,
            experiment=plan.experiment,
            tracking_uri=plan.tracking_uri,
            parent=plan.above or None,
            tags={"study": plan.study, "kind": "sweep", "dataset": plan.config.data.dataset},
        )
        self._open = ExitStack()
        self._journal: Journal | None = None
        self._noted: set[int] = set()
        try:
            self._open.enter_context(self.run.hold())
        except InUse:
            return
        self._journal = self._open.enter_context(Journal(self.run.journal_file))
        self._noted = {record.trial for record in read(self.run.journal_file)[0] if isinstance(record, TrialEnded)}
        self._write(
            SweepStarted(
                time=time.time(),
                study=plan.study,
                storage=shown(plan.storage),
                trials=plan.trials,
                sampler=plan.sampler,
                pruner=plan.pruner,
                seeds=plan.seeds,
                space=plan.space.to_json(),
                score=plan.score,
            )
        )

    @property
    def ours(self) -> bool:
        """Whether this process writes it."""
        return self._journal is not None

    def note(self, slots: list[Slot]) -> None:
        """Write the trials that have ended since the last time."""
        for slot in slots:
            if slot.finished and slot.number not in self._noted:
                self._noted.add(slot.number)
                values = [other.value for other in slots if other.value is not None and other.number in self._noted]
                self._write(
                    TrialEnded(
                        time=time.time(),
                        trial=slot.number,
                        state=slot.state,
                        value=slot.value,
                        best_value=self.plan.score.best(values),
                        score=self.plan.score.name,
                        settings=self.plan.searched(slot.config),
                        ended=len(self._noted),
                    )
                )

    def end(self, slots: list[Slot], best: Slot | None, warnings: Sequence[str] = ()) -> None:
        """Write the result as the last record. A continued sweep writes more."""
        done = sum(slot.finished for slot in slots)
        status: Status = "finished" if done == len(slots) else "interrupted"
        self._write(
            SweepEnded(
                time=time.time(),
                status=status,
                reason="" if status == "finished" else f"{done} of {len(slots)} trials; the same command goes on",
                best_trial=best.number if best else None,
                best_value=best.value if best else None,
                settings=self.plan.searched(best.config) if best else {},
                warnings=tuple(warnings),
            )
        )

    def __enter__(self) -> "SweepJournal":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _write(self, record: Record) -> None:
        if self._journal:
            self._journal.write(record)
