"""Keep a transaction's messages until it commits, and write them as its last statement.

The number of a row is given when it is written. Written last, when the transaction holds every
lock it needs, the numbers follow the order in which transactions that wait for each other commit.
With PostgreSQL the same statement wakes the relays: ``NOTIFY`` reaches them at the commit.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Connection, Dialect, Insert, Table, event, func, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from glam_sdk.database.scope import ScopedSession
from glam_sdk.database.types import utcnow
from glam_sdk.outbox.models import OutboxRow

CHANNEL: Final = "glam_outbox"
_PENDING: Final = "glam_outbox_pending"
_READY: Final = "glam_outbox_insert"
"""Name in a dialect of the INSERT that is prepared for it."""
_TABLE: Final = cast("Table", OutboxRow.__table__)
_INSERT: Final[Insert] = insert(_TABLE).inline()  # nobody asks for the number it gets
_NOTIFY: Final[ColumnElement[Any]] = func.pg_notify(CHANNEL, "")
_INSERT_AND_NOTIFY: Final = _INSERT.returning(_NOTIFY)
_COLUMNS: Final = ("partition", "event_id", "subject", "body", "headers", "created_at")


@dataclass(slots=True)
class _Pending:
    row: dict[str, Any]
    savepoint: SessionTransaction | None
    """The innermost savepoint it was emitted in."""


def write_at_commit(session: AsyncSession, row: dict[str, Any]) -> None:
    """Write a row of the outbox when the session's transaction commits, and only then."""
    inner = session.sync_session
    pending: list[_Pending] | None = inner.info.get(_PENDING)
    if pending is None:
        pending = inner.info[_PENDING] = []
        if not isinstance(inner, ScopedSession):
            event.listen(inner, "before_commit", _write)
            event.listen(inner, "after_soft_rollback", _forget)
    if not inner.in_transaction():
        inner.begin()  # Else a rollback before the first statement would go unheard.
    pending.append(_Pending(row, inner.get_nested_transaction()))


@event.listens_for(ScopedSession, "before_commit")
def _write(session: Session) -> None:
    pending: list[_Pending] | None = session.info.get(_PENDING)
    if not pending:
        return
    savepoint = session.get_nested_transaction()
    if savepoint is not None:
        # Released, what it holds is up to the transaction around it.
        outer = savepoint.parent
        for one in pending:
            if one.savepoint is savepoint:
                one.savepoint = outer if outer is not None and outer.nested else None
        return
    session.flush()
    rows = [one.row for one in pending]
    # A session that is limited to one merchant hands out no connection; these rows are nobody's.
    _insert(Session.connection(session), rows)
    del pending[: len(rows)]  # only now: a commit that fails may be tried again


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> None:
    ready = _ready_for(connection.dialect)
    sent: list[Any] | None = None
    if not connection.get_execution_options().get("schema_translate_map"):
        now = utcnow()
        # A value that cannot be prepared is SQLAlchemy's to refuse.
        with suppress(Exception):
            sent = [ready.parameters({**row, "created_at": now}) for row in rows]
    if sent is None:
        result = connection.execute(ready.statement, rows if len(rows) > 1 else rows[0])
    else:
        result = connection.exec_driver_sql(ready.sql, sent if len(sent) > 1 else sent[0])
    result.close()


class _ReadyInsert:
    """Hold the INSERT as the driver takes it.

    SQLAlchemy looks a statement up and prepares its values anew each time, for more than it costs
    to send this one.
    """

    def __init__(self, dialect: Dialect) -> None:
        columns = _TABLE.columns
        self.statement = _INSERT_AND_NOTIFY if dialect.name == "postgresql" else _INSERT
        compiled: Any = self.statement.compile(dialect=dialect, column_keys=_COLUMNS)
        self.sql = str(compiled)
        self._constant: dict[str, Any] = {
            name: value for name, value in compiled.params.items() if name not in columns
        }
        places: list[str] | None = compiled.positiontup
        self._in_place = None if places is None else itemgetter(*places)
        self._prepare = [
            (name, prepare)
            for name in _COLUMNS
            if (prepare := columns[name].type.dialect_impl(dialect).bind_processor(dialect))
        ]

    def parameters(self, row: dict[str, Any]) -> Any:
        """Return a row's values as the driver wants them; the dict is used up."""
        for name, prepare in self._prepare:
            row[name] = prepare(row[name])
        row |= self._constant
        return row if self._in_place is None else self._in_place(row)


def _ready_for(dialect: Dialect) -> _ReadyInsert:
    ready: _ReadyInsert | None = getattr(dialect, _READY, None)
    if ready is None:
        ready = _ReadyInsert(dialect)
        setattr(dialect, _READY, ready)  # so that it goes with it
    return ready


@event.listens_for(ScopedSession, "after_soft_rollback")
def _forget(session: Session, ended: SessionTransaction) -> None:
    pending: list[_Pending] | None = session.info.get(_PENDING)
    if pending:
        pending[:] = [one for one in pending if ended.nested and one.savepoint is not ended]
