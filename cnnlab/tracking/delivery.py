"""Delivers a run's journal to MLflow. Delivering twice changes nothing."""

import hashlib
import inspect
import json
import os
import posixpath
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from cnnlab.tracking.store import VIEW_TAG, check_answers, import_mlflow, is_full, open_store, reason
from cnnlab.tracking.uri import sqlite_file, whole

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

LoadModel = Callable[[Path], Any]
"""A run's directory -> its trained network."""
Draw = Callable[[Path, Path], list[Path]]
"""A run's directory, a folder to draw into -> the figures' files."""
TagsOf = Callable[[Path], dict[str, str]]
"""A run's directory -> MLflow's tags about its result."""

STATUS = {"finished": "FINISHED", "failed": "FAILED", "died": "KILLED", "interrupted": "KILLED", "pruned": "KILLED"}
"""A run's status -> MLflow's; the tag cnnlab.status has ours."""

BATCHES = {"metrics": 1000, "params": 100, "tags": 100}
"""The number of items that MLflow takes in one call."""
LONGEST_KEY, LONGEST_VALUE = 250, 5000
"""Characters that every MLflow from 3.13 on takes."""
BUSY_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts if another process is writing to the store."""
BUSY = ("database is locked", "IntegrityError")
"""Words in the message of such an error."""
TURN_SECONDS = 20.0
"""How long a process waits for another one that delivers the same run."""
TAG = "cnnlab.run_id"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development", **VIEW_TAG}
"""So that the UI opens an experiment on its training runs, not on language models; and the view of `cnnlab ui`."""


def accepted_key(key: str) -> str:
    """A key that MLflow takes: the same, or with allowed characters and a digest that makes it unique."""
    safe = re.sub(r"[^/\w.\- :]", "_", key)
    if posixpath.normpath(safe) != safe or safe.startswith((".", "/")):
        safe = safe.replace("/", "_").strip(".") or "_"
    if safe == key and len(key) <= LONGEST_KEY:
        return key
    return f"{safe[: LONGEST_KEY - 9]}-{hashlib.sha256(key.encode(errors='replace')).hexdigest()[:8]}"


def accepted(value: str) -> str:
    """The value, cut to MLflow's limit; the artifact `journal.jsonl` has all of it."""
    note = " ... (whole in journal.jsonl)"
    return value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - len(note)] + note


