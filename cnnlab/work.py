"""What a training, a sweep and a comparison have in common, and the training: one run from its config to MLflow.

PyTorch is imported when the work begins.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cnnlab.config import Given, as_config, config_given
from cnnlab.courier import Deliveries
from cnnlab.errors import InUse
from cnnlab.process import brief_spins
from cnnlab.reading import run_result
from cnnlab.records import Record, RunStarted
from cnnlab.result import Result
from cnnlab.tracking import RunDir, end_dead, find_run, present_store, resolve, resolve_experiment

if TYPE_CHECKING:
    from cnnlab.run import Prepared


State = TypeVar("State", covariant=True)
Itself = TypeVar("Itself", bound="Work[object]")


class Work(ABC, Generic[State]):
    """Work that is recorded. Iterate over it to do it.

    A context manager: on leaving it, MLflow is waited for. Without one, the iteration waits at its end.

    Args:
        experiment_name: MLflow's experiment; None for $MLFLOW_EXPERIMENT_NAME, or else cnnlab.
        tracking_uri: MLflow's; "none" to deliver nothing until a sync; None for the default.

    Raises:
        BadInput: an empty name; MLflow takes no such URI.
    """

    def __init__(self, experiment_name: str | None, tracking_uri: str | None) -> None:
        self.experiment_name = resolve_experiment(experiment_name)
        self.tracking_uri = resolve(tracking_uri)
        self.undelivered: str | None = None
        self.stopped = False
        self._deliveries: Deliveries | None = None
        self._left = ExitStack()

    @property
    @abstractmethod
    def result(self) -> Result:
        """The object that the command prints with --json."""

    @abstractmethod
    def __iter__(self) -> Iterator[State]:
        """Do the work, to its end or until `stop`."""

    @property
    def deliveries(self) -> Deliveries:
        """What the courier was told of. Raises RuntimeError outside of `with`."""
        if self._deliveries is None:
            raise RuntimeError("there is a courier within `with` only")
        return self._deliveries

    def stop(self) -> None:
        """End the iteration soon; checkpoints are sealed first. For signal handlers."""
        self.stopped = True

    def deliver(self) -> str | None:
        """Wait until MLflow has all of it, or `stop`; returns why it has not, in words, or None if it has."""
        before = self.stopped
        self.undelivered = self.deliveries.wait(lambda: self.stopped and not before)
        return self.undelivered

    def __enter__(self: Itself) -> Itself:
        with ExitStack() as entered:
            entered.enter_context(brief_spins())  # PyTorch is loaded later, unless the caller has loaded it
            self._begin()
            self._deliveries = entered.enter_context(Deliveries(self.tracking_uri))
            self._left = entered.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        try:
            self._end(error)
            if kind is None:
                self.deliver()
        finally:
            self._left.close()
            self._deliveries = None

    def _begin(self) -> None:
        """Before anything else."""

    def _end(self, error: BaseException | None) -> None:
        """Let go of what is held, so that MLflow can have its end."""

    def _entered(self) -> AbstractContextManager[object]:
        """For iterations without a `with` of the caller's; what is dead by now is marked so."""
        end_dead()
        return nullcontext() if self._deliveries else self


log = logging.getLogger("cnnlab")


class Training(Work[Record]):
    """One run. Iterate over it to train. To stop, stop iterating: a resume starts from the checkpoint sealed then."""

    def __init__(
        self,
        config: Given = None,
        *,
        experiment_name: str | None = None,
        tracking_uri: str | None = None,
        run_dir: Path | str | None = None,
    ) -> None:
        """Train `config` as a new run.

        Args:
            config: what to train; a `RunConfig`, plain values, or a YAML file.
            experiment_name: MLflow's experiment; None for $MLFLOW_EXPERIMENT_NAME, or else cnnlab.
            tracking_uri: MLflow's; "none" to deliver nothing until a sync; None for the default.
            run_dir: where the run's files are put, if not in mlruns/runs/<run_id>.

        Raises:
            BadInput: the config is none; MLflow takes no such URI.
        """
        super().__init__(experiment_name, tracking_uri)
        self.config = config_given(config)
        self.run_dir = None if run_dir is None else Path(run_dir)
        self._run: RunDir | None = None
        self._place: dict[str, Any] = {}
        self._prepared: Prepared | None = None

    @classmethod
    def resumed(cls, word: str, place: Mapping[str, Any] | None = None, tracking_uri: str | None = None) -> "Training":
        """Go on with a run that was stopped.

        Args:
            word: its id, an unambiguous beginning of one, last, or its directory.
            place: where it goes on, if that is to be another place: dotted path -> value.
            tracking_uri: MLflow's; None for the one that the run was made for, whose password is not kept.

        Raises:
            BadInput: there is no such run, or this version cannot read its config.
            InUse: a live process has it.
        """
        run = find_run(word)
        if run.is_held():
            raise InUse(f"--resume {word}: a live process ({run.holder()}) has this run; end it first")
        if fault := run.mend():
            log.warning("%s", fault)
        created = run.created
        training = cls(
            as_config(created.config, f"{run.journal_file}: "),
            experiment_name=created.experiment,
            tracking_uri=tracking_uri or present_store(run),
        )
        training._run = run
        training._place = dict(place or {})
        return training

    @property
    def run(self) -> RunDir:
        """The run. Raises RuntimeError before it has been made."""
        if self._run is None:
            raise RuntimeError("the run is made when its training begins")
        return self._run

    @property
    def result(self) -> Result:
        """The object that `cnnlab train --json` prints, as far as the run has got."""
        return run_result(self.run)

    def prepare(self) -> None:
        """Load the data and build the network; writes nothing but the data cache.

        Raises:
            BadInput: whatever is wrong with the config on this machine and this data.
            RunFailed: the data or the network do not fit into memory.
        """
        from cnnlab.run import config_to_resume, prepare

        self._prepared = prepare(config_to_resume(self._run, self._place) if self._run else self.config)

    def __iter__(self) -> Iterator[Record]:
        """Train to the end, or until the record after `stop`; each record when the journal has it."""
        from cnnlab.run import create_run, record_run

        with self._entered():
            if self._prepared is None:
                self.prepare()
            assert self._prepared is not None
            self._run = self._run or create_run(
                self._prepared.config, self.experiment_name, self.tracking_uri, self.run_dir
            )
            with closing(record_run(self._prepared, self._run)) as records:
                for record in records:
                    if isinstance(record, RunStarted):
                        self.deliveries.add(self._run)  # not before: now its lock is held, so it is seen to be alive
                    yield record
                    if self.stopped:
                        return
