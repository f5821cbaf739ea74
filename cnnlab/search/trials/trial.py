"""One trial: its trainings, each a recorded run, are reported to the study, and then how the trial ended."""

import statistics
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import Trial, TrialState

from cnnlab.config import QUESTIONS, DataConfig, RunConfig
from cnnlab.config.space_reading import corners, fit_to_data
from cnnlab.data import Dataset, load
from cnnlab.errors import BadInput, CnnlabError, one_line
from cnnlab.metrics import Metric
from cnnlab.records import Epoch, Record, RunEnded
from cnnlab.run import Stopped, create_run, prepare, record_run
from cnnlab.search.plan import Plan
from cnnlab.search.studies.claims import give_back, infeasible, tell
from cnnlab.search.studies.database import StorageGone
from cnnlab.search.studies.optuna_internals import public_trial, storage_of
from cnnlab.search.studies.owners import beating
from cnnlab.search.studies.slots import CONFIG, HISTORY, RUN_DIR, SCORES, TEST_SCORE, CurvePoint, Slot
from cnnlab.search.studies.study import open_study
from cnnlab.search.trials.stages import Stage, TrialRun
from cnnlab.tracking import Journal, RunDir, last, read

Interrupted = Callable[[], bool]
"""Whether to stop as soon as a checkpoint is sealed."""

SEEDS = "seeds"
"""The tag cnnlab.kind of a trial's own run, which trains nothing itself and has the runs of its seeds below it."""


class _Interrupted(Exception):
    pass


class _Pruned(Exception):
    pass


class _Infeasible(Exception):
    """It diverged."""


class _Failed(Exception):
    """A training ended without a score."""


def fitted(plan: Plan) -> Plan:
    """The plan with the default batch size, and the default choices of it, that fit this machine's data.

    Raises:
        BadInput, RunFailed: as `prepare`.
    """
    prepared = prepare(plan.config)
    return replace(plan, config=prepared.config, space=fit_to_data(plan.space, len(prepared.dataset.train)))


def checked_on_data(plan: Plan) -> Plan:
    """Try every end of every range and every choice of the data and the model on this machine's data.

    Returns:
        The plan with the doubts about that data.

    Raises:
        BadInput: one cannot be trained at all: a batch larger than the training split, a layer that comes out empty.
    """
    dataset = prepare(plan.config).dataset
    for dimension, value, config in corners(plan.config, plan.space):
        try:
            if dimension.path.startswith("data."):
                prepare(config)
            elif dimension.path.startswith(("model.", "schedule.", "training.")):
                prepare(config, dataset)
        except CnnlabError as error:
            raise BadInput(f"search.{dimension.path}: {value} cannot be trained: {error}") from None
    return replace(plan, doubts=list(dataset.doubts))


def run_trial(stage: Stage, base: Study, slot: Slot, interrupted: Interrupted) -> Generator[Record, None, None]:
    """Work on a slot that was claimed to its end, and record in the study how it ended.

    If the iterator is closed or `interrupted` says so, a checkpoint is sealed and the trial given back.
    """
    storage = storage_of(base)
    study = open_study(stage.study, storage, stage.sampler(slot.number))
    study.pruner = stage.pruner(slot.number)
    assert slot.trial is not None
    trial = public_trial(study, slot.trial)
    with beating(storage, trial):
        try:
            trainings = stage.trainings(slot.number, trial)
            trial.set_user_attr(CONFIG, trainings[0].config.model_dump(mode="json", exclude={*QUESTIONS}))
            trial.set_user_attr(RUN_DIR, str(_folder(trainings)))
            scores: list[float] = []
            with _parent_of(stage, slot, trainings, scores) as parent:
                for training in trainings:
                    watcher = None if scores else trial  # the later seeds are not reported and not pruned
                    score = yield from _train(stage, slot, training, parent, watcher, interrupted)
                    scores.append(score)
            kept = _history(trainings[0]) if stage.name == "confirm" else {}
            tell(study, trial, TrialState.COMPLETE, statistics.fmean(scores), {SCORES: scores, **kept})
        except _Pruned:
            tell(study, trial, TrialState.PRUNED)
        except _Infeasible as error:
            infeasible(study, trial, str(error), stage.plan.score.worst)
        except (_Interrupted, GeneratorExit) as stop:
            give_back(study, trial, slot, "interrupted", stage.plan.retries)
            if isinstance(stop, GeneratorExit):
                raise
        except StorageGone:
            raise
        except (CnnlabError, _Failed) as error:
            give_back(study, trial, slot, "crashed", stage.plan.retries, str(error))
        except Exception as error:  # a bug in an optimizer, a driver's fault: one trial's, not the sweep's
            give_back(study, trial, slot, "crashed", stage.plan.retries, one_line(f"{type(error).__name__}: {error}"))


