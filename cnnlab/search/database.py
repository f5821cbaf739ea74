"""A study in a database that many processes share: Optuna's own tables, written to in few statements.

Optuna's RDBStorage sends some 50 statements per trial through SQLAlchemy's ORM, and reads all unfinished trials for
each claim. Here the process that has claimed a trial keeps it in memory, and writes parameters and attributes with the
next report. The rows are those that Optuna would have written, so its dashboard can read them.
"""

import copy
import functools
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError, SQLAlchemyError

from cnnlab.errors import RunFailed
from cnnlab.process import received
from cnnlab.search.optuna_internals import (
    PARAMS,
    REPORTS,
    STUDIES,
    SYSTEM,
    TRIALS,
    USER,
    CachedDatabase,
    id_of,
    report_columns,
)
from cnnlab.search.slots import OWNER, SLOT

OUTAGE_SECONDS = 330.0
"""How long a database that does not answer is asked again: enough for a restart, or 5 minutes without a network."""
LONGEST_PAUSE = 5.0

P = ParamSpec("P")
T = TypeVar("T")

Attempt = tuple[dict[str, Any], dict[str, Any]]
"""A trial to be added: its fixed parameters and its user attributes."""

FIXED = "fixed_params"
"""Optuna's system attribute for the fixed parameters of a waiting trial."""


class StorageGone(RunFailed):
    """The study's storage is damaged or full, or has not answered for OUTAGE_SECONDS, or a signal ended the wait.

    No trial is to blame.
    """


def patient(ask: Callable[P, T]) -> Callable[P, T]:
    """Repeat a request to a database, with growing pauses, until the database answers. Raises StorageGone.

    Args:
        ask: its first argument is the database, or its URL, which the message names.
    """

    @functools.wraps(ask)
    def asked(*args: P.args, **kwargs: P.kwargs) -> T:
        began, pause = time.monotonic(), 0.1
        while True:
            try:
                return ask(*args, **kwargs)
            except Exception as error:  # Optuna's or SQLAlchemy's, caused by the driver's
                if (outage := _outage(error)) is not None:
                    if received or time.monotonic() - began > OUTAGE_SECONDS:
                        raise StorageGone(
                            f"the study's storage does not answer: {_reason(outage)}; the same command goes on"
                        ) from error
                elif isinstance(error, SQLAlchemyError | StorageInternalError | json.JSONDecodeError):
                    raise StorageGone(
                        f"the study's storage {args[0]}: {_reason(error)}; the same command goes on once this is "
                        "repaired, or begin another study by --study NAME"
                    ) from error
                else:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    return asked


def _outage(error: BaseException | None) -> DatabaseError | InterfaceError | None:
    """The cause of an error if a server does not answer or a SQLite file is in use; None for any other error."""
    while error is not None and not isinstance(error, OperationalError | InterfaceError):
        error = error.__cause__ or error.__context__
    return error if error and (not isinstance(error.orig, sqlite3.Error) or "locked" in str(error)) else None


def _reason(error: BaseException) -> str:
    """The driver's words, in one line."""
    error = error.__cause__ or error if isinstance(error, StorageInternalError) else error
    return " ".join(str(getattr(error, "orig", error)).split())[:200]


WAITING = (
    sa.select(TRIALS.c.trial_id)
    .join(USER, (USER.c.trial_id == TRIALS.c.trial_id) & (USER.c.key == SLOT))
    .where(TRIALS.c.study_id == sa.bindparam("study"), TRIALS.c.state == TrialState.WAITING)
    .where(sa.cast(USER.c.value_json, sa.Integer) < sa.bindparam("wanted"))
    .order_by(TRIALS.c.number)
)
"""A study's waiting trials of slots below `wanted`."""
# skips rows that another process has locked, so no process waits
FIRST_WAITING = WAITING.limit(1).with_for_update(skip_locked=True, of=TRIALS)


@dataclass
class _Claimed:
    """A trial that this process has claimed."""

    trial: FrozenTrial
    unsent: dict[sa.Column[Any], dict[Any, dict[str, Any]]] = field(
        default_factory=lambda: {PARAMS.c.param_name: {}, USER.c.key: {}, REPORTS.c.step: {}}
    )
    """The rows that are not written yet: key column -> key -> the row; the key is unique within a trial."""


