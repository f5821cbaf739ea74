"""A study in a database that many processes share: Optuna's own tables, written to in few statements.

Optuna's RDBStorage sends some 50 statements a trial through SQLAlchemy's ORM, and to claim one every trial that has not
ended is read. Here the process that has claimed a trial keeps it in memory, and what it notes goes to the database
together with the next report. Whoever reads it, Optuna's dashboard too, finds what Optuna would have written.
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
from cnnlab.search.studies.optuna_internals import (
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
from cnnlab.search.studies.slots import ATTEMPT, OWNER, RETRY, SLOT

GATHER_SECONDS = 1.0
"""Parameters and attributes that are noted within this time after the last write wait for the next report."""

OUTAGE_SECONDS = 330.0
"""How long a database that does not answer is asked again: a restart, and 5 minutes without a network."""
LONGEST_PAUSE = 5.0

P = ParamSpec("P")
T = TypeVar("T")

Attempt = tuple[dict[str, Any], dict[str, Any]]
"""A trial to be added: the parameters that are fixed, and its user attributes."""

FIXED = "fixed_params"
"""Optuna's system attribute of a trial that waits with parameters."""


class StorageGone(RunFailed):
    """The study's storage has not answered for OUTAGE_SECONDS, or when a signal ended the wait: no trial's fault."""


def patient(ask: Callable[P, T]) -> Callable[P, T]:
    """Asks a database again, with growing pauses, while it does not answer. Raises StorageGone."""

    @functools.wraps(ask)
    def asked(*args: P.args, **kwargs: P.kwargs) -> T:
        began, pause = time.monotonic(), 0.1
        while True:
            try:
                return ask(*args, **kwargs)
            except Exception as error:  # Optuna's, SQLAlchemy's or ours, made of the driver's
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
    """What says that a server does not answer, or that a SQLite file is in use; None if the error is another."""
    while error is not None and not isinstance(error, OperationalError | InterfaceError):
        error = error.__cause__ or error.__context__
    return error if error and (not isinstance(error.orig, sqlite3.Error) or "locked" in str(error)) else None


