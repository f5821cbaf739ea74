"""A sweep's own run: the journal that tells MLflow of the sweep, the parent of its trials."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock

from cnnlab.config import RunConfig
from cnnlab.errors import BadInput, InUse
from cnnlab.records import Record, Status, SweepEnded, SweepStarted, TrialEnded
from cnnlab.run import create_run
from cnnlab.search.plan import Plan
from cnnlab.search.studies.slots import PARENT, Slot, best_first
from cnnlab.search.studies.storage import shown
from cnnlab.search.studies.study import enter
from cnnlab.tracking import Journal, RunDir, read


def find_or_make_run(
    config: RunConfig,
    folder: Path,
    *,
    experiment: str,
    tracking_uri: str,
    parent: str | None,
    tags: dict[str, str],
) -> RunDir:
    """The run in a folder that several processes may look for at the same time; the first of them makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "made.lock"):
        run = RunDir(folder)
        if run.is_created():
            return run
        return create_run(config, experiment, tracking_uri, folder, parent=parent, tags=tags)


def open_sweep(plan: Plan) -> tuple[Plan, "SweepJournal"]:
    """Find or make the study and the sweep's own run; the plan as it is from now on, and the journal to write to.

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
    journal.open()
    if journal.ours and not plan.parent:
        study.set_user_attr(PARENT, journal.run.run_id)
        plan = replace(plan, parent=journal.run.run_id)
    return plan, journal


@dataclass
class SweepJournal:
    """The sweep's own run, the parent of its trials: how each trial ended, in the order in which that was seen.

    Of the processes that work on a study on this machine one writes it; a process on another machine writes none.
    """

    plan: Plan
    run: RunDir = field(init=False)
    ours: bool = False
    """Whether this process is the one that writes it."""
    _open: ExitStack = field(default_factory=ExitStack)
    _journal: Journal | None = None
    _said: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.run = RunDir(self.plan.folder)

    def open(self) -> None:
        """Make the run if there is none, and be the process that writes it if no other is."""
        plan = self.plan
        find_or_make_run(
            plan.config,
            plan.folder,
            experiment=plan.experiment,
            tracking_uri=plan.tracking_uri,
            parent=plan.above or None,
            tags={"study": plan.study, "kind": "sweep", "dataset": plan.config.data.dataset},
        )
        try:
            self._open.enter_context(self.run.hold())
        except InUse:
            return
        self.ours = True
        self._journal = self._open.enter_context(Journal(self.run.journal_file))
        self._said = {record.trial for record in read(self.run.journal_file)[0] if isinstance(record, TrialEnded)}
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

    def note(self, found: list[Slot]) -> None:
        """Write down the trials that have ended since the last time."""
        for slot in found:
            if slot.finished and slot.number not in self._said:
                self._said.add(slot.number)
                values = [other.value for other in found if other.value is not None and other.number in self._said]
                self._write(
                    TrialEnded(
                        time=time.time(),
                        trial=slot.number,
                        state=slot.state,
                        value=slot.value,
                        best_value=self.plan.score.best(values),
                        score=self.plan.score.name,
                        settings=self.plan.searched(slot.config),
                    )
                )

    def end(self, found: list[Slot]) -> None:
        """Write what the sweep has come to: its last word, until it goes on."""
        done = sum(slot.finished for slot in found)
        status: Status = "finished" if done == len(found) else "interrupted"
        best = next(iter(best_first(found, self.plan.score)), None)
        self._write(
            SweepEnded(
                time=time.time(),
                status=status,
                reason="" if status == "finished" else f"{done} of {len(found)} trials; the same command goes on",
                best_trial=best.number if best else None,
                best_value=best.value if best else None,
                settings=self.plan.searched(best.config) if best else {},
            )
        )

    def __enter__(self) -> "SweepJournal":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _write(self, record: Record) -> None:
        if self._journal:
            self._journal.write(record)
