"""What a training, a sweep and a comparison have in common: iterated over, stopped, and delivered to MLflow."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Generic, TypeVar

from cnnlab.courier import Deliveries
from cnnlab.process import brief_spins
from cnnlab.result import Result
from cnnlab.tracking import end_dead, resolve, resolve_experiment

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
