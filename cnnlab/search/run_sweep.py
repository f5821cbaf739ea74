"""A sweep from its config to its findings: `with Sweep(config, search) as sweep: ...`.

Importing this imports neither PyTorch nor Optuna.
"""

import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnlab.config import Given, config_given
from cnnlab.config.commands import DEFAULT_TRIALS, SweepOptions, options_from
from cnnlab.config.space_reading import read_space
from cnnlab.courier import Deliveries
from cnnlab.errors import InUse
from cnnlab.process import FOLDER_WITHOUT_MODULES, shorten_socket_paths, signals_held_back
from cnnlab.records import RunStarted
from cnnlab.result import Result
from cnnlab.search.plan import Plan
from cnnlab.tracking import RunDir, last, read
from cnnlab.work import Work

if TYPE_CHECKING:
    from cnnlab.search.findings import Findings
    from cnnlab.search.preview import Preview
    from cnnlab.search.slots import Slot
    from cnnlab.search.study import SweepJournal
    from cnnlab.search.workers import SweepState, Workers


class Sweep(Work["SweepState"]):
    """A sweep. Iterate over it to run its trials; each state is the sweep as it is then.

    At the end of its `with`, or of the iteration without one, its findings are written.
    """

    def __init__(self, config: Given = None, search: Mapping[str, Any] | Sequence[str] = (), **options: Any) -> None:
        """Search hyperparameters, with `config` as trial 0. The same sweep again continues where it stopped.

        Args:
            config: the experiment as written; a `RunConfig`, plain values, or a YAML file.
            search: ranges beside the config's `search`, or beside the default ranges: as in YAML, or as words of
                --search.
            options: the fields of `cnnlab.config.commands.SweepOptions`.

        Raises:
            BadInput: an invalid config; a range, a number or a name that is not allowed; MLflow takes no such URI.
        """
        self.options = options_from(SweepOptions, options)
        super().__init__(self.options.experiment_name, self.options.tracking_uri)
        config = config_given(config)
        space = read_space(config, search, only=self.options.only, offer=self.options.sampler != "grid")
        self.plan = Plan.of(
            config,
            space,
            _decided(self.options, space.size),
            experiment=self.experiment_name,
            tracking_uri=self.tracking_uri,
        )
        self._workers: Workers | None = None
        self._journal: SweepJournal | None = None
        self._open = ExitStack()
        self._findings: Findings | None = None
        self._began = time.monotonic()
        self._seconds = 0.0

    @property
    def workers(self) -> "Workers":
        """Raises RuntimeError if `check()` has not been called."""
        if self._workers is None:
            raise RuntimeError("the workers are known after check()")
        return self._workers

    @property
    def findings(self) -> "Findings":
        """The findings by now."""
        from cnnlab.search.findings import findings_of

        return self._findings or findings_of(self.plan)

    @property
    def seconds(self) -> float:
        """From the beginning to the findings, without the delivery to MLflow."""
        return self._seconds or time.monotonic() - self._began

    @property
    def result(self) -> Result:
        """The object that `cnnlab sweep --json` prints."""
        from cnnlab.search.findings import sweep_result

        return sweep_result(self.findings, self.seconds)

    def check(self) -> None:
        """Name the study and check everything that was given; writes nothing but the data cache.

        Raises:
            BadInput: a sampler that the space does not suit or that is not installed, a study that was made for
                something else, a range with an end that cannot be trained on this data.
        """
        from cnnlab.search.preview import checked_on_data, fitted
        from cnnlab.search.study import check_same, with_study
        from cnnlab.search.workers import Workers

        self.plan = with_study(fitted(self.plan))
        check_same(self.plan)
        place = self.plan.config.place
        self._workers = Workers.of(self.options.worker_count, place.device, place.threads)
        self.plan = checked_on_data(self.plan)

    def preview(self) -> "Preview":
        """What the sweep would do; writes nothing but the data cache. Raises BadInput as `check`."""
        from cnnlab.search.preview import preview

        self.check()
        return preview(self.plan, self.workers)

    def begin(self) -> None:
        """Check, make or open the study, and become the process that writes its journal.

        Raises:
            BadInput: as `check`.
            InUse: a live process has this study, and --study does not name it.
        """
        from cnnlab.search.study import extend, open_sweep

        self.check()
        if self.options.extend:
            extend(self.plan, self.options.extend, self.options.storage)
        self.plan, journal = open_sweep(self.plan)
        self._journal = self._open.enter_context(journal)
        if not journal.ours and self.options.study is None:
            raise InUse(
                f"{self.plan.study}: a live process ({journal.run.holder()}) has this study; join it by --study "
                f"{self.plan.study}"
            )

    def __iter__(self) -> "Iterator[SweepState]":
        """Run trials until all have ended or `stop` is called."""
        with self._entered():
            if self._journal is None:
                self.begin()
            assert self._journal is not None
            yield from work_on(
                self._journal,
                self.plan,
                self.workers,
                self.deliveries,
                interrupted=lambda: self.stopped,
                timeout=self.options.timeout,
            )

    def conclude(self) -> "Findings":
        """Read the findings, write the report into the study's folder, and write the sweep's last record."""
        from cnnlab.search.findings import findings_of
        from cnnlab.search.sweep_report import write_report

        assert self._journal is not None
        self._findings = findings_of(self.plan)
        write_report(self._findings)
        warnings = [advice.text for advice in self._findings.warnings]
        self._journal.end(self._findings.slots, self._findings.best, warnings)
        self._open.close()
        self._seconds = time.monotonic() - self._began
        return self._findings

    def _begin(self) -> None:
        self._began = time.monotonic()
        if self.options.workers != 1:
            start_fork_server()

    def _end(self, error: BaseException | None) -> None:
        with self._open:
            if not error and self._journal and not self._findings:
                self.conclude()
            elif error and self._journal and self._journal.ours:
                self._journal.run.end_by(error)


