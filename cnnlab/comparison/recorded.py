"""A comparison's own run: the parent of its arms' sweeps, its report, and each arm's mean curve as a run of its own."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from cnnlab.comparison.contests import NOT_ALL, Contest, folder_of, is_done, verdicts_of
from cnnlab.comparison.figures import band
from cnnlab.comparison.verdicts import ArmResult, Verdicts, sentence
from cnnlab.config import changed
from cnnlab.errors import BadInput, InUse
from cnnlab.records import ComparisonEnded, ComparisonStarted, MeanOfSeeds, RunEnded
from cnnlab.run import config_of, create_run
from cnnlab.search.storage import storage_url
from cnnlab.search.study import find_or_make_run, stored_plan
from cnnlab.tracking import Journal, RunDir, last, read

KIND = "comparison"


@contextmanager
def open_comparison(
    contest: Contest, experiment: str, tracking_uri: str, where: str, *, joining: bool
) -> Iterator[tuple[RunDir, Journal | None]]:
    """Make the comparison's run, or find it, and be the process that writes it.

    Args:
        where: the number of trainings that run side by side, in words.
        joining: take part without a journal if another process writes it.

    Raises:
        InUse: a live process has this comparison, and it is not to be joined.
    """
    run = find_or_make_run(
        contest.config,
        contest.folder,
        experiment=experiment,
        tracking_uri=tracking_uri,
        parent=None,
        tags={"study": contest.name, "kind": KIND, "dataset": contest.config.data.dataset},
    )
    with ExitStack() as held:
        try:
            held.enter_context(run.hold())
        except InUse:
            if not joining:
                raise InUse(
                    f"{contest.name}: a live process ({run.holder()}) has this comparison; join it by "
                    f"--study {contest.name}"
                ) from None
            yield run, None
            return
        journal = held.enter_context(Journal(run.journal_file))
        journal.write(
            ComparisonStarted(
                time=time.time(),
                name=contest.name,
                question=contest.question,
                arms=tuple(contest.plans),
                trials=contest.trials,
                seeds=contest.seeds,
                score=contest.score,
                margin=contest.margin,
                target=contest.target,
                where=where,
            )
        )
        yield run, journal


def stored_verdicts(name: str, storage: str | None) -> tuple[Verdicts, float]:
    """What a comparison has found by now, and the seconds that it took.

    Args:
        name: the comparison's.
        storage: --storage.

    Raises:
        BadInput: the studies of its arms are not there.
    """
    run = RunDir(folder_of(name))
    records = read(run.journal_file)[0]
    started, ended = last(records, ComparisonStarted), last(records, ComparisonEnded)
    studies = {arm: f"{name}.{arm}" for arm in (started.arms if started else ())}
    stored = {arm: stored_plan(study, storage_url(storage, study)) for arm, study in studies.items()}
    plans = {arm: plan for arm, plan in stored.items() if plan}
    if started is None or not plans:
        raise BadInput(
            f"{name}: its studies are not in {storage or 'mlruns/studies'}; if they are in a database, add --storage"
        )
    contest = Contest(name, started.question, config_of(run), plans, started.margin, started.target)
    found = verdicts_of(contest, started.where)
    if plans != stored or not all(map(is_done, plans.values())):
        found = replace(found, warnings=(NOT_ALL,))
    return found, (ended.time if ended and ended.time > started.time else time.time()) - started.time


def last_word(found: Verdicts, reason: str) -> ComparisonEnded:
    """What the comparison has come to, until it goes on.

    Args:
        found: what was found.
        reason: why it has not come to its end; empty if it has.
    """
    return ComparisonEnded(
        time=time.time(),
        status="interrupted" if reason else "finished",
        reason=reason,
        scores={name: summary.mean for name, summary in found.summaries.items()},
        ranking=tuple(found.ranking),
        verdict=sentence(found),
        score=found.score.name,
    )


def write_mean_curves(found: Verdicts, contest: Contest, run: RunDir) -> list[RunDir]:
    """Make a run for each arm whose curve is the mean over its finals, with the band; returns those that are new."""
    return [
        made for arm in found.arms if arm.finals and (made := _write_mean_curve(arm, found, contest, run)) is not None
    ]


def _write_mean_curve(arm: ArmResult, found: Verdicts, contest: Contest, above: RunDir) -> RunDir | None:
    seeds = len(arm.finals)
    name = f"{arm.name}-mean-of-{seeds}-seeds"
    folder = above.path / "curves" / f"{name}-of-trial-{arm.best_trial}"
    if RunDir(folder).is_created():
        return None
    plan = contest.plans[arm.name]
    config = changed(plan.config, {**arm.best_params, "name": name})
    tags = {"study": contest.name, "kind": "mean of seeds", "arm": arm.name, "seeds": str(seeds)}
    run = create_run(config, plan.experiment, plan.tracking_uri, folder, parent=above.run_id, tags=tags)
    points = band(arm.finals)
    with run.hold(), Journal(run.journal_file) as journal:
        now = time.time()
        for point in points:
            journal.write(
                MeanOfSeeds(
                    time=now + point.seconds,
                    step=point.step,
                    train_loss=point.train_loss,
                    val=point.val,
                    score=found.score.name,
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
                test={found.score.name: found.summaries[arm.name].mean},
                score=found.score.name,
            )
        )
    return run
