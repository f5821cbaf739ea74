"""A comparison's run, which is the parent of its arms' sweeps, and a run per arm with its mean curve."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from cnnlab.comparison.contests import NOT_ALL, Contest, folder_of, is_done, study_of, verdicts_of
from cnnlab.comparison.figures import band
from cnnlab.comparison.verdicts import ArmResult, Verdicts, sentence
from cnnlab.config import changed
from cnnlab.config.commands import Design
from cnnlab.errors import BadInput, InUse
from cnnlab.records import ComparisonEnded, ComparisonStarted, MeanOfFinals, RunEnded
from cnnlab.run import config_of, create_run
from cnnlab.search.storage import storage_url
from cnnlab.search.study import find_or_make_run, stored_plan
from cnnlab.tracking import Journal, RunDir, last, read


@contextmanager
def open_comparison(
    contest: Contest, experiment: str, tracking_uri: str, where: str, *, joining: bool
) -> Iterator[tuple[RunDir, Journal | None]]:
    """Create the comparison's run, or find it, and hold it; yields the run and its journal.

    Args:
        where: the number of trainings that run side by side, in words.
        joining: if another process holds the run, take part without a journal.

    Raises:
        InUse: a live process has this comparison, and it is not to be joined.
    """
    run = find_or_make_run(
        contest.config,
        contest.folder,
        experiment=experiment,
        tracking_uri=tracking_uri,
        parent=None,
        tags={"study": contest.name, "kind": "comparison", "dataset": contest.config.data.dataset},
    )
    with ExitStack() as stack:
        try:
            stack.enter_context(run.hold())
        except InUse:
            if not joining:
                raise InUse(
                    f"{contest.name}: a live process ({run.holder()}) has this comparison; join it by "
                    f"--study {contest.name}"
                ) from None
            yield run, None
            return
        journal = stack.enter_context(Journal(run.journal_file))
        journal.write(
            ComparisonStarted(
                time=time.time(),
                name=contest.name,
                question=contest.question,
                arms=tuple(contest.plans),
                tunings=contest.tunings,
                trials=contest.trials,
                seeds=contest.seeds,
                test_size=contest.test_size,
                chance=contest.chance,
                score=contest.score,
                margin=contest.margin,
                target=contest.target,
                where=where,
            )
        )
        yield run, journal


def stored_verdicts(name: str, storage: str | None) -> tuple[Verdicts, float]:
    """The verdicts of a comparison on the trainings that have ended, and its seconds.

    Args:
        name: the comparison's.
        storage: --storage.

    Raises:
        BadInput: the storage has none of its arms' studies.
    """
    run = RunDir(folder_of(name))
    records = read(run.journal_file)[0]
    started, ended = last(records, ComparisonStarted), last(records, ComparisonEnded)
    studies = (
        {arm: [study_of(name, arm, number) for number in range(started.tunings)] for arm in started.arms}
        if started
        else {}
    )
    stored = {
        arm: tuple(plan for study in some if (plan := stored_plan(study, storage_url(storage, study))))
        for arm, some in studies.items()
    }
    plans = {arm: some for arm, some in stored.items() if some}
    if started is None or not plans:
        raise BadInput(
            f"{name}: its studies are not in {storage or 'mlruns/studies'}; if they are in a database, add --storage"
        )
    contest = Contest(
        name,
        started.question,
        config_of(run),
        plans,
        started.margin,
        started.target,
        started.test_size,
        started.chance,
    )
    design = Design(started.tunings, started.trials, started.seeds)
    verdicts = verdicts_of(contest, started.where, look_at(run, design))
    complete = all(len(some) == started.tunings and all(map(is_done, some)) for some in stored.values())
    if not complete:
        verdicts = replace(verdicts, warnings=(NOT_ALL,))
    return verdicts, (ended.time if ended and ended.time > started.time else time.time()) - started.time


def look_at(run: RunDir, design: Design) -> int:
    """The number of complete results of a comparison with other designs, this one included."""
    ended = [record for record in read(run.journal_file)[0] if isinstance(record, ComparisonEnded)]
    looks = list(dict.fromkeys(Design(r.tunings, r.trials, r.seeds) for r in ended if r.status == "finished"))
    return (looks.index(design) if design in looks else len(looks)) + 1


def comparison_ended(verdicts: Verdicts, contest: Contest, reason: str) -> ComparisonEnded:
    """The comparison's last record.

    Args:
        reason: why it is not complete; empty if it is.
    """
    return ComparisonEnded(
        time=time.time(),
        status="interrupted" if reason else "finished",
        reason=reason,
        scores={name: summary.mean for name, summary in verdicts.summaries.items()},
        ranking=tuple(verdicts.ranking),
        verdict=sentence(verdicts),
        claim=verdicts.claim,
        tunings=contest.tunings,
        trials=contest.trials,
        seeds=contest.seeds,
        score=verdicts.score.name,
    )


def write_mean_curves(verdicts: Verdicts, contest: Contest, run: RunDir) -> list[RunDir]:
    """Create a run for each arm, with the mean curve of its finals; returns those that are new."""
    runs = [_write_mean_curve(arm, verdicts, contest, run) for arm in verdicts.arms if arm.name in verdicts.summaries]
    return [run for run in runs if run is not None]


def _write_mean_curve(arm: ArmResult, verdicts: Verdicts, contest: Contest, above: RunDir) -> RunDir | None:
    name = f"{arm.name}-mean-of-{len(arm.finals)}-finals"
    trials = "-".join(str(tuning.best_trial) for tuning in arm.tunings)
    folder = above.path / "curves" / f"{name}-of-trials-{trials}"
    if RunDir(folder).is_created():
        return None
    plan = contest.plans[arm.name][0]
    config = changed(plan.config, {**arm.best_params(verdicts.score), "name": name})
    tags = {"study": contest.name, "kind": "mean of finals", "arm": arm.name, "finals": str(len(arm.finals))}
    run = create_run(config, plan.experiment, plan.tracking_uri, folder, parent=above.run_id, tags=tags)
    points = band(arm.finals, verdicts.score)
    with run.hold(), Journal(run.journal_file) as journal:
        now = time.time()
        for point in points:
            journal.write(
                MeanOfFinals(
                    time=now + point.seconds,
                    step=point.step,
                    train_loss=point.train_loss,
                    val=point.val,
                    score=verdicts.score.name,
                    low=point.low,
                    high=point.high,
                )
            )
        journal.write(
            RunEnded(
                time=now,
                status="finished",
                reason="",
                step=points[-1].step if points else 0,
                epoch=len(points),
                test={verdicts.score.name: verdicts.summaries[arm.name].mean},
                score=verdicts.score.name,
            )
        )
    return run