def _waiting() -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Two queries: a study's first waiting trial, and the number of its waiting trials, of slots below `wanted`."""
    slot, attempt, fixed = USER.alias(), USER.alias(), SYSTEM.alias()
    whole = (
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
    first = sa.select(*columns).select_from(whole).where(waits).order_by(TRIALS.c.number).limit(1)
    # nobody waits for a row that another is just taking: it is passed over
    first = first.with_for_update(skip_locked=True, of=TRIALS)
    return first, sa.select(sa.func.count()).select_from(whole).where(waits)


def _slots() -> sa.Select[Any]:
    slot, retry = USER.alias(), USER.alias()
    own = TRIALS.join(slot, (slot.c.trial_id == TRIALS.c.trial_id) & (slot.c.key == SLOT)).join(
        retry, (retry.c.trial_id == TRIALS.c.trial_id) & (retry.c.key == RETRY), isouter=True
    )
    again = (TRIALS.c.state == TrialState.FAIL) & (sa.func.coalesce(retry.c.value_json, "") == "true")
    held = sa.func.max(sa.case((again, 0), else_=1))
    study = TRIALS.c.study_id == sa.bindparam("study")
    return sa.select(slot.c.value_json, held).select_from(own).where(study).group_by(slot.c.value_json)


FIRST_WAITING, COUNT_WAITING = _waiting()
SLOTS = _slots()


@dataclass
class _Own:
    """A trial that this process has claimed, and what is still to be written of it to the database."""

    study_id: int
    trial: FrozenTrial
    sent: float
    params: list[dict[str, Any]] = field(default_factory=list)
    new: dict[str, Any] = field(default_factory=dict)
    """User attributes that have no row yet."""
    changed: dict[str, Any] = field(default_factory=dict)
    doubtful: bool = False
    """The connection broke while it was written, so nobody knows whether it was."""


class Database(CachedDatabase):
    """Optuna's storage in a database, whose trials are claimed and written in few statements.

    Each of its methods is `patient`.

    Raises:
        StorageGone: from any method, if the database does not answer.
        StorageInternalError: from any method, if it refuses what is asked.
    """

    def __init__(self, url: str, engine_kwargs: dict[str, Any]) -> None:
        super().__init__(url, engine_kwargs)
        self._ids: dict[str, int] = {}
        self._own: dict[int, _Own] = {}
        self.doubtful = False
        self._writing = threading.Lock()  # the thread that beats writes too

    def get_study_id_from_name(self, study_name: str) -> int:
        if study_name not in self._ids:  # asked for each trial
            self._ids[study_name] = super().get_study_id_from_name(study_name)
        return self._ids[study_name]

    def add_waiting(
        self, study_id: int, wanted: int, ahead: int, least: int, attempt: Callable[[int, bool], Attempt]
    ) -> bool:
        """Add attempts until `ahead` wait to be claimed, while no other process adds any; none if `least` wait already.

        Returns whether any waits.

        Args:
            attempt: a slot's next one, from its number and whether there was one before.
        """
        among = {"study": study_id, "wanted": wanted}
        with self._transaction(self) as connection:
            if connection.execute(COUNT_WAITING, among).scalar_one() >= least:
                return True
            # takes the row for this transaction, as Optuna does before it numbers a trial; SQLite locks by writing only
            study = STUDIES.c.study_id == study_id
            connection.execute(sa.update(STUDIES).where(study).values(study_name=STUDIES.c.study_name))
            waiting = connection.execute(COUNT_WAITING, among).scalar_one()
            if waiting >= least:
                return True
            tried = _tried(connection, study_id, wanted)
            lacking = [number for number in range(wanted) if not tried.get(number)]
            attempts = [attempt(number, number in tried) for number in lacking[: ahead - waiting]]
            _add(connection, study_id, attempts)
            return bool(waiting or attempts)

    def claim(self, study_id: int, wanted: int, owner: dict[str, Any]) -> FrozenTrial | None:
        """Start the first waiting trial of a slot below `wanted`; no other process has it.

        None if none waits, or if others are taking those that do at this moment.
        """
        with self._transaction(self) as connection:
            if self.doubtful:
                _let_go(connection, owner, self._own)
            row = connection.execute(FIRST_WAITING, {"study": study_id, "wanted": wanted}).first()
            if row is None:
                return None
            trial_id, number, slot, attempt, fixed = row
            waiting = (TRIALS.c.trial_id == trial_id) & (TRIALS.c.state == TrialState.WAITING)
            now = {TRIALS.c.state: TrialState.RUNNING, TRIALS.c.datetime_start: _utc_now()}
            if connection.execute(sa.update(TRIALS).where(waiting).values(now)).rowcount != 1:
                return None  # a database without row locks, and another was faster
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
        self._own[trial_id] = _Own(study_id, trial, time.monotonic())
        return trial

    def get_trial(self, trial_id: int) -> FrozenTrial:
        own = self._own.get(trial_id)
        return copy.deepcopy(own.trial) if own else super().get_trial(trial_id)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        own = self._own.get(trial_id)
        if own is None:
            super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
            return
        own.trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        own.trial.distributions[param_name] = distribution
        row = {
            "trial_id": trial_id,
            "param_name": param_name,
            "param_value": param_value_internal,
            "distribution_json": distribution_to_json(distribution),
        }
        with self._writing:
            own.params.append(row)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        own = self._own.get(trial_id)
        if own is None:
            super().set_trial_user_attr(trial_id, key, value)
            return
        with self._writing:
            known = key in own.trial.user_attrs and key not in own.new
            (own.changed if known else own.new)[key] = value
            own.trial.user_attrs[key] = value
        if time.monotonic() - own.sent > GATHER_SECONDS:
            with self._sending(own):
                pass

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        super().set_trial_system_attr(trial_id, key, value)  # a pruner's word to the others: at once
        if own := self._own.get(trial_id):
            own.trial.system_attrs[key] = value

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        own = self._own.get(trial_id)
        if own is None:
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)
            return
        row = {"trial_id": trial_id, "step": step, **report_columns(intermediate_value)}
        values = [sa.literal(value, REPORTS.c[column].type) for column, value in row.items()]
        still = sa.select(*values).select_from(TRIALS).where(_running(trial_id))
        reported = sa.insert(REPORTS).from_select(list(row), still).execution_options(preserve_rowcount=True)
        with self._sending(own) as connection:
            if own.doubtful:
                again = (REPORTS.c.trial_id == trial_id) & (REPORTS.c.step == step)
                connection.execute(sa.delete(REPORTS).where(again))
            _check_one(connection.execute(reported), trial_id)
        own.trial.intermediate_values[step] = intermediate_value

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        own = self._own.get(trial_id)
        if own is None or not state.is_finished():
            return super().set_trial_state_values(trial_id, state, values)
        end = {TRIALS.c.state: state, TRIALS.c.datetime_complete: _utc_now()}
        with self._sending(own) as connection:
            ended = connection.execute(sa.update(TRIALS).where(_running(trial_id)).values(end))
            found = sa.select(TRIALS.c.state).where(TRIALS.c.trial_id == trial_id)
            written = own.doubtful and not ended.rowcount and connection.scalar(found) == state
            if not written:
                _check_one(ended, trial_id)
            for objective, value in enumerate(() if written else values or ()):
                row = {"trial_id": trial_id, "objective": objective, **value_columns(value)}
                connection.execute(sa.insert(VALUES), row)
        trial = self._own.pop(trial_id).trial
        trial.state, trial.values, trial.datetime_complete = state, list(values) if values else None, datetime.now()
        self.remember(own.study_id, trial)  # Optuna looks at what it has told
        return True

    @contextmanager
    def _sending(self, own: _Own) -> Iterator[sa.Connection]:
        """A transaction that also writes what is still to be written of a trial; if it fails, that is kept."""
        with self._writing:
            with self._transaction(own) as connection:
                yield connection
                _send(own, connection)
            own.params, own.new, own.changed, own.sent = [], {}, {}, time.monotonic()

    @contextmanager
    def _transaction(self, writer: "_Own | Database") -> Iterator[sa.Connection]:
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


