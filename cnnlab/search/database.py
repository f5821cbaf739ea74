"""A study in a database that many processes share: Optuna's own tables, written to in few statements.

Optuna's RDBStorage sends some 50 statements per trial through SQLAlchemy's ORM, and to claim one it reads all that have
not ended. Here the process that has claimed a trial keeps it in memory. It writes parameters and attributes with the
next report. The rows are those that Optuna would have written, so its dashboard can read them.
"""

import copy
import functools
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, ParamSpec, TypeVar

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from cnnlab.errors import RunFailed
from cnnlab.process import received
from cnnlab.search.optuna_internals import (
    PARAMS,
    REPORTS,
    STUDIES,
    SYSTEM,
    TRIALS,
    USER,
    VALUES,
    CachedDatabase,
    id_of,
    report_columns,
    value_columns,
)
from cnnlab.search.slots import ATTEMPT, OWNER, SLOT

GATHER_SECONDS = 1.0
"""Parameters and attributes that are set within this time after the last write are written with the next report."""

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
    """The study's storage has not answered for OUTAGE_SECONDS, or a signal ended the wait. No trial is to blame."""


def patient(ask: Callable[P, T]) -> Callable[P, T]:
    """Ask a database again, with growing pauses, while it does not answer. Raises StorageGone."""

    @functools.wraps(ask)
    def asked(*args: P.args, **kwargs: P.kwargs) -> T:
        began, pause = time.monotonic(), 0.1
        while True:
            try:
                return ask(*args, **kwargs)
            except Exception as error:  # Optuna's, SQLAlchemy's or ours, caused by the driver's
                if (cause := _outage(error)) is None:
                    raise
                if received or time.monotonic() - began > OUTAGE_SECONDS:
                    reason = " ".join(str(cause.orig).split())[:200]
                    message = f"the study's storage does not answer: {reason}; the same command goes on"
                    raise StorageGone(message) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    return asked


def _outage(error: BaseException | None) -> OperationalError | InterfaceError | None:
    """The cause of an error if a server does not answer or a SQLite file is in use; None for any other error."""
    while error is not None and not isinstance(error, OperationalError | InterfaceError):
        error = error.__cause__ or error.__context__
    return error if error and (not isinstance(error.orig, sqlite3.Error) or "locked" in str(error)) else None


def _waiting() -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Two queries: a study's first waiting trial, and the number of its waiting trials, of slots below `wanted`."""
    slot, attempt, fixed = USER.alias(), USER.alias(), SYSTEM.alias()
    joined = (
        TRIALS.join(slot, (slot.c.trial_id == TRIALS.c.trial_id) & (slot.c.key == SLOT))
        .join(attempt, (attempt.c.trial_id == TRIALS.c.trial_id) & (attempt.c.key == ATTEMPT))
        .join(fixed, (fixed.c.trial_id == TRIALS.c.trial_id) & (fixed.c.key == FIXED), isouter=True)
    )
    waits = sa.and_(
        TRIALS.c.study_id == sa.bindparam("study"),
        TRIALS.c.state == TrialState.WAITING,
        sa.cast(slot.c.value_json, sa.Integer) < sa.bindparam("wanted"),
    )
    columns = (TRIALS.c.trial_id, TRIALS.c.number, slot.c.value_json, attempt.c.value_json, fixed.c.value_json)
    first = sa.select(*columns).select_from(joined).where(waits).order_by(TRIALS.c.number).limit(1)
    # a row that another process is just taking is passed over, so nobody waits for it
    first = first.with_for_update(skip_locked=True, of=TRIALS)
    return first, sa.select(sa.func.count()).select_from(joined).where(waits)


FIRST_WAITING, COUNT_WAITING = _waiting()


@dataclass
class _Claimed:
    """A trial that this process has claimed, with the parameters and attributes that are not written yet."""

    study_id: int
    trial: FrozenTrial
    sent: float
    """When something was last written."""
    params: list[dict[str, Any]] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    doubtful: bool = False
    """Whether the connection broke during a write, so that its result is unknown."""


