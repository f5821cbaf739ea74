"""All that cnnlab uses of Optuna beyond its public interface; to be checked for each new major version."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.storages.journal._file import BaseJournalFileLock as BaseJournalFileLock
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

STUDIES, TRIALS = models.StudyModel.__table__, models.TrialModel.__table__
PARAMS, REPORTS = models.TrialParamModel.__table__, models.TrialIntermediateValueModel.__table__
USER, SYSTEM = models.TrialUserAttributeModel.__table__, models.TrialSystemAttributeModel.__table__
"""Optuna's tables."""


def storage_of(study: Study) -> BaseStorage:
    """The storage of a study, as this process has it open."""
    return study._storage


def study_id_of(study: Study) -> int:
    """A study's number in its storage."""
    return study._study_id


def id_of(trial: Trial | FrozenTrial) -> int:
    """A trial's number in its storage, which holds the trials of many studies."""
    return trial._trial_id


def report_columns(value: float) -> Mapping[str, Any]:
    """A value after an epoch as REPORTS has it."""
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return {"intermediate_value": stored, "intermediate_value_type": kind}


class CheckedJournal(JournalStorage):
    """Optuna's storage in a journal; `checked` surrounds each reading."""

    @property
    def lines(self) -> int:
        """The number of lines that were read."""
        return self._replay_result.log_number_read

    @contextmanager
    def checked(self) -> Iterator[None]:
        yield

    def _sync_with_backend(self) -> None:
        with self.checked():
            super()._sync_with_backend()


class CachedDatabase(_CachedStorage):
    """Optuna's storage in a database, with its cache of the trials that have ended."""

    def __init__(self, url: str, engine_kwargs: dict[str, Any]) -> None:
        super().__init__(RDBStorage(url, engine_kwargs))

    @property
    def engine(self) -> sa.Engine:
        return self._backend.engine