def _tried(connection: sa.Connection, study_id: int, wanted: int) -> dict[int, bool]:
    """Each slot that has an attempt -> whether one of its attempts has ended for good, runs or waits."""
    rows = connection.execute(SLOTS, {"study": study_id})
    return {int(slot): bool(held) for slot, held in rows if int(slot) < wanted}


def _add(connection: sa.Connection, study_id: int, attempts: Sequence[Attempt]) -> None:
    """Add trials, numbered as Optuna numbers them: by the number of trials there were before."""
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
    """Have those trials wait again that this process has claimed without having learnt of it."""
    claimed = (USER.c.key == OWNER) & (USER.c.value_json == json.dumps(owner)) & USER.c.trial_id.not_in(but)
    unknown = list(connection.scalars(sa.select(USER.c.trial_id).where(claimed)))
    still = TRIALS.c.trial_id.in_(unknown) & (TRIALS.c.state == TrialState.RUNNING)
    waiting = list(connection.scalars(sa.select(TRIALS.c.trial_id).where(still)))
    connection.execute(sa.delete(USER).where(USER.c.trial_id.in_(waiting), USER.c.key == OWNER))
    connection.execute(sa.update(TRIALS).where(still).values({TRIALS.c.state: TrialState.WAITING}))


def _send(own: _Own, connection: sa.Connection) -> None:
    if own.doubtful:
        written = ((PARAMS.c.param_name, [row["param_name"] for row in own.params]), (USER.c.key, list(own.new)))
        for column, names in written:
            rows = (column.table.c.trial_id == id_of(own.trial)) & column.in_(names)
            connection.execute(sa.delete(column.table).where(rows))
    if own.params:
        connection.execute(sa.insert(PARAMS), own.params)
    if own.new:
        connection.execute(sa.insert(USER), [_row(id_of(own.trial), key, value) for key, value in own.new.items()])
    for key, value in own.changed.items():
        row = (USER.c.trial_id == id_of(own.trial)) & (USER.c.key == key)
        connection.execute(sa.update(USER).where(row).values(value_json=json.dumps(value)))


def _row(trial_id: int, key: str, value: Any) -> dict[str, Any]:
    return {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}


def _running(trial_id: int) -> sa.ColumnElement[bool]:
    return sa.and_(TRIALS.c.trial_id == trial_id, TRIALS.c.state == TrialState.RUNNING)


def _check_one(done: sa.CursorResult[Any], trial_id: int) -> None:
    if done.rowcount != 1:
        raise UpdateFinishedTrialError(f"trial {trial_id} was declared dead, and another process has it by now")


def _utc_now() -> datetime:
    """As Optuna keeps times: UTC, without saying so."""
    return datetime.now(timezone.utc).replace(tzinfo=None)