class Database(CachedDatabase):
    """Optuna's storage in a database, whose trials are claimed and written in few statements.

    Each method is `patient`.

    Raises:
        StorageGone: from any method, if the database does not answer.
        StorageInternalError: from any method, if the database refuses a statement.
    """

    def __init__(self, url: str, engine_kwargs: dict[str, Any]) -> None:
        super().__init__(url, engine_kwargs)
        self._ids: dict[str, int] = {}
        self._claimed: dict[int, _Claimed] = {}
        self.doubtful = False
        self._writing = threading.Lock()  # the thread that beats writes too

    def get_study_id_from_name(self, study_name: str) -> int:
        if study_name not in self._ids:  # asked for each trial
            self._ids[study_name] = super().get_study_id_from_name(study_name)
        return self._ids[study_name]

    def add_waiting(self, study_id: int, wanted: int, least: int, missing: Callable[[int], list[Attempt]]) -> bool:
        """Add the missing attempts while no other process adds any, unless `least` are waiting.

        Args:
            missing: the attempts to add, from the number of those that are waiting.

        Returns:
            Whether any attempt waits.
        """
        below = {"study": study_id, "wanted": wanted}
        with self._transaction(self) as connection:
            if connection.execute(COUNT_WAITING, below).scalar_one() >= least:
                return True
            # locks the row for this transaction, as Optuna does before it numbers a trial; SQLite locks only by a write
            study = STUDIES.c.study_id == study_id
            connection.execute(sa.update(STUDIES).where(study).values(study_name=STUDIES.c.study_name))
            waiting = connection.execute(COUNT_WAITING, below).scalar_one()
            if waiting >= least:
                return True
            attempts = missing(waiting)
            _add(connection, study_id, attempts)
            return bool(waiting or attempts)

    def claim(self, study_id: int, wanted: int, owner: dict[str, Any]) -> FrozenTrial | None:
        """Start the first waiting trial of a slot below `wanted`, which no other process then has.

        None if no trial waits, or if other processes are just taking those that do.
        """
        with self._transaction(self) as connection:
            if self.doubtful:
                _let_go(connection, owner, self._claimed)
            row = connection.execute(FIRST_WAITING, {"study": study_id, "wanted": wanted}).first()
            if row is None:
                return None
            trial_id, number, slot, attempt, fixed = row
            waiting = (TRIALS.c.trial_id == trial_id) & (TRIALS.c.state == TrialState.WAITING)
            now = {TRIALS.c.state: TrialState.RUNNING, TRIALS.c.datetime_start: _utc_now()}
            if connection.execute(sa.update(TRIALS).where(waiting).values(now)).rowcount != 1:
                return None  # a database without row locks, and another process was faster
            connection.execute(sa.insert(USER), _row(trial_id, OWNER, owner))
        trial = FrozenTrial(
            number=number,
            state=TrialState.RUNNING,
            value=None,
            datetime_start=datetime.now(),
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={SLOT: json.loads(slot), ATTEMPT: json.loads(attempt), OWNER: owner},
            system_attrs={FIXED: json.loads(fixed)} if fixed else {},
            intermediate_values={},
            trial_id=trial_id,
        )
        self.remember(study_id, trial)
        self._claimed[trial_id] = _Claimed(study_id, trial, time.monotonic())
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
        row = {
            "trial_id": trial_id,
            "param_name": param_name,
            "param_value": param_value_internal,
            "distribution_json": distribution_to_json(distribution),
        }
        with self._writing:
            claimed.params.append(row)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        claimed = self._claimed.get(trial_id)
        if claimed is None:
            super().set_trial_user_attr(trial_id, key, value)
            return
        with self._writing:
            claimed.attributes[key] = claimed.trial.user_attrs[key] = value
        if time.monotonic() - claimed.sent > GATHER_SECONDS:
            with self._sending(claimed):
                pass

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        super().set_trial_system_attr(trial_id, key, value)  # at once: pruners in other processes read it
        if claimed := self._claimed.get(trial_id):
            claimed.trial.system_attrs[key] = value

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        claimed = self._claimed.get(trial_id)
        if claimed is None:
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)
            return
        row = {"trial_id": trial_id, "step": step, **report_columns(intermediate_value)}
        values = [sa.literal(value, REPORTS.c[column].type) for column, value in row.items()]
        if_running = sa.select(*values).select_from(TRIALS).where(_running(trial_id))
        reported = sa.insert(REPORTS).from_select(list(row), if_running).execution_options(preserve_rowcount=True)
        with self._sending(claimed) as connection:
            if claimed.doubtful:
                again = (REPORTS.c.trial_id == trial_id) & (REPORTS.c.step == step)
                connection.execute(sa.delete(REPORTS).where(again))
            _check_one(connection.execute(reported), trial_id)
        claimed.trial.intermediate_values[step] = intermediate_value

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        claimed = self._claimed.get(trial_id)
        if claimed is None or not state.is_finished():
            return super().set_trial_state_values(trial_id, state, values)
        end = {TRIALS.c.state: state, TRIALS.c.datetime_complete: _utc_now()}
        with self._sending(claimed) as connection:
            ended = connection.execute(sa.update(TRIALS).where(_running(trial_id)).values(end))
            now = sa.select(TRIALS.c.state).where(TRIALS.c.trial_id == trial_id)
            written = claimed.doubtful and not ended.rowcount and connection.scalar(now) == state
            if not written:
                _check_one(ended, trial_id)
            for objective, value in enumerate(() if written else values or ()):
                row = {"trial_id": trial_id, "objective": objective, **value_columns(value)}
                connection.execute(sa.insert(VALUES), row)
        trial = self._claimed.pop(trial_id).trial
        trial.state, trial.values, trial.datetime_complete = state, list(values) if values else None, datetime.now()
        self.remember(claimed.study_id, trial)  # Optuna reads the trial again after it has told the end
        return True

    @contextmanager
    def _sending(self, claimed: _Claimed) -> Iterator[sa.Connection]:
        """A transaction that also writes the trial's new parameters and attributes; if it fails, they are kept."""
        with self._writing:
            with self._transaction(claimed) as connection:
                yield connection
                _send(claimed, connection)
            claimed.params, claimed.attributes, claimed.sent = [], {}, time.monotonic()

    @contextmanager
    def _transaction(self, writer: "_Claimed | Database") -> Iterator[sa.Connection]:
        try:
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            writer.doubtful = True
            raise StorageInternalError("the database refused a transaction") from error
        writer.doubtful = False


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


