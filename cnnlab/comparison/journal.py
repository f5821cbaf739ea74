"""A comparison's own run: the parent of its arms' sweeps, its report, and each arm's mean curve as a run of its own."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from cnnlab.comparison.contests import Contest
from cnnlab.comparison.figures import band
from cnnlab.comparison.verdicts import ArmResult, Comparison, sentence
from cnnlab.config import RunConfig, changed
from cnnlab.errors import InUse
from cnnlab.records import ComparisonEnded, ComparisonStarted, MeanOfSeeds, RunEnded, Status
from cnnlab.run import create_run
from cnnlab.search.studies.journal import find_or_make_run
from cnnlab.tracking import Journal, RunDir, studies_root

KIND = "comparison"


def folder_of(name: str) -> Path:
    """What this machine keeps of a comparison, beside the folders of its arms' studies."""
    return (studies_root() / name).absolute()


@contextmanager
def open_comparison(
    contest: Contest, experiment: str, tracking_uri: str, *, joining: bool
) -> Iterator[tuple[RunDir, Journal | None]]:
    """Make the comparison's run, or find it, and be the one that writes it.

    Args:
        joining: take part without a journal where another process writes it.

    Raises:
        InUse: a live process has this comparison, and it is not to be joined.
    """
    tags = {"study": contest.name, "kind": KIND, "dataset": contest.config.data.dataset}
    run = find_or_make_run(contest.config, experiment, tracking_uri, folder_of(contest.name), None, tags)
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
                time.time(), contest.name, contest.question, tuple(contest.plans), contest.trials, contest.seeds
            )
        )
        yield run, journal


def ended(found: Comparison | None, reason: str) -> ComparisonEnded:
    """The last word, until it goes on."""
    status: Status = "interrupted" if reason else "finished"
    if found is None:
        return ComparisonEnded(time.time(), status, reason, {}, (), "")
    scores = {name: summary.mean for name, summary in found.summaries.items()}
    return ComparisonEnded(time.time(), status, reason, scores, tuple(found.ranking), sentence(found))


def write_mean_curves(found: Comparison, contest: Contest, run: RunDir) -> list[RunDir]:
    """For each arm a run whose curve is the mean over its finals, with the band; those that are new."""
    return [
        made for arm in found.arms if arm.finals and (made := _write_mean_curve(arm, found, contest, run)) is not None
    ]


def _write_mean_curve(arm: ArmResult, found: Comparison, contest: Contest, above: RunDir) -> RunDir | None:
    seeds = len(arm.finals)
    name = f"{arm.name}-mean-of-{seeds}-seeds"
    folder = above.path / "curves" / f"{name}-of-trial-{arm.best_trial}"
    if RunDir(folder).has_begun():
        return None
    plan = contest.plans[arm.name]
    config: RunConfig = changed(plan.config, {**arm.best_params, "name": name})
    tags = {"study": contest.name, "kind": "mean of seeds", "arm": arm.name, "seeds": str(seeds)}
    run = create_run(config, plan.experiment, plan.tracking_uri, folder, parent=above.run_id, tags=tags)
    rows = band(arm.finals)
    with run.hold(), Journal(run.journal_file) as journal:
        now = time.time()
        for epoch, (step, seconds, mean, low, high) in enumerate(rows):
            losses = [final.history[epoch][2] for final in arm.finals if len(final.history) > epoch]
            journal.write(MeanOfSeeds(now + seconds, step, float(np.mean(losses)), mean, low, high))
        summary = found.summaries[arm.name]
        step, test = rows[-1][0] if rows else 0, {"accuracy": summary.mean}
        journal.write(RunEnded(now, "finished", "", step, len(rows), test=test))
    return run
