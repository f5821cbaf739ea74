"""One run from its config to MLflow: `with Training(config) as training: ...`; PyTorch is imported when it begins."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnlab.config import Given, as_config, config_given
from cnnlab.errors import InUse
from cnnlab.reading import run_result
from cnnlab.records import Record, RunStarted
from cnnlab.result import Result
from cnnlab.tracking import RunDir, find_run, present_store
from cnnlab.work import Work

if TYPE_CHECKING:
    from cnnlab.run import Prepared

log = logging.getLogger("cnnlab")


class Training(Work[Record]):
    """A run at work. Iterate over it to train; whoever stops iterating has a checkpoint that a resume starts from."""

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