def is_for_good(error: Exception) -> bool:
    """Whether MLflow refuses this content, so that another attempt would fail too."""
    response = getattr(error, "response", None)  # of an upload
    code = str(getattr(error, "error_code", ""))
    too_large = getattr(response, "status_code", 0) == 413 or "error code 413" in str(error)
    return too_large or (code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST") and not any(w in str(error) for w in BUSY))


class Deliverer:
    """Delivers one run to the store `uri`. It is given functions that read the run: tracking imports no networks."""

    def __init__(
        self, run: RunDir, uri: str, load_model: LoadModel, draw: Draw, tags_of: TagsOf = lambda _: {}
    ) -> None:
        self.run = run
        self.uri = uri
        self.load_model = load_model
        self.draw = draw
        self.tags_of = tags_of
        self.refused: dict[str, str] = {}
        """What cannot be delivered, because MLflow refuses it for good or its file is damaged -> the reason."""
        self._client: MlflowClient | None = None

    @property
    def client(self) -> "MlflowClient":
        if self._client is None:
            check_answers(self.uri)
            correct_locations(self.uri)
            self._client = import_mlflow().MlflowClient(whole(self.uri))
        return self._client

    def deliver(self) -> bool:
        """Deliver what the journal has and the store lacks; True if the run has ended and the store has all of it.

        Raises the errors of MLflow, and InUse if another process delivers the run. The next call continues.
        """
        try:
            stamp = open_store(self.uri)
            client = self.client
            with self._turn():
                return self._deliver_rest(client, stamp)
        except Exception as error:
            self._client = None  # the next attempt asks first whether anything answers
            if not is_full(error):
                raise
            named = getattr(error, "filename2", None) or getattr(error, "filename", None)
            file = named or sqlite_file(self.uri) or without_passwords(self.uri)
            raise RunFailed(f"{file}: no space left on its disk; make room there, then cnnlab sync") from error

    def deliver_when_free(self) -> bool:
        """`deliver`, repeated if another process is writing to the store.

        SQLite ends a transaction that has read if another process is about to write; and of two processes that add
        the same row, for example of a dataset, one fails.
        """
        for pause in BUSY_PAUSES:
            try:
                return self.deliver()
            except Exception as error:  # MLflow wraps SQLite's in its own, and in SQLAlchemy's
                if not any(word in str(error) for word in BUSY):
                    raise
                time.sleep(pause)
        return self.deliver()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Within it no other process delivers this run. Raises InUse, which names the process that does."""
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

    def _deliver_rest(self, client: "MlflowClient", stamp: int) -> bool:
        progress = load_progress(self.run, self.uri)
        records, end = read(self.run.journal_file, progress.offset)
        if not records:
            return progress.complete
        mlflow_run = self._known_run(progress) or self._find(self.run.run_id) or self._create()
        if mlflow_run != progress.mlflow_run_id:  # not the run that the offset belongs to
            records, end = read(self.run.journal_file)
        self.refused = dict(progress.refused)
        self._log_records(mlflow_run, records)
        ended = records[-1] if isinstance(records[-1], Ended) else None
        # the last records are delivered again until their run's end is delivered too
        offset = progress.offset if ended else end
        delivered = Progress(mlflow_run, offset=offset, stamp=stamp, refused=self.refused)
        save_progress(self.run, self.uri, delivered)
        if ended:
            self._finish(mlflow_run, ended)
            experiment = client.get_run(mlflow_run).info.experiment_id
            complete = replace(delivered, experiment_id=experiment, offset=end, complete=True, refused=self.refused)
            save_progress(self.run, self.uri, complete)
        return ended is not None

    # the run in MLflow

    def _known_run(self, progress: Progress) -> str | None:
        """The MLflow run of an earlier delivery; None if the store does not have it. Raises RunFailed if deleted."""
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
            self._existing_experiment()  # if it was deleted as well, its message comes first
            raise RunFailed(
                f"this run was deleted in MLflow; to restore it: MLFLOW_TRACKING_URI={self.uri} mlflow runs restore "
                f"--run-id {progress.mlflow_run_id}, then cnnlab sync {self.run.word}"
            )
        return progress.mlflow_run_id

    def _find(self, run_id: str) -> str | None:
        """The MLflow run with one of our run ids."""
        experiment = self.client.get_experiment_by_name(self.run.created.experiment)
        if experiment is None:
            return None
        runs = self.client.search_runs([experiment.experiment_id], f"tags.`{TAG}` = '{run_id}'")
        return runs[0].info.run_id if runs else None

    def _create(self) -> str:
        """A new MLflow run. Raises LookupError if it belongs below another run that is not in the store yet."""
        created, tags = self.run.created, {TAG: self.run.run_id}
        experiment = self._existing_experiment() or self._new_experiment()
        if created.parent:
            above = self._find(created.parent)
            if above is None:
                raise LookupError(f"the run {created.parent} above this one is not in the store yet")
            tags["mlflow.parentRunId"] = above
        start = milliseconds(created.time)
        return str(self.client.create_run(experiment, start, tags, run_name=created.title).info.run_id)

    def _existing_experiment(self) -> str | None:
        """The experiment's id. Raises RunFailed if it was deleted: MLflow keeps its name, and accepts no runs."""
        experiment = self.client.get_experiment_by_name(self.run.created.experiment)
        if experiment is not None and experiment.lifecycle_stage == "deleted":
            raise RunFailed(
                f"MLflow's experiment {experiment.name!r} was deleted; to restore it: MLFLOW_TRACKING_URI={self.uri} "
                f"mlflow experiments restore --experiment-id {experiment.experiment_id}, then cnnlab sync; new runs "
                "can go elsewhere by --experiment-name"
            )
        return None if experiment is None else str(experiment.experiment_id)

    def _new_experiment(self) -> str:
        """A new experiment's id. Its artifacts lie beside a SQLite database; a server knows its own folder."""
        from mlflow.exceptions import MlflowException

        name, database = self.run.created.experiment, sqlite_file(self.uri)
        location = artifact_folder(database, name).as_uri() if database else None
        try:
            return str(self.client.create_experiment(name, location, EXPERIMENT_TAGS))
        except MlflowException:
            if experiment := self._existing_experiment():  # another process created it meanwhile
                return experiment
            raise

    # records

    def _log_records(self, mlflow_run: str, records: Sequence[Record]) -> None:
        from mlflow.entities import Metric, Param

        for record in records:
            if record.begins:  # after a resume the run is running again
                params = [Param(accepted_key(key), accepted(text)) for key, text in record.mlflow_params().items()]
                self._log(mlflow_run, "params", params)
                self._tag(mlflow_run, record.mlflow_tags())
                self.client.update_run(mlflow_run, status="RUNNING")
            if isinstance(record, RunStarted):
                self._log_dataset(mlflow_run, record)
        rows = [row for record in records for row in record.mlflow_metrics()]
        keys = {row.key: accepted_key(row.key) for row in rows}
        self._log(mlflow_run, "metrics", [Metric(keys[row.key], *row[1:]) for row in rows])
        self._tag(mlflow_run, {f"cnnlab.key.{key}": name for name, key in keys.items() if key != name})

    def _log(self, mlflow_run: str, kind: str, items: Sequence[Any]) -> None:
        """Metrics, parameters or tags in batches; a batch that MLflow refuses for good is halved to find the reason."""
        size = BATCHES[kind]
        for first in range(0, len(items), size):
            batch = items[first : first + size]
            try:
                self.client.log_batch(mlflow_run, **{kind: batch})  # type: ignore[arg-type]
            except Exception as error:  # whatever MLflow, its database or the network raises
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

    def _log_dataset(self, mlflow_run: str, started: RunStarted) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = self.client.get_run(mlflow_run).inputs
        if not (inputs and inputs.dataset_inputs):
            dataset = DatasetInput(Dataset(**started.dataset_fields()), [InputTag("mlflow.data.context", "training")])
            with self._offered("dataset"):
                self.client.log_inputs(mlflow_run, [dataset])

    # the end of a run

    def _finish(self, mlflow_run: str, ended: Ended) -> None:
        """The artifacts, then the status: a reader who sees the status finds all the rest."""
        self._log_artifacts(mlflow_run, [self.run.config_file, self.run.journal_file])
        if not isinstance(ended, RunEnded):  # a sweep or a comparison
            self._log_artifacts(mlflow_run, sorted(self.run.path.glob("report/*")), "report")
            self._log_artifacts(mlflow_run, self.run.path.glob("best.yaml"))
        elif self.run.created.parent is None:  # the trials of a sweep are many: curves, but no figures and no model
            with tempfile.TemporaryDirectory() as folder:
                self._log_artifacts(mlflow_run, self.draw(self.run.path, Path(folder)), "figures")
            outputs = self.client.get_run(mlflow_run).outputs
            if ended.weights_file and not (outputs and outputs.model_outputs):
                with self._offered("model", BadInput, RunFailed, FileNotFoundError):  # damaged, or removed
                    self._log_model(mlflow_run)
        self._log_artifacts(mlflow_run, sorted(self.run.path.glob("inspect/*")), "inspect")
        self._tag(mlflow_run, ended.mlflow_tags())
        if isinstance(ended, RunEnded):
            self._tag(mlflow_run, self.tags_of(self.run.path))
            if "trial" in self.run.created.tags:
                self._tag(mlflow_run, {"cnnlab.trial_state": ended.trial_state})
        if self.refused:
            self._tag(mlflow_run, {"cnnlab.refused": json.dumps(self.refused)})
        self.client.set_terminated(mlflow_run, STATUS[ended.status], milliseconds(ended.time))

    def _log_artifacts(self, mlflow_run: str, files: Iterable[Path], folder: str | None = None) -> None:
        for file in files:
            with self._offered(f"artifact: {file.name}"):
                self.client.log_artifact(mlflow_run, str(file), folder)

    @contextmanager
    def _offered(self, what: str, *faults: type[Exception]) -> Iterator[None]:
        """Within it `what` is delivered. A refusal for good, or one of these faults, is noted with its reason."""
        try:
            yield
        except Exception as error:  # whatever MLflow, its database or the network raises
            if not (is_for_good(error) or isinstance(error, faults)):
                raise
            self.refused[what] = reason(error, self.uri)

    def _log_model(self, mlflow_run: str) -> None:
        """The trained network with its signature, for mlflow.pytorch.load_model.

        The client does all of it: `mlflow.pytorch.log_model` takes the store from an environment variable.
        """
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus
        from mlflow.models import Model

        run = self.client.get_run(mlflow_run)
        model = self.client.create_logged_model(run.info.experiment_id, "model", mlflow_run, params=run.data.params)
        described = Model(model.artifact_location, mlflow_run, model_uuid=model.model_id, model_id=model.model_id)
        with tempfile.TemporaryDirectory() as folder:
            started = last(read(self.run.journal_file)[0], RunStarted)
            assert started is not None
            save_mlflow_model(self.load_model(self.run.path), Path(folder) / "model", started, described)
            self.client.log_model_artifacts(model.model_id, f"{folder}/model")
        self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self.client.log_outputs(mlflow_run, [LoggedModelOutput(model.model_id, 0)])  # last: now the run has a model


def save_mlflow_model(model: Any, folder: Path, started: RunStarted, described: Any = None) -> None:
    """Write a network as MLflow keeps it, with its classes and a signature: uint8 images or float32 points -> float32.

    Args:
        described: the mlflow.models.Model in a store that it will be; None if it will be in none.
    """
    import mlflow.pytorch
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    # MLflow's default since 3.17, "pt2", takes 7 s to trace and gives back a graph that cannot be trained further;
    # versions before it know pickle only, and not the argument
    knows_formats = "serialization_format" in inspect.signature(mlflow.pytorch.save_model).parameters
    mlflow.pytorch.save_model(
        model,
        folder,
        mlflow_model=described,
        signature=ModelSignature(
            Schema([TensorSpec(np.dtype(started.input_dtype), (-1, *started.image_shape))]),
            Schema([TensorSpec(np.dtype("float32"), (-1, *started.output_shape))]),
        ),
        metadata={"classes": list(started.classes)},
        # given, because MLflow would import the model in a process of its own to find them
        pip_requirements=[f"cnnlab=={__version__}", f"torch=={version('torch')}"],
        **({"serialization_format": "pickle"} if knows_formats else {}),
    )


def load_mlflow_model(folder: Path) -> Any:
    """The network that `save_mlflow_model` wrote."""
    import mlflow.pytorch

    return mlflow.pytorch.load_model(str(folder))
