"""What a comparison and a lab have in common: contests, whose arms are trained by processes and recorded."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from cnnlab.config.commands import WorkerOptions
from cnnlab.search.run_sweep import start_fork_server, work_on
from cnnlab.tracking import Journal, RunDir
from cnnlab.work import Work

if TYPE_CHECKING:
    from cnnlab.comparison.contests import Contest
    from cnnlab.search import Plan
    from cnnlab.search.workers import SweepState, Workers


class ContestWork(Work["SweepState"]):
    """Contests that are trained one after the other."""

    def __init__(self, options: WorkerOptions, *, joining: bool = False) -> None:
        """Raises BadInput if MLflow does not accept the URI.

        Args:
            joining: take part in contests that another process has.
        """
        super().__init__(options.experiment_name, options.tracking_uri)
        self._workers_asked, self._joining = options.worker_count, joining
        self.contests: list[Contest] = []
        self._run: RunDir | None = None
        self._journal: Journal | None = None
        self._open = ExitStack()
        self._workers: Workers | None = None
        self._began = time.monotonic()

    @property
    def workers(self) -> "Workers":
        """Where trainings run. Raises RuntimeError if `check` has not been called."""
        if self._workers is None:
            raise RuntimeError("call check() first; it finds out where trainings run")
        return self._workers

    def tune(self, contest: "Contest") -> "Iterator[SweepState]":
        """Train what is left of a contest: each tuning of one arm after the other. `_end` closes it.

        Raises:
            InUse: a live process has this comparison, and is not to be joined.
        """
        from cnnlab.comparison.recorded import open_comparison

        self._run, self._journal = self._open.enter_context(
            open_comparison(contest, self.experiment_name, self.tracking_uri, str(self.workers), joining=self._joining)
        )
        self.deliveries.add(self._run)
        for number in range(contest.tunings):  # all arms of one tuning first, so that they meet the same machine
            for plans in contest.plans.values():
                if not self.stopped:
                    yield from self._tune(plans[number])

    def _open_for(self, contests: "list[Contest]") -> None:
        """Check that the studies are those of the contests, and take the workers of the first one's place."""
        from cnnlab.search.study import check_same
        from cnnlab.search.workers import Workers

        for contest in contests:
            for plans in contest.plans.values():
                for plan in plans:
                    check_same(plan)
        place = contests[0].config.place
        self._workers = Workers.of(self._workers_asked, place.device, place.threads)
        self.contests = contests

    def _begin(self) -> None:
        self._began = time.monotonic()
        if self._workers_asked != 1:
            start_fork_server()

    def _end(self, error: BaseException | None) -> None:
        """Close the current contest's run; if an error ended it, write that as its last record."""
        with self._open:
            if error and self._run and self._journal:
                self._run.end_by(error)
        self._run = self._journal = None

    def _tune(self, plan: "Plan") -> "Iterator[SweepState]":
        from cnnlab.search.slots import best_first
        from cnnlab.search.stages import Search, slots_of
        from cnnlab.search.study import open_sweep

        assert self._run is not None
        plan, journal = open_sweep(replace(plan, above=self._run.run_id))
        with journal:
            yield from work_on(journal, plan, self.workers, self.deliveries, interrupted=lambda: self.stopped)
            slots = slots_of(Search(plan))
            journal.end(slots, next(iter(best_first(slots, plan.score)), None))
