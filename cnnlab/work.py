"""`Work`, the base of a training, a sweep and a comparison; and `Training`: one run from its config to MLflow.

PyTorch is imported when the work begins.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cnnlab.config import Given, as_config, changed, config_given
from cnnlab.courier import Deliveries
from cnnlab.errors import InUse
from cnnlab.process import brief_spins
from cnnlab.reading import run_result
from cnnlab.records import Record, RunStarted
from cnnlab.result import Result
from cnnlab.tracking import RunDir, end_dead, find_run, present_store, read, resolve, resolve_experiment

if TYPE_CHECKING:
    from cnnlab.training import Learner


log = logging.getLogger("cnnlab")

State = TypeVar("State", covariant=True)
Itself = TypeVar("Itself", bound="Work[object]")


class Work(ABC, Generic[State]):
    """Recorded work. To do it, iterate over it.

    It is a context manager. At its end it waits for MLflow; without `with`, the end of the iteration waits.

    Args:
        experiment_name: of MLflow; None for $MLFLOW_EXPERIMENT_NAME, or else cnnlab.
        tracking_uri: of MLflow; "none" to deliver nothing until a sync; None for the default.

    Raises:
        BadInput: the name is empty, or MLflow does not accept the URI.
    """

    deliveries: Deliveries
    """The runs that the courier delivers; within `with`."""

    def __init__(self, experiment_name: str | None, tracking_uri: str | None) -> None:
        self.experiment_name = resolve_experiment(experiment_name)
        self.tracking_uri = resolve(tracking_uri)
        self.undelivered: str | None = None
        self.stopped = False
        self._left: ExitStack | None = None

    @property
    @abstractmethod
    def result(self) -> Result:
        """The object that the command prints with --json."""

    @abstractmethod
    def __iter__(self) -> Iterator[State]:
        """Do the work, to its end or until `stop` is called."""

    def stop(self) -> None:
        """End the iteration soon, after checkpoints are sealed. Signal handlers call it."""
        self.stopped = True

    def deliver(self) -> str | None:
        """Wait until MLflow has everything or `stop` is called; returns None, or why it has not everything."""
        before = self.stopped
        self.undelivered = self.deliveries.wait(lambda: self.stopped and not before)
        return self.undelivered

    def __enter__(self: Itself) -> Itself:
        with ExitStack() as entered:
            entered.enter_context(brief_spins())  # PyTorch is imported later, unless the caller has imported it
            self._begin()
            self.deliveries = entered.enter_context(Deliveries(self.tracking_uri))
            self._left = entered.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        assert self._left is not None
        with self._left:
            self._left = None
            self._end(error)
            if kind is None:
                self.deliver()

    def _begin(self) -> None:
        """Called before the courier starts."""

    def _end(self, error: BaseException | None) -> None:
        """Close what is open, so that the last records can be delivered."""

    def _entered(self) -> AbstractContextManager[object]:
        """Enters `self` for the iteration, unless the caller has done so by `with`. Also marks dead runs as ended."""
        end_dead()
        return nullcontext() if self._left else self


class Training(Work[Record]):
    """One run. To train, iterate over it. To stop, stop iterating: a checkpoint is sealed to resume from."""

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
            experiment_name, tracking_uri: as of `Work`.
            run_dir: the run's directory; None for mlruns/runs/<run_id>.

        Raises:
            BadInput: the config is invalid, or MLflow does not accept the URI.
        """
        super().__init__(experiment_name, tracking_uri)
        self.config = config_given(config)
        self.run_dir = None if run_dir is None else Path(run_dir)
        self._run: RunDir | None = None
        self._place: dict[str, Any] = {}
        self._learner: Learner | None = None

    @classmethod
    def resumed(cls, word: str, place: Mapping[str, Any] | None = None, tracking_uri: str | None = None) -> "Training":
        """A training that resumes a run.

        Args:
            word: the run's id, an unambiguous beginning of it, last, or its directory.
            place: changed settings of the place: dotted path -> value.
            tracking_uri: of MLflow; None for the one that the run's journal names, without its password.

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

    def continued(self, settings: Mapping[str, Any]) -> "Training":
        """A new training that starts from the weights of this finished run's best epoch, with `settings` changed."""
        return Training(
            changed(self.config, {"model.weights": self.run.word, **settings}),
            experiment_name=self.experiment_name,
            tracking_uri=self.tracking_uri,
        )

    @property
    def before(self) -> list[Record]:
        """The records of a resumed run so far."""
        return read(self._run.journal_file)[0] if self._run else []

    @property
    def run(self) -> RunDir:
        """The run. Raises RuntimeError if the training has not begun."""
        if self._run is None:
            raise RuntimeError("the run is created when its training begins")
        return self._run

    @property
    def result(self) -> Result:
        """The object that `cnnlab train --json` prints, with the values that are known."""
        return run_result(self.run)

    def prepare(self) -> None:
        """Load the data and build the network; writes only the data cache.

        Raises:
            BadInput: the config is invalid on this machine or with this data.
            RunFailed: the data or the network does not fit into memory.
        """
        from cnnlab.run import config_to_resume, prepare

        self._learner = prepare(config_to_resume(self._run, self._place) if self._run else self.config)

    def __iter__(self) -> Iterator[Record]:
        """Train to the end, or until the record after `stop`; yields each record after it is in the journal."""
        from cnnlab.run import create_run, record_run

        with self._entered():
            if self._learner is None:
                self.prepare()
            assert self._learner is not None
            self._run = self._run or create_run(
                self._learner.config, self.experiment_name, self.tracking_uri, self.run_dir
            )
            with closing(record_run(self._learner, self._run)) as records:
                for record in records:
                    if isinstance(record, RunStarted):
                        self.deliveries.add(self._run)  # only now: without its lock the run would count as dead
                    yield record
                    if self.stopped:
                        return
