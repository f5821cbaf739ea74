"""A sweep at the command line: the courier beside it, progress on stderr, the result on stdout, signals obeyed."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cnnlab.cli import complain
from cnnlab.cli.interrupts import Interrupt, catch_interrupts, end_when_interrupted
from cnnlab.cli.session import DELIVERY_SECONDS
from cnnlab.cli.sweep_options import SweepOptions
from cnnlab.cli.views.run import open_status
from cnnlab.cli.views.sweep import SweepView, open_sweep_view
from cnnlab.config import RunConfig
from cnnlab.config.space import Space
from cnnlab.errors import InUse
from cnnlab.records import RunStarted, Status, SweepEnded
from cnnlab.search.trials import forkserver
from cnnlab.tracking import Courier, RunDir, last, read, resolve

if TYPE_CHECKING:
    from cnnlab.search.findings.findings import Findings
    from cnnlab.search.studies.journal import SweepJournal
    from cnnlab.search.studies.plan import Plan
    from cnnlab.search.studies.slots import Slot
    from cnnlab.search.trials.workers import Layout


def run_sweep(
    config: RunConfig,
    space: Space,
    asked: SweepOptions,
    experiment: str,
    tracking_uri: str | None,
    *,
    as_json: bool,
    quiet: bool,
) -> int:
    """Sweep, print what was found, return the exit code."""
    uri = resolve(tracking_uri)
    began = time.monotonic()
    if asked.workers != 1:
        forkserver.start()
    with Courier(uri) as courier, end_when_interrupted("interrupted; the same command goes on"):
        from cnnlab.search.findings.findings import findings_of
        from cnnlab.search.findings.report import write_report
        from cnnlab.search.studies.journal import open_sweep
        from cnnlab.search.studies.study import check, extend
        from cnnlab.search.trials.trial import check_on_data
        from cnnlab.search.trials.workers import layout

        plan = plan_of(config, space, asked, experiment, uri)
        check(plan)
        where = layout(asked.workers, config.place.device, config.place.threads)
        check_on_data(plan)
        if asked.extend:
            extend(plan, asked.extend, asked.storage)
        plan, journal = open_sweep(plan)
        followed = Followed(courier)
        with journal:
            if not journal.ours and asked.study is None:
                raise InUse(
                    f"{plan.study}: a live process ({journal.run.holder()}) has this study; join it by --study "
                    f"{plan.study}"
                )
            with open_sweep_view(quiet, plan, str(where)) as view, catch_interrupts() as interrupt:
                work_on(plan, journal, where, asked.timeout, interrupt, followed, view)
            findings = findings_of(plan)
            with open_status(quiet, "drawing the plots"):
                write_report(findings)
            journal.end(ended(plan, findings.slots))
        seconds = time.monotonic() - began  # without the wait for MLflow, which goes on by itself
        with open_status(quiet, "handing the sweep over to MLflow"):
            undelivered = followed.wait()
        if undelivered:
            complain(f"MLflow has not got all of this sweep yet ({undelivered}); later: cnnlab sync")
        return _print(findings, seconds, interrupt.number, as_json=as_json)


def work_on(
    plan: "Plan",
    journal: "SweepJournal",
    where: "Layout",
    timeout: float | None,
    interrupt: Interrupt,
    followed: "Followed",
    view: SweepView,
) -> None:
    """Take part in a sweep until all its trials have ended or a signal came; what ends is noted, told and shown."""
    from cnnlab.search.findings.findings import settings_of
    from cnnlab.search.findings.report import load_plots
    from cnnlab.search.sweep import sweep

    followed.look_at(journal.run, 0)
    for seen in sweep(plan, where, timeout, lambda: bool(interrupt.number)):
        if seen.stage.name == "search":
            journal.note(seen.slots, lambda slot: settings_of(plan, slot))
        followed.look(seen.slots)
        view.show(seen)
        states = [slot.state for slot in seen.slots]
        if "waiting" not in states and states.count("running") < where.workers:
            load_plots()


def ended(plan: "Plan", slots: "list[Slot]") -> SweepEnded:
    """A sweep's last word, until it goes on."""
    from cnnlab.search.findings.findings import settings_of
    from cnnlab.search.sweep import best_first

    done = sum(slot.finished for slot in slots)
    status: Status = "finished" if done == len(slots) else "interrupted"
    reason = "" if status == "finished" else f"{done} of {len(slots)} trials; the same command goes on"
    best = next(iter(best_first(slots)), None)
    if best is None:
        return SweepEnded(time.time(), status, reason, None, None, {})
    return SweepEnded(time.time(), status, reason, best.number, best.value, settings_of(plan, best))


