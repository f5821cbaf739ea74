"""Delivering a run's journal to MLflow, as far as it goes, as often as one likes."""

import hashlib
import inspect
import json
import os
import posixpath
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from cnnlab import __version__
from cnnlab.errors import BadInput, InUse, RunFailed, without_passwords
from cnnlab.files import naming
from cnnlab.records import Ended, Record, RunEnded, RunStarted, milliseconds
from cnnlab.tracking.journal import last, read
from cnnlab.tracking.moved import artifact_folder, correct_locations
from cnnlab.tracking.progress import Progress, load_progress, save_progress
from cnnlab.tracking.run_dir import RunDir
from cnnlab.tracking.store import check_answers, import_mlflow, is_full, open_store, reason
from cnnlab.tracking.uri import sqlite_file, whole

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

LoadModel = Callable[[Path], Any]
"""A run's directory -> its trained network."""
Draw = Callable[[Path, Path], list[Path]]
"""A run's directory, a folder to draw into -> the figures' files."""

STATUS = {"finished": "FINISHED", "failed": "FAILED", "died": "KILLED", "interrupted": "KILLED", "pruned": "KILLED"}
"""MLflow's word for how a run ended; the tag cnnlab.status says it exactly."""

BATCHES = {"metrics": 1000, "params": 100, "tags": 100}
"""How many of each MLflow takes in one call."""
LONGEST_KEY, LONGEST_VALUE = 250, 5000
"""Characters that every MLflow from 3.13 on takes."""
BUSY_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts if another process was faster."""
BUSY = ("database is locked", "IntegrityError")
"""Words by which MLflow says so."""
TURN_SECONDS = 20.0
"""How long a deliverer waits for another one of the same run."""
TAG = "cnnlab.run_id"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""So that the UI opens an experiment on its training runs, not on language models."""


def accepted_key(key: str) -> str:
    """A key as MLflow takes it: the same, or with other characters and a digest that tells it from others."""
    safe = re.sub(r"[^/\w.\- :]", "_", key)
    if posixpath.normpath(safe) != safe or safe.startswith((".", "/")):
        safe = safe.replace("/", "_").strip(".") or "_"
    if safe == key and len(key) <= LONGEST_KEY:
        return key
    return f"{safe[: LONGEST_KEY - 9]}-{hashlib.sha256(key.encode(errors='replace')).hexdigest()[:8]}"


def accepted(value: str) -> str:
    """A value as MLflow takes it; what is cut off is in the artifacts `config.yaml` and `journal.jsonl`."""
    note = " ... (whole in journal.jsonl)"
    return value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - len(note)] + note