class Database(CachedDatabase):
    """Optuna's storage in a database, whose trials are claimed and written in few statements.

    Each method is `patient`.

    Raises:
        StorageGone: from any method, if the database does not answer or refuses a statement.
    """

    def __init__(self, url: str, engine_kwargs: dict[str, Any], name: str = "") -> None:
        """`name` is the database in messages."""
        super().__init__(url, engine_kwargs)
        self._name = name or url
        self._claimed: dict[int, _Claimed] = {}
        self._unanswered = False
        """Whether the connection broke during a claim, so that its result is unknown."""
        self._writing = threading.Lock()  # the thread that beats writes too

    def __str__(self) -> str:
        return self._name

    def add_waiting(self, study_id: int, wanted: int, least: int, missing: Callable[[int], list[Attempt]]) -> bool:
        """Add the missing attempts while no other process adds any, unless `least` are waiting.

        Args:
            missing: the attempts to add, from the number of those that are waiting.

        Returns:
            Whether any attempt waits.
        """
        below = {"study": study_id, "wanted": wanted}
        with self.engine.begin() as connection:
            if len(connection.execute(WAITING, below).all()) >= least:
                return True
            # locks the row for this transaction, as Optuna does before it numbers a trial; SQLite locks only by a write
            study = STUDIES.c.study_id == study_id
            connection.execute(sa.update(STUDIES).where(study).values(study_name=STUDIES.c.study_name))
            waiting = len(connection.execute(WAITING, below).all())
            if waiting >= least:
                return True
            attempts = missing(waiting)
            _add(connection, study_id, attempts)
            return bool(waiting or attempts)

    def claim(self, study_id: int, wanted: int, owner: dict[str, Any]) -> FrozenTrial | None:
        """Start the first waiting trial of a slot below `wanted`, which no other process then has.

        None if no trial waits, or if other processes are just taking those that do.
        """
        again, self._unanswered = self._unanswered, True
        with self.engine.begin() as connection:
            if again:
                _let_go(connection, owner, self._claimed)
            trial_id = _start_first(connection, study_id, wanted, owner)
        trial = None if trial_id is None else super().get_trial(trial_id)
        self._unanswered = False
        if trial:
            self._claimed[id_of(trial)] = _Claimed(copy.deepcopy(trial))
        return trial

    def get_trial(self, trial_id: int) -> FrozenTrial:
        claimed = self._claimed.get(trial_id)
        return copy.deepcopy(claimed.trial) if claimed else super().get_trial(trial_id)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        claimed = self._claimed.get(trial_id)
        if claimed is None:
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            return
        claimed.trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        claimed.trial.distributions[param_name] = distribution
        row = {"param_value": param_value_internal, "distribution_json": distribution_to_json(distribution)}
        self._keep(claimed, PARAMS.c.param_name, param_name, row)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        claimed = self._claimed.get(trial_id)
        if claimed is None:
            super().set_trial_user_attr(trial_id, key, value)
            return
        claimed.trial.user_attrs[key] = value
        self._keep(claimed, USER.c.key, key, {"value_json": json.dumps(value)})
        if key == OWNER:  # the beat
            self._send(claimed)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        super().set_trial_system_attr(trial_id, key, value)  # at once: pruners in other processes read it
        if claimed := self._claimed.get(trial_id):
            claimed.trial.system_attrs[key] = value

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        claimed = self._claimed.get(trial_id)
        if claimed is None:
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)
            return
        self._keep(claimed, REPORTS.c.step, step, dict(report_columns(intermediate_value)))
        self._send(claimed)
        claimed.trial.intermediate_values[step] = intermediate_value

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if claimed := self._claimed.get(trial_id):
            self._send(claimed)
        done = super().set_trial_state_values(trial_id, state, values)
        self._claimed.pop(trial_id, None)
        return done

    def _keep(self, claimed: _Claimed, column: sa.Column[Any], key: Any, row: dict[str, Any]) -> None:
        with self._writing:
            claimed.unsent[column][key] = {"trial_id": id_of(claimed.trial), column.name: key, **row}

    def _send(self, claimed: _Claimed) -> None:
        """Write the trial's new rows in one transaction. To repeat it changes nothing.

        Raises:
            UpdateFinishedTrialError: the trial has ended, or another process has declared this one dead.
        """
        trial_id = id_of(claimed.trial)
        with self._writing:
            with self.engine.begin() as connection:
                state = sa.select(TRIALS.c.state).where(TRIALS.c.trial_id == trial_id)
                if connection.scalar(state.with_for_update()) != TrialState.RUNNING:
                    raise UpdateFinishedTrialError(f"trial {trial_id} has ended")
                for column, rows in claimed.unsent.items():
                    if rows:
                        table = column.table
                        connection.execute(sa.delete(table).where(table.c.trial_id == trial_id, column.in_(rows)))
                        connection.execute(sa.insert(table), list(rows.values()))
            for rows in claimed.unsent.values():
                rows.clear()