def _decided(options: SweepOptions, size: int | None) -> SweepOptions:
    """The options with sampler and trials decided: a grid if the space has few points.

    size: the number of points of the space; None if it has a range.
    """
    sampler, trials = options.sampler, options.trials
    if sampler is None and size is not None and size <= max(trials or 0, DEFAULT_TRIALS):
        sampler = "grid"
    if sampler == "grid" and size is not None:
        trials = min(trials or size, size)
    return options.model_copy(update={"sampler": sampler, "trials": trials})


def work_on(
    journal: "SweepJournal",
    plan: Plan,
    workers: "Workers",
    deliveries: Deliveries,
    *,
    interrupted: Callable[[], bool],
    timeout: float | None = None,
) -> "Iterator[SweepState]":
    """Take part in a sweep until all its trials have ended; record those that end, and deliver those that begin."""
    from cnnlab.search.sweep_report import load_plots
    from cnnlab.search.workers import run_trials

    deliveries.add(journal.run)
    for state in run_trials(plan, workers, timeout, interrupted):
        if state.stage.name == "search":
            journal.note(state.slots)
        deliver_begun(state.slots, deliveries)
        yield state
        if not state.waiting and state.running < workers.number:
            load_plots()


def deliver_begun(slots: "list[Slot]", deliveries: Deliveries) -> None:
    """Tell the courier of the runs that have begun since the last time."""
    from cnnlab.search.trial import SEEDS

    for slot in slots:
        for file in sorted(Path(slot.run_dir).rglob("journal.jsonl")) if slot.run_dir else []:
            run, attempt = RunDir(file.parent), len(slot.attempts)
            if deliveries.has(run, attempt) or not run.is_created():
                continue
            # not before its process holds its lock, which shows whether the process lives
            if run.created.tags.get("kind") == SEEDS or last(read(run.journal_file)[0], RunStarted) is not None:
                deliveries.add(run, attempt)


def start_fork_server() -> None:
    """Start the process that workers are forked from: it imports PyTorch meanwhile, and touches no device.

    Does nothing if it runs, on a system that has none, or in a daemonic process, which may have no workers.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods() or multiprocessing.current_process().daemon:
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload(["cnnlab.search.workers"])
    shorten_socket_paths()
    here = os.getcwd()
    # Python starts the server by `-c`, which searches the current folder first, where the user's `random.py` may be.
    # The workers get the path and the current folder of this process.
    os.chdir(FOLDER_WITHOUT_MODULES)
    try:
        for server in (multiprocessing.resource_tracker, multiprocessing.forkserver):
            with signals_held_back():  # for each: the start of the first server lets two signals through
                server.ensure_running()
    finally:
        os.chdir(here)
