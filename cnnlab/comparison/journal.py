"""A comparison's own run: the parent of its arms' sweeps, its report, and each arm's mean curve as a run of its own."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cnnlab.comparison.contests import Contest
from cnnlab.comparison.figures import band
from cnnlab.comparison.verdicts import ArmResult, Verdicts, sentence
from cnnlab.config import changed
from cnnlab.errors import InUse
from cnnlab.records import ComparisonEnded, ComparisonStarted, MeanOfSeeds, RunEnded
from cnnlab.run import create_run
from cnnlab.search.studies import find_or_make_run
from cnnlab.tracking import Journal, RunDir, studies_root

KIND = "comparison"


def folder_of(name: str) -> Path:
    """What this machine keeps of a comparison, beside the folders of its arms' studies."""
    return (studies_root() / name).absolute()


@contextmanager
def open_comparison(
    contest: Contest, experiment: str, tracking_uri: str, *, joining: bool
) -> Iterator[tuple[RunDir, Journal | None]]:
    """Make the comparison's run, or find it, and be the process that writes it.

    Args:
        joining: take part without a journal if another process writes it.

    Raises:
        InUse: a live process has this comparison, and it is not to be joined.
    """
    run = find_or_make_run(
        contest.config,
        folder_of(contest.name),
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
            )
        )
        yield run, journal


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
    if RunDir(folder).has_begun():
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