def _let_go(connection: sa.Connection, owner: dict[str, Any], but: Collection[int]) -> None:
    """Set trials to waiting again that this process has claimed without receiving the answer."""
    claimed = (USER.c.key == OWNER) & (USER.c.value_json == json.dumps(owner)) & USER.c.trial_id.not_in(but)
    unknown = list(connection.scalars(sa.select(USER.c.trial_id).where(claimed)))
    still = TRIALS.c.trial_id.in_(unknown) & (TRIALS.c.state == TrialState.RUNNING)
    waiting = list(connection.scalars(sa.select(TRIALS.c.trial_id).where(still)))
    connection.execute(sa.delete(USER).where(USER.c.trial_id.in_(waiting), USER.c.key == OWNER))
    connection.execute(sa.update(TRIALS).where(still).values({TRIALS.c.state: TrialState.WAITING}))


def _send(claimed: _Claimed, connection: sa.Connection) -> None:
    trial_id = id_of(claimed.trial)
    if claimed.doubtful:
        names = [row["param_name"] for row in claimed.params]
        connection.execute(sa.delete(PARAMS).where(PARAMS.c.trial_id == trial_id, PARAMS.c.param_name.in_(names)))
    if claimed.params:
        connection.execute(sa.insert(PARAMS), claimed.params)
    if claimed.attributes:
        connection.execute(sa.delete(USER).where(USER.c.trial_id == trial_id, USER.c.key.in_(claimed.attributes)))
        rows = [_row(trial_id, key, value) for key, value in claimed.attributes.items()]
        connection.execute(sa.insert(USER), rows)


def _row(trial_id: int, key: str, value: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}


def _running(trial_id: int) -> sa.ColumnElement[bool]:
    return sa.and_(TRIALS.c.trial_id == trial_id, TRIALS.c.state == TrialState.RUNNING)


def _check_one(done: sa.CursorResult[Any], trial_id: int) -> None:
    if done.rowcount != 1:
        raise UpdateFinishedTrialError(f"trial {trial_id} was declared dead; another process has it now")


def _utc_now() -> datetime:
    """As Optuna keeps times: UTC without a time zone."""
    return datetime.now(timezone.utc).replace(tzinfo=None)