def _train(
    stage: Stage, slot: Slot, training: TrialRun, parent: str, trial: Trial | None, interrupted: Interrupted
) -> Generator[Record, None, float]:
    """Train one network to its end, from where an earlier attempt left it; returns its best validation score.

    Args:
        parent: the run above this one in MLflow.
        trial: is told the score after each epoch and asked whether to prune; None for the later seeds.
    """
    run = _run_of(stage, slot, training.config, training.directory, parent)
    known = _epochs(run)
    for epoch in known:
        _report(trial, epoch, stage.plan.score)
    ended = last(read(run.journal_file)[0], RunEnded)
    if ended and ended.status == "finished" and ended.best_score is not None:
        return ended.best_score
    prepared = prepare(training.config, _dataset_of(training.config))
    with closing(record_run(prepared, run, tested=stage.tested)) as records:
        for record in records:
            yield record
            if interrupted():
                raise _Interrupted
            if isinstance(record, Epoch) and record.epoch > len(known):
                _report(trial, record, stage.plan.score)
                _prune(trial, record, records)
            if isinstance(record, RunEnded):
                ended = record
    assert ended is not None
    if ended.status == "finished" and ended.best_score is not None:
        return ended.best_score
    raise _Infeasible(ended.reason) if ended.diverged else _Failed(ended.reason)


def _history(training: TrialRun) -> dict[str, Any]:
    """What other machines, which have not got the run, have to know of it: its test score and its curve."""
    run = RunDir(training.directory)
    ended = last(read(run.journal_file)[0], RunEnded)
    score = training.config.task.metric.name
    curve = [CurvePoint(e.step, round(e.seconds, 4), round(e.train["loss"], 6), e.val[score]) for e in _epochs(run)]
    return {TEST_SCORE: ended and ended.test_score, HISTORY: curve}


def _dataset_of(config: RunConfig) -> Dataset:
    """The data, loaded once for all trials of a process that do not differ in them."""
    same = config.data.model_copy(update={"batch_size": 1, "augment": ()})
    return _load_once(same, config.training.seed)


@lru_cache(maxsize=1)
def _load_once(config: DataConfig, seed: int) -> Dataset:
    return load(config, seed)


def _run_of(stage: Stage, slot: Slot, config: RunConfig, directory: Path, parent: str, **tags: str) -> RunDir:
    """The run in a directory, made if there is none."""
    run = RunDir(directory)
    if run.is_created():
        return run
    plan = stage.plan
    own = {"study": plan.study, "stage": stage.name, "trial": str(slot.number), **tags}
    return create_run(config, plan.experiment, plan.tracking_uri, directory, parent=parent or None, tags=own)


def _folder(trainings: list[TrialRun]) -> Path:
    """The trial's own folder: its training's, or the one above those of its seeds."""
    return trainings[0].directory if len(trainings) == 1 else trainings[0].directory.parent


@contextmanager
def _parent_of(stage: Stage, slot: Slot, trainings: list[TrialRun], scores: list[float]) -> Iterator[str]:
    """The id of the run above the trainings: the sweep's, or if there are several seeds, one of the trial's own.

    Args:
        scores: of the seeds that have ended, filled meanwhile; the trial's own run ends with their mean.
    """
    if len(trainings) == 1:
        yield stage.plan.parent
        return
    run = _run_of(stage, slot, trainings[0].config, _folder(trainings), stage.plan.parent, kind=SEEDS)
    with run.hold(), Journal(run.journal_file) as journal:
        ended = RunEnded(time.time(), "finished", "", 0, 0, score=stage.plan.score.name)
        try:
            yield run.run_id
            ended = replace(ended, best={ended.score: statistics.fmean(scores)})
        except _Pruned:
            ended = replace(ended, status="pruned", reason="pruned while its first seed was trained")
            raise
        except (_Interrupted, GeneratorExit):
            ended = replace(ended, status="interrupted", reason="stopped before its end")
            raise
        except BaseException as error:
            ended = replace(ended, status="failed", reason=str(error), diverged=isinstance(error, _Infeasible))
            raise
        finally:
            journal.write(replace(ended, time=time.time()))


def _epochs(run: RunDir) -> list[Epoch]:
    return [record for record in read(run.journal_file)[0] if isinstance(record, Epoch)]


def _report(trial: Trial | None, epoch: Epoch, score: Metric) -> None:
    if trial:
        trial.report(epoch.val[score.name], epoch.epoch)


def _prune(trial: Trial | None, epoch: Epoch, records: Generator[Record, None, None]) -> None:
    if trial and trial.should_prune():
        with suppress(StopIteration):
            records.throw(Stopped("pruned", f"pruned after epoch {epoch.epoch}: others were better by then"))
        raise _Pruned