def is_for_good(error: Exception) -> bool:
    """Whether MLflow refuses this content, so that another attempt at it would fail too."""
    response = getattr(error, "response", None)  # of an upload
    code = str(getattr(error, "error_code", ""))
    too_large = getattr(response, "status_code", 0) == 413 or "error code 413" in str(error)
    return too_large or (code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST") and not any(w in str(error) for w in BUSY))


class Delivery:
    """One run on its way to one store.

    Args:
        run: whose journal is delivered.
        uri: of the store.
        load_model, draw: what tracking itself knows nothing of.
    """

    def __init__(self, run: RunDir, uri: str, load_model: LoadModel, draw: Draw) -> None:
        self.run = run
        self.uri = uri
        self.load_model = load_model
        self.draw = draw
        self.refused: dict[str, str] = {}
        """What MLflow has refused for good or a fault keeps from it -> why; it blocks nothing else."""
        self._client: MlflowClient | None = None

    @property
    def client(self) -> "MlflowClient":
        if self._client is None:
            mlflow = import_mlflow()
            check_answers(self.uri)
            correct_locations(self.uri)
            self._client = mlflow.MlflowClient(whole(self.uri))
        return self._client

    def advance(self) -> bool:
        """Deliver what the journal has and the store has not; True when the run has ended and all of it is there.

        Raises whatever MLflow raises, and InUse if another process delivers the run; nothing is lost by it, and the
        next call goes on.
        """
        try:
            stamp = open_store(self.uri)
            client = self.client
            with self._turn():
                return self._advance(client, stamp)
        except Exception as error:
            self._client = None  # the next attempt asks first whether anything answers
            if not is_full(error):
                raise
            named = getattr(error, "filename2", None) or getattr(error, "filename", None)
            file = named or sqlite_file(self.uri) or without_passwords(self.uri)
            raise RunFailed(f"{file}: no space left on its disk; make room there, then cnnlab sync") from error

    def _advance(self, client: "MlflowClient", stamp: int) -> bool:
        progress = load_progress(self.run, self.uri)
        records, end = read(self.run.journal_file, progress.offset)
        if not records:
            return progress.complete
        mlflow_run = self._existing(progress) or self._find() or self._create()
        if mlflow_run != progress.mlflow_run_id:  # not the run that the offset belongs to
            records, end = read(self.run.journal_file)
        self.refused = dict(progress.refused)
        self._deliver(mlflow_run, records)
        complete = isinstance(records[-1], Ended)
        # until an end is delivered whole, its records are delivered again
        offset = progress.offset if complete else end
        delivered = Progress(mlflow_run, offset=offset, stamp=stamp, refused=self.refused)
        save_progress(self.run, self.uri, delivered)
        if complete:
            self._finish(mlflow_run)
            experiment = client.get_run(mlflow_run).info.experiment_id
            whole = replace(delivered, experiment_id=experiment, offset=end, complete=True, refused=self.refused)
            save_progress(self.run, self.uri, whole)
        return complete

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Within it nobody else delivers this run. Raises InUse, naming who does."""
        lock, holder = FileLock(self.run.path / "delivery.lock", timeout=TURN_SECONDS), self.run.path / "delivery.pid"
        try:
            lock.acquire()
        except Timeout:
            pid = holder.read_text() if holder.exists() else "unknown"
            raise InUse(f"{self.run.run_id}: another process (pid {pid}) is delivering this run") from None
        try:
            with naming(holder):
                holder.write_text(str(os.getpid()))
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def advance_when_free(self) -> bool:
        """`advance`, tried again while other processes are faster.

        MLflow reads before it writes in one transaction; SQLite ends such a one at once if another is about to write,
        and of two processes that add the same row, as a dataset's, one fails.
        """
        for pause in BUSY_PAUSES:
            try:
                return self.advance()
            except Exception as error:  # MLflow wraps SQLite's in its own, and in SQLAlchemy's
                if not any(word in str(error) for word in BUSY):
                    raise
                time.sleep(pause)
        return self.advance()

    def _deliver(self, mlflow_run: str, records: Sequence[Record]) -> None:
        from mlflow.entities import Metric

        for record in records:
            if record.begins:
                self._start(mlflow_run, record.mlflow_params(), record.mlflow_tags())
            if isinstance(record, RunStarted):
                self._log_dataset(mlflow_run, record)
        rows = [row for record in records for row in record.mlflow_metrics()]
        keys = {row.key: accepted_key(row.key) for row in rows}
        self._log(mlflow_run, "metrics", [Metric(keys[row.key], *row[1:]) for row in rows])
        self._tag(mlflow_run, {f"cnnlab.key.{key}": name for name, key in keys.items() if key != name})

    def _log(self, mlflow_run: str, kind: str, items: Sequence[Any]) -> None:
        """Metrics, parameters or tags in batches; what MLflow refuses for good is found by halves and set aside."""
        size = BATCHES[kind]
        for first in range(0, len(items), size):
            batch = items[first : first + size]
            try:
                self.client.log_batch(mlflow_run, **{kind: batch})  # type: ignore[arg-type]
            except Exception as error:  # whatever MLflow, its database or the network come up with
                if not is_for_good(error):
                    raise
                if len(batch) == 1:
                    self.refused[f"{kind}: {batch[0].key}"] = reason(error, self.uri)
                else:
                    half = len(batch) // 2
                    self._log(mlflow_run, kind, batch[:half])
                    self._log(mlflow_run, kind, batch[half:])

    def _tag(self, mlflow_run: str, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        self._log(mlflow_run, "tags", [RunTag(accepted_key(key), accepted(value)) for key, value in tags.items()])

    @contextmanager
    def _offered(self, what: str, *faults: type[Exception]) -> Iterator[None]:
        """Within it something is delivered that MLflow may refuse for good, or that has one of these faults itself."""
        try:
            yield
        except Exception as error:  # whatever MLflow, its database or the network come up with
            if not (is_for_good(error) or isinstance(error, faults)):
                raise
            self.refused[what] = reason(error, self.uri)

    def _log_artifact(self, mlflow_run: str, file: Path, folder: str | None = None) -> None:
        with self._offered(f"artifact: {file.name}"):
            self.client.log_artifact(mlflow_run, str(file), folder)

    def _existing(self, progress: Progress) -> str | None:
        """The MLflow run of an earlier delivery, if the store still has it."""
        from mlflow.exceptions import MlflowException

        if progress.mlflow_run_id is None:
            return None
        try:
            run = self.client.get_run(progress.mlflow_run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        if run.info.lifecycle_stage == "deleted":
            self._refuse_deleted_experiment()
            raise RunFailed(
                f"this run was deleted in MLflow; to restore it: MLFLOW_TRACKING_URI={self.uri} mlflow runs restore "
                f"--run-id {progress.mlflow_run_id}, then cnnlab sync {self.run.word}"
            )
        return progress.mlflow_run_id

    def _find(self) -> str | None:
        return self._find_by_id(self.run.created.run_id)

    def _find_by_id(self, run_id: str) -> str | None:
        """The MLflow run that carries one of our run ids."""
        experiment = self.client.get_experiment_by_name(self.run.created.experiment)
        if experiment is None:
            return None
        found = self.client.search_runs([experiment.experiment_id], f"tags.`{TAG}` = '{run_id}'")
        return found[0].info.run_id if found else None

    def _create(self) -> str:
        created = self.run.created
        run = self.client.create_run(
            self._experiment(),
            start_time=milliseconds(created.time),
            run_name=created.run_id,
            tags={TAG: created.run_id, **self._parent_tag()},
        )
        return str(run.info.run_id)

    def _parent_tag(self) -> dict[str, str]:
        """MLflow's own tag for a run below another. Raises LookupError as long as the other is not there."""
        parent = self.run.created.parent
        if parent is None:
            return {}
        found = self._find_by_id(parent)
        if found is None:
            raise LookupError(f"the run {parent} above this one is not in the store yet")
        return {"mlflow.parentRunId": found}

    def _experiment(self) -> str:
        """The id of the experiment, made where it is new."""
        from mlflow.exceptions import MlflowException

        name = self.run.created.experiment
        self._refuse_deleted_experiment()
        if experiment := self.client.get_experiment_by_name(name):
            return str(experiment.experiment_id)
        try:
            return str(self.client.create_experiment(name, self._artifact_location(name), EXPERIMENT_TAGS))
        except MlflowException:  # another courier made it meanwhile
            experiment = self.client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return str(experiment.experiment_id)

    def _refuse_deleted_experiment(self) -> None:
        """Raises RunFailed: MLflow keeps its name, and takes nothing for it."""
        experiment = self.client.get_experiment_by_name(self.run.created.experiment)
        if experiment is not None and experiment.lifecycle_stage == "deleted":
            raise RunFailed(
                f"MLflow's experiment {experiment.name!r} was deleted; to restore it: MLFLOW_TRACKING_URI={self.uri} "
                f"mlflow experiments restore --experiment-id {experiment.experiment_id}, then cnnlab sync; new runs "
                "can go elsewhere by --experiment-name"
            )

    def _artifact_location(self, experiment: str) -> str | None:
        """Beside a SQLite database; a server knows its own place."""
        database = sqlite_file(self.uri)
        if database is None:
            return None
        return artifact_folder(database, experiment).as_uri()

    def _start(self, mlflow_run: str, params: dict[str, str], tags: dict[str, str]) -> None:
        """Parameters and tags; after a resume the run is running again."""
        from mlflow.entities import Param

        self._log(mlflow_run, "params", [Param(accepted_key(key), accepted(value)) for key, value in params.items()])
        self._tag(mlflow_run, tags)
        self.client.update_run(mlflow_run, status="RUNNING")

    def _log_dataset(self, mlflow_run: str, started: RunStarted) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = self.client.get_run(mlflow_run).inputs
        if not (inputs and inputs.dataset_inputs):
            dataset = Dataset(**started.dataset_fields())
            given = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
            with self._offered("dataset"):
                self.client.log_inputs(mlflow_run, [given])

    def _finish(self, mlflow_run: str) -> None:
        """The artifacts, then the status: who reads it finds all the rest."""
        ended = read(self.run.journal_file)[0][-1]
        assert isinstance(ended, Ended)
        for file in (self.run.config_file, self.run.journal_file):
            self._log_artifact(mlflow_run, file)
        if ended.leaves_report:
            self._log_report(mlflow_run)
        elif self.run.created.parent is None:  # the trials of a sweep are many: curves, but no figures and no model
            self._log_figures(mlflow_run)
            outputs = self.client.get_run(mlflow_run).outputs
            if isinstance(ended, RunEnded) and ended.weights_file and not (outputs and outputs.model_outputs):
                with self._offered("model", BadInput, RunFailed, FileNotFoundError):  # damaged, or removed
                    self._log_model(mlflow_run)
        self._tag(mlflow_run, ended.mlflow_tags(of_trial="trial" in self.run.created.tags))
        if self.refused:
            self._tag(mlflow_run, {"cnnlab.refused": json.dumps(self.refused)})
        self.client.set_terminated(mlflow_run, STATUS[ended.status], milliseconds(ended.time))

    def _log_figures(self, mlflow_run: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for figure in self.draw(self.run.path, Path(folder)):
                self._log_artifact(mlflow_run, figure, "figures")

    def _log_report(self, mlflow_run: str) -> None:
        """What the sweep or the comparison left in its folder."""
        for file in sorted(self.run.path.glob("report/*")):
            self._log_artifact(mlflow_run, file, "report")
        if (best := self.run.path / "best.yaml").exists():
            self._log_artifact(mlflow_run, best)

    def _log_model(self, mlflow_run: str) -> None:
        """The trained network, with a signature, so that mlflow.pytorch.load_model gives it back.

        All by the client: `mlflow.pytorch.log_model` takes the store from an environment variable of this process.
        """
        import mlflow.pytorch
        import numpy as np
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus
        from mlflow.models import Model, ModelSignature
        from mlflow.types import Schema, TensorSpec

        started = last(read(self.run.journal_file)[0], RunStarted)
        assert started is not None
        output_shape = started.output_shape or (len(started.classes),)
        # MLflow's default since 3.17, "pt2", takes 7 s to trace and gives back a graph that cannot be trained further;
        # versions before it know pickle only, and not the argument
        knows_formats = "serialization_format" in inspect.signature(mlflow.pytorch.save_model).parameters
        run = self.client.get_run(mlflow_run)
        model = self.client.create_logged_model(run.info.experiment_id, "model", mlflow_run, params=run.data.params)
        with tempfile.TemporaryDirectory() as folder:
            mlflow.pytorch.save_model(
                self.load_model(self.run.path),
                f"{folder}/model",
                mlflow_model=Model(
                    model.artifact_location, mlflow_run, model_uuid=model.model_id, model_id=model.model_id
                ),
                signature=ModelSignature(
                    Schema([TensorSpec(np.dtype("uint8"), (-1, *started.image_shape))]),
                    Schema([TensorSpec(np.dtype("float32"), (-1, *output_shape))]),
                ),
                # given, because MLflow would find them out by importing the model in a process of its own
                pip_requirements=[f"cnnlab=={__version__}", f"torch=={version('torch')}"],
                **({"serialization_format": "pickle"} if knows_formats else {}),
            )
            self.client.log_model_artifacts(model.model_id, f"{folder}/model")
        self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self.client.log_outputs(mlflow_run, [LoggedModelOutput(model.model_id, 0)])  # last: from now on it is there