for name in [*vars(BaseStorage), "add_waiting", "claim"]:
    if not name.startswith("_"):
        setattr(Database, name, patient(getattr(Database, name)))


def _add(connection: sa.Connection, study_id: int, attempts: Sequence[Attempt]) -> None:
    """Add trials, numbered as Optuna numbers them: by the number of trials before."""
    if not attempts:
        return
    among = TRIALS.c.study_id == study_id
    first = connection.scalar(sa.select(sa.func.count()).select_from(TRIALS).where(among)) or 0
    rows = [{"study_id": study_id, "number": first + i, "state": TrialState.WAITING} for i in range(len(attempts))]
    connection.execute(sa.insert(TRIALS), rows)
    added = sa.select(TRIALS.c.trial_id).where(among, TRIALS.c.number >= first).order_by(TRIALS.c.number)
    new = list(zip(connection.scalars(added), attempts, strict=True))
    user = [_row(trial_id, key, value) for trial_id, (_, noted) in new for key, value in noted.items()]
    connection.execute(sa.insert(USER), user)
    connection.execute(sa.insert(SYSTEM), [_row(trial_id, FIXED, params) for trial_id, (params, _) in new])


def _start_first(connection: sa.Connection, study_id: int, wanted: int, owner: dict[str, Any]) -> int | None:
    """The id of the first waiting trial, which is running from now on; None if there is none."""
    trial_id = connection.scalar(FIRST_WAITING, {"study": study_id, "wanted": wanted})
    if trial_id is None:
        return None
    waiting = (TRIALS.c.trial_id == trial_id) & (TRIALS.c.state == TrialState.WAITING)
    now = {TRIALS.c.state: TrialState.RUNNING, TRIALS.c.datetime_start: _utc_now()}
    if connection.execute(sa.update(TRIALS).where(waiting).values(now)).rowcount != 1:
        return None  # a database without row locks, and another process was faster
    connection.execute(sa.insert(USER), _row(trial_id, OWNER, owner))
    return int(trial_id)


def _let_go(connection: sa.Connection, owner: dict[str, Any], but: Collection[int]) -> None:
    """Set trials to waiting again that this process has claimed without receiving the answer."""
    claimed = (USER.c.key == OWNER) & (USER.c.value_json == json.dumps(owner)) & USER.c.trial_id.not_in(but)
    unknown = list(connection.scalars(sa.select(USER.c.trial_id).where(claimed)))
    still = TRIALS.c.trial_id.in_(unknown) & (TRIALS.c.state == TrialState.RUNNING)
    waiting = list(connection.scalars(sa.select(TRIALS.c.trial_id).where(still)))
    connection.execute(sa.delete(USER).where(USER.c.trial_id.in_(waiting), USER.c.key == OWNER))
    connection.execute(sa.update(TRIALS).where(still).values({TRIALS.c.state: TrialState.WAITING}))


def _row(trial_id: int, key: str, value: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}


def _utc_now() -> datetime:
    """As Optuna keeps times: UTC without a time zone."""
    return datetime.now(timezone.utc).replace(tzinfo=None)
