"""A comparison at the command line: its arms' sweeps one after the other, then the report and the verdict."""

import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cnnlab.cli import complain, typed
from cnnlab.cli.compare_options import CompareOptions
from cnnlab.cli.interrupts import Interrupt, catch_interrupts, end_when_interrupted
from cnnlab.cli.sweep_session import Followed, ended, work_on
from cnnlab.cli.views.run import open_status
from cnnlab.cli.views.sweep import open_sweep_view
from cnnlab.config import RunConfig
from cnnlab.config.arms import Arm, contains
from cnnlab.errors import BadInput
from cnnlab.search.trials import forkserver
from cnnlab.tracking import Courier, resolve

if TYPE_CHECKING:
    from cnnlab.comparison.contests import Contest
    from cnnlab.comparison.verdicts import Comparison
    from cnnlab.search.studies.plan import Plan
    from cnnlab.search.trials.workers import Layout


@dataclass(frozen=True)
class Wanted:
    """What was asked for."""

    asked: CompareOptions
    questions: list[tuple[RunConfig, str, list[Arm]]]
    """A workload each: the experiment, the question, the arms."""
    seeds: int
    experiment: str
    tracking_uri: str | None


def run_comparison(wanted: Wanted, *, as_json: bool, quiet: bool) -> int:
    """Compare, print what was found, return the exit code."""
    uri = resolve(wanted.tracking_uri)
    began = time.monotonic()
    if wanted.asked.workers != 1:
        forkserver.start()
    with Courier(uri) as courier, end_when_interrupted("interrupted; the same command goes on"):
        from cnnlab.cli.printing.comparison import print_comparison, print_workloads

        contests = _contests(wanted, uri)
        where = _checked(contests, wanted.asked)
        followed = Followed(courier)
        found: dict[str, Comparison] = {}
        with catch_interrupts() as interrupt:
            for contest in contests:
                found[contest.name] = _compare(contest, wanted, uri, where, followed, interrupt, quiet=quiet)
                if interrupt.number:
                    break
        seconds = time.monotonic() - began  # without the wait for MLflow, which goes on by itself
        with open_status(quiet, "handing the comparison over to MLflow"):
            undelivered = followed.wait()
        if undelivered:
            complain(f"MLflow has not got all of this comparison yet ({undelivered}); later: cnnlab sync")
        if as_json or not interrupt.number:  # of a part of the trainings there is nothing to say to people
            if len(contests) == 1:
                (name, only), *_ = found.items()
                print_comparison(only, name, seconds, as_json=as_json)
            else:
                print_workloads(found, seconds, as_json=as_json)
        if interrupt.number:
            complain(f"interrupted: {_progress(contests)}; the same command goes on: {typed(sys.argv[1:])}")
            return 128 + interrupt.number
        return _exit_code(found)


def show_preview(wanted: Wanted) -> int:
    """Print what a comparison would do."""
    contests = _contests(wanted, "none")
    where = _checked(contests, wanted.asked)
    for contest in contests:
        print(f"comparison {contest.name} over {contest.question}, {where}")
        print(f"{contest.trials} trials each, then {contest.seeds} fresh seeds each for the best and for the defaults")
        for arm, plan in contest.plans.items():
            ranges = ", ".join(f"{d.path} in {d.domain}" for d in plan.space.dimensions)
            print(f"  {arm:12} lr {plan.config.optimizer.lr:g} untuned; tuned: {ranges}")
    return 0


def _contests(wanted: Wanted, uri: str) -> "list[Contest]":
    from cnnlab.comparison.contests import contest_of
    from cnnlab.search.samplers import check_sampler

    asked = wanted.asked
    contests = []
    for number, (config, question, arms) in enumerate(wanted.questions):
        for arm in arms:
            check_sampler(asked.sampler, arm.space)
        name = asked.study if asked.study is None or len(wanted.questions) == 1 else f"{asked.study}-{number + 1}"
        contests.append(
            contest_of(
                config,
                question,
                arms,
                trials=asked.trials,
                seeds=wanted.seeds,
                sampler=asked.sampler,
                name=name,
                storage=asked.storage,
                experiment=wanted.experiment,
                tracking_uri=uri,
            )
        )
    arms_of = {tuple(contest.plans) for contest in contests}
    if len(arms_of) > 1:
        raise BadInput(f"--workload: the same is compared on each, but got {' and '.join(map(str, sorted(arms_of)))}")
    if len({contest.name for contest in contests}) < len(contests):
        raise BadInput("--workload: two of them are the same experiment")
    return contests


