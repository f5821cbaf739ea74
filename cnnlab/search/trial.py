"""One trial: its trainings, each a recorded run, are reported to the study, and then how the trial ended."""

import copy
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
from cnnlab.data import load
from cnnlab.errors import CnnlabError, RunFailed, one_line
from cnnlab.records import Epoch, Record, RunEnded
from cnnlab.run import Stopped, create_run, prepare, record_run
from cnnlab.search.claims import beating, give_back, tell
from cnnlab.search.database import StorageGone
from cnnlab.search.optuna_internals import id_of
from cnnlab.search.slots import CONFIG, HISTORY, INFEASIBLE, RUN_DIR, SCORES, TEST_SCORE, CurvePoint, Slot
from cnnlab.search.stages import Stage
from cnnlab.tracking import Journal, RunDir, last, read

Interrupted = Callable[[], bool]
"""Whether to stop as soon as a checkpoint is sealed."""

SEEDS = "seeds"
"""Value of the tag cnnlab.kind: a run that trains nothing and is the parent of a trial's runs, one per seed."""


class _Interrupted(Exception):
    pass


class _Pruned(Exception):
    pass


class _Infeasible(Exception):
    """It diverged."""


def run_trial(stage: Stage, base: Study, slot: Slot, interrupted: Interrupted) -> Generator[Record, None, None]:
    """Train a claimed slot to its end, and record in the study how it ended.

    If the iterator is closed or `interrupted` returns True, a checkpoint is sealed and the trial is given back.
    """
    study = copy.copy(base)  # a study keeps the trials that it has read; a copy reads them anew
    study.sampler, study.pruner = stage.sampler(slot.number), stage.pruner(slot.number)
    assert slot.trial is not None
    trial = Trial(study, id_of(slot.trial))
    with beating(study, trial):
        try:
            configs, folder = stage.configs(slot.number, trial), stage.folder(slot.number)
            trial.set_user_attr(CONFIG, configs[0].model_dump(mode="json", exclude={*QUESTIONS}))
            trial.set_user_attr(RUN_DIR, str(folder))
            scores: list[float] = []
            with _parent_of(stage, slot, configs, scores) as parent:
                for seed, config in enumerate(configs):
                    run = _run_of(stage, slot, config, folder if len(configs) == 1 else folder / f"seed-{seed}", parent)
                    # the later seeds are not reported and not pruned
                    score = yield from _train(stage, config, run, None if seed else trial, interrupted)
                    scores.append(score)
            history = _history(run, stage) if stage.name == "confirm" else {}
            tell(study, trial, TrialState.COMPLETE, statistics.fmean(scores), {SCORES: scores, **history})
        except _Pruned:
            tell(study, trial, TrialState.PRUNED)
        except _Infeasible as error:  # the worst value, so that the sampler stays away; it is never counted as a result
            tell(study, trial, TrialState.COMPLETE, stage.plan.score.worst, {INFEASIBLE: str(error)})
        except (_Interrupted, GeneratorExit) as stop:
            give_back(study, trial, slot, "interrupted", stage.plan.retries)
            if isinstance(stop, GeneratorExit):
                raise
        except StorageGone:
            raise
        except CnnlabError as error:
            give_back(study, trial, slot, "crashed", stage.plan.retries, str(error))
        except Exception as error:  # a bug in an optimizer or a fault of a driver ends one trial, not the sweep
            give_back(study, trial, slot, "crashed", stage.plan.retries, one_line(f"{type(error).__name__}: {error}"))


def _train(
    stage: Stage, config: RunConfig, run: RunDir, trial: Trial | None, interrupted: Interrupted
) -> Generator[Record, None, float]:
    """Train one network to its end, from the last checkpoint of an earlier attempt; returns its best validation score.

    Args:
        trial: gets the score after each epoch and decides whether to prune; None for the later seeds.
    """
    score, known = stage.plan.score.name, _epochs(run)
    if trial:
        for epoch in known:
            trial.report(epoch.val[score], epoch.epoch)
    ended = last(read(run.journal_file)[0], RunEnded)
    if ended is None or ended.status != "finished" or ended.best_score is None:
        same = config.data.model_copy(update={"batch_size": 1, "augment": (), "mixup_alpha": 1.0})
        prepared = prepare(config, _load_once(same, config.training.seed))
        with closing(record_run(prepared, run, tested=stage.tested)) as records:
            for record in records:
                yield record
                if interrupted():
                    raise _Interrupted
                if isinstance(record, Epoch) and record.epoch > len(known) and trial:
                    trial.report(record.val[score], record.epoch)
                    if trial.should_prune():
                        reason = f"pruned after epoch {record.epoch}: others were better by then"
                        with suppress(StopIteration):
                            records.throw(Stopped("pruned", reason))
                        raise _Pruned
                if isinstance(record, RunEnded):
                    ended = record
    assert ended is not None
    if ended.status == "finished" and ended.best_score is not None:
        return ended.best_score
    raise _Infeasible(ended.reason) if ended.diverged else RunFailed(ended.reason)


@lru_cache(maxsize=1)
def _load_once(config: DataConfig, seed: int) -> Any:
    """The data, loaded once for all trials of a process that have the same data."""
    return load(config, seed)


def _history(run: RunDir, stage: Stage) -> dict[str, Any]:
    """The test score and the curve of a run, for machines that do not have the run's directory."""
    ended = last(read(run.journal_file)[0], RunEnded)
    score = stage.plan.score.name
    curve = [CurvePoint(e.step, round(e.seconds, 4), round(e.train["loss"], 6), e.val[score]) for e in _epochs(run)]
    return {TEST_SCORE: ended and ended.test_score, HISTORY: curve}


def _epochs(run: RunDir) -> list[Epoch]:
    return [record for record in read(run.journal_file)[0] if isinstance(record, Epoch)]


def _run_of(stage: Stage, slot: Slot, config: RunConfig, directory: Path, parent: str, **tags: str) -> RunDir:
    """The run in a directory, made if there is none; `parent` is the run above it in MLflow."""
    run = RunDir(directory)
    if run.is_created():
        return run
    plan = stage.plan
    tags = {"study": plan.study, "stage": stage.name, "trial": str(slot.number), **tags}
    return create_run(config, plan.experiment, plan.tracking_uri, directory, parent=parent or None, tags=tags)


@contextmanager
def _parent_of(stage: Stage, slot: Slot, configs: list[RunConfig], scores: list[float]) -> Iterator[str]:
    """The id of the run above the trainings: the sweep's run, or if there are several seeds, a run of the trial.

    Args:
        scores: of the seeds that have ended, filled meanwhile; their mean is the result of the trial's run.
    """
    if len(configs) == 1:
        yield stage.plan.parent
        return
    run = _run_of(stage, slot, configs[0], stage.folder(slot.number), stage.plan.parent, kind=SEEDS)
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
