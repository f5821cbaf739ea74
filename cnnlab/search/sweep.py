"""A sweep from its config to what was found: `with Sweep(config, search) as sweep: ...`; PyTorch comes as it begins."""

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
from cnnlab.records import RunStarted
from cnnlab.result import Result
from cnnlab.search import forkserver
from cnnlab.search.plan import Plan
from cnnlab.tracking import RunDir, last, read
from cnnlab.work import Work

if TYPE_CHECKING:
    from cnnlab.search.findings import Findings, Preview
    from cnnlab.search.studies import Slot, SweepJournal
    from cnnlab.search.trials import Layout, SweepState


class Sweep(Work["SweepState"]):
    """A sweep at work. Iterate over it to run its trials; each state is the sweep as it stands.

    On leaving its `with`, or at the iteration's end without one, what was found is written down too.
    """

    def __init__(
        self,
        config: Given = None,
        search: Mapping[str, Any] | Sequence[str] = (),
        **options: Any,
    ) -> None:
        """Search hyperparameters, with `config` as trial 0. The same sweep again continues where it stopped.

        Args:
            config: the experiment as written; a `RunConfig`, plain values, or a YAML file.
            search: what may be tried beside the config's own `search`, or beside the default ranges: as YAML has it, or
                as --search's words.
            options: the fields of `cnnlab.config.commands.SweepOptions`.

        Raises:
            BadInput: the config is none; a range, a number or a name that is not allowed; MLflow takes no such URI.
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
        self._layout: Layout | None = None
        self._journal: SweepJournal | None = None
        self._open = ExitStack()
        self._findings: Findings | None = None
        self._began = time.monotonic()
        self._seconds = 0.0

    @property
    def layout(self) -> "Layout":
        """Where trials run. Raises RuntimeError before it was looked for."""
        if self._layout is None:
            raise RuntimeError("where trials run is known after check()")
        return self._layout

    @property
    def findings(self) -> "Findings":
        """What has been found by now."""
        from cnnlab.search.findings import findings_of

        return self._findings or findings_of(self.plan)

    @property
    def seconds(self) -> float:
        """From the beginning to what was found, without the wait for MLflow, which goes on by itself."""
        return self._seconds or time.monotonic() - self._began

    @property
    def result(self) -> Result:
        """The object that `cnnlab sweep --json` prints."""
        from cnnlab.search.findings import sweep_result

        return sweep_result(self.findings, self.seconds)

    def check(self) -> None:
        """Name the study and find whatever is wrong; writes nothing but the data cache.

        Raises:
            BadInput: a sampler that the space does not suit or that is not installed, a study that was made for
                something else, a range with an end that cannot be trained on this data.
        """
        from cnnlab.search.studies import check_same, placed
        from cnnlab.search.trials import checked_on_data, fitted, layout

        self.plan = placed(fitted(self.plan))
        check_same(self.plan)
        place = self.plan.config.place
        self._layout = layout(self.options.worker_count, place.device, place.threads)
        self.plan = checked_on_data(self.plan)

    def preview(self) -> "Preview":
        """What the sweep would do; writes nothing but the data cache. Raises BadInput as `check`."""
        from cnnlab.search.findings import preview

        self.check()
        return preview(self.plan, self.layout)

    def begin(self) -> None:
        """Check, make or find the study, and be the process that writes its journal.

        Raises:
            BadInput: as `check`.
            InUse: a live process has this study, and it is not joined by its name.
        """
        from cnnlab.search.studies import extend, open_sweep

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
                self.layout,
                self.deliveries,
                interrupted=lambda: self.stopped,
                timeout=self.options.timeout,
            )

    def conclude(self) -> "Findings":
        """Read what was found, leave the report in the study's folder, and write the sweep's last word."""
        from cnnlab.search.findings import findings_of, write_report

        assert self._journal is not None
        self._findings = findings_of(self.plan)
        write_report(self._findings)
        self._journal.end(self._findings.slots)
        self._open.close()
        self._seconds = time.monotonic() - self._began
        return self._findings

    def _begin(self) -> None:
        self._began = time.monotonic()
        if self.options.workers != 1:
            forkserver.start()

    def _end(self, error: BaseException | None) -> None:
        with self._open:
            if not error and self._journal and not self._findings:
                self.conclude()
            elif error and self._journal and self._journal.ours:
                self._journal.run.end_by(error)


def _decided(options: SweepOptions, size: int | None) -> SweepOptions:
    """The options for a space of `size` points (None for a range): a small one is tried whole, by a grid."""
    sampler, trials = options.sampler, options.trials
    if sampler is None and size is not None and size <= max(trials or 0, DEFAULT_TRIALS):
        sampler = "grid"
    if sampler == "grid" and size is not None:
        trials = min(trials or size, size)
    return options.model_copy(update={"sampler": sampler, "trials": trials})


def work_on(
    journal: "SweepJournal",
    plan: Plan,
    layout: "Layout",
    deliveries: Deliveries,
    *,
    interrupted: Callable[[], bool],
    timeout: float | None = None,
) -> "Iterator[SweepState]":
    """Take part in a sweep until all its trials have ended; what ends is written down, what begins is delivered."""
    from cnnlab.search.findings import load_plots
    from cnnlab.search.trials import run_trials

    deliveries.add(journal.run)
    for state in run_trials(plan, layout, timeout, interrupted):
        if state.stage.name == "search":
            journal.note(state.slots)
        deliver_begun(state.slots, deliveries)
        yield state
        if not state.waiting and state.running < layout.workers:
            load_plots()


def deliver_begun(slots: "list[Slot]", deliveries: Deliveries) -> None:
    """Tell the courier of the runs that have begun since the last time."""
    for slot in slots:
        if slot.run_dir is not None:
            for file in sorted(Path(slot.run_dir).rglob("journal.jsonl")):
                run, attempt = RunDir(file.parent), len(slot.attempts)
                if not deliveries.has(run, attempt) and _has_begun(run):
                    deliveries.add(run, attempt)


def _has_begun(run: RunDir) -> bool:
    """Whether its process has its lock by now, so that from now on it is seen to be alive or dead."""
    from cnnlab.search.trials import SEEDS

    if not run.is_created():
        return False
    return run.created.tags.get("kind") == SEEDS or last(read(run.journal_file)[0], RunStarted) is not None