def _checked(contests: "list[Contest]", asked: CompareOptions) -> "Layout":
    """Whatever a user could have got wrong is found here; where trainings run."""
    from cnnlab.search.studies.study import check
    from cnnlab.search.trials.trial import check_on_data
    from cnnlab.search.trials.workers import layout

    for contest in contests:
        for plan in contest.plans.values():
            check(plan)
            check_on_data(plan)
    place = contests[0].config.place
    return layout(asked.workers, place.device, place.threads)


def _compare(
    contest: "Contest",
    wanted: Wanted,
    uri: str,
    where: "Layout",
    followed: Followed,
    interrupt: Interrupt,
    *,
    quiet: bool,
) -> "Comparison":
    """Train what is left of a comparison, and leave its report."""
    from cnnlab.comparison.contests import is_done
    from cnnlab.comparison.journal import ended as comparison_ended
    from cnnlab.comparison.journal import open_comparison, write_mean_curves
    from cnnlab.comparison.report import write_comparison

    joining = wanted.asked.study is not None
    with open_comparison(contest, wanted.experiment, uri, joining=joining) as (run, journal):
        followed.look_at(run, 0)
        for plan in contest.plans.values():
            if not interrupt.number:
                _work_on_arm(replace(plan, above=run.run_id), where, followed, interrupt, quiet=quiet)
        found = judged(contest, wanted.asked, str(where))
        done = all(is_done(plan) for plan in contest.plans.values())
        if not done:
            found = replace(found, warnings=("not all was trained; the same command goes on",))
        if journal:
            if done or not interrupt.number:
                with open_status(quiet, "drawing the figures"):
                    write_comparison(found, run.path / "report")
            for curve in write_mean_curves(found, contest, run) if done else []:
                followed.look_at(curve, 0)
            journal.write(comparison_ended(found, "" if done else "not all was trained; the same command goes on"))
    return found


def _work_on_arm(plan: "Plan", where: "Layout", followed: Followed, interrupt: Interrupt, *, quiet: bool) -> None:
    from cnnlab.search.studies.claims import study_slots
    from cnnlab.search.studies.journal import open_sweep
    from cnnlab.search.studies.study import open_or_make
    from cnnlab.search.trials.stages import Search

    plan, journal = open_sweep(plan)
    with journal:
        with open_sweep_view(quiet, plan, str(where)) as view:
            work_on(plan, journal, where, None, interrupt, followed, view)
        journal.end(ended(plan, study_slots(open_or_make(plan.study, plan.storage), Search(plan).wanted)))


def judged(contest: "Contest", asked: CompareOptions, where: str) -> "Comparison":
    """What has been found by now."""
    from cnnlab.comparison.contests import caveats, result_of
    from cnnlab.comparison.verdicts import judge

    arms = [result_of(plan, name) for name, plan in contest.plans.items()]
    return judge(contest.question, arms, asked.margin / 100, asked.target, caveats(contest, where), contains)


def _progress(contests: "list[Contest]") -> str:
    """How far each arm got: `sgd 4 of 4 trials, momentum 1 of 4`."""
    from cnnlab.comparison.contests import result_of

    arms = [
        f"{name} {len(result_of(plan, name).tried)} of {plan.trials} trials"
        for contest in contests
        for name, plan in contest.plans.items()
    ]
    return ", ".join(arms)


def _exit_code(found: "dict[str, Comparison]") -> int:
    if not any(comparison.pairs for comparison in found.values()):
        complain("fewer than two arms were trained to their end; see the reasons by cnnlab show STUDY")
        return 1
    return 0