def plan_of(config: RunConfig, space: Space, asked: SweepOptions, experiment: str, uri: str) -> "Plan":
    """What was asked for. Raises BadInput for a sampler that the space does not suit or that is not installed."""
    from cnnlab.search.samplers import check_sampler
    from cnnlab.search.studies.plan import Plan
    from cnnlab.search.studies.storage import storage_url

    check_sampler(asked.sampler, space)
    plan = Plan(
        config,
        space,
        asked.trials,
        asked.sampler,
        asked.pruner,
        asked.seeds,
        asked.confirm,
        asked.confirm_seeds,
        asked.retries,
        experiment=experiment,
        tracking_uri=uri,
    )
    study = asked.study or plan.default_study()
    return replace(plan, study=study, storage=storage_url(asked.storage, study))


def show_preview(config: RunConfig, space: Space, asked: SweepOptions) -> int:
    """Print what a sweep would do."""
    from cnnlab.cli.printing.sweep import print_preview
    from cnnlab.search.findings.preview import preview
    from cnnlab.search.studies.study import check
    from cnnlab.search.trials.trial import check_on_data
    from cnnlab.search.trials.workers import layout

    plan = plan_of(config, space, asked, "", "none")
    check(plan)
    check_on_data(plan)
    where = layout(asked.workers, config.place.device, config.place.threads)
    print_preview(plan, preview(plan, where), str(where))
    return 0


class Followed:
    """The runs of a sweep that the courier was told of, each once an attempt."""

    def __init__(self, courier: Courier) -> None:
        self.courier = courier
        self._runs: dict[tuple[Path, int], RunDir] = {}

    def look(self, slots: "list[Slot]") -> None:
        """Tell the courier of the trainings that have begun since the last time."""
        for slot in slots:
            if slot.run_dir is not None:
                for journal in sorted(Path(slot.run_dir).rglob("journal.jsonl")):
                    self.look_at(RunDir(journal.parent), len(slot.attempts))

    def look_at(self, run: RunDir, attempt: int) -> None:
        if (run.path, attempt) not in self._runs and (attempt == 0 or _has_begun(run)):
            self._runs[run.path, attempt] = run
            self.courier.follow(run)

    def wait(self) -> str | None:
        """Until MLflow has all of them; why it has not, in words."""
        deadline = time.monotonic() + DELIVERY_SECONDS
        for run in self._runs.values():
            if why := self.courier.wait(run, max(0.1, deadline - time.monotonic())):
                return why
        return None


def _has_begun(run: RunDir) -> bool:
    """Whether its process has its lock by now, so that from now on it is seen to be alive or dead."""
    from cnnlab.search.trials.trial import SEEDS

    if not run.has_begun():
        return False
    return run.created.tags.get("kind") == SEEDS or last(read(run.journal_file)[0], RunStarted) is not None


def _print(findings: "Findings", seconds: float, interrupted: int, *, as_json: bool) -> int:
    from cnnlab.cli.printing.sweep import print_findings

    print_findings(findings, seconds, sys.argv[1:], as_json=as_json)
    if interrupted:
        complain(f"interrupted; the same command goes on with {findings.plan.study}")
        return 128 + interrupted
    if findings.best is None:
        complain("no trial was trained to its end; see the reasons by cnnlab show " + findings.plan.study)
        return 1
    return 0
