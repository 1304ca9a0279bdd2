"""Keep a transaction's messages until it commits, and write them as its last statement.

The number of a row is given when it is written. Written last, when the transaction holds every
lock it needs, the numbers follow the order in which transactions that wait for each other commit.
With PostgreSQL the same statement wakes the relays: ``NOTIFY`` reaches them at the commit.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, cast

import orjson
from sqlalchemy import (
    Connection,
    Dialect,
    Insert,
    Table,
    bindparam,
    delete,
    event,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from glam_sdk.database.scope import ScopedSession
from glam_sdk.database.types import utcnow
from glam_sdk.outbox.models import OutboxRow

CHANNEL: Final = "glam_outbox"
_PENDING: Final = "glam_outbox_pending"
_READY: Final = "glam_outbox_insert"
"""Name in a dialect of the INSERT that is prepared for it."""
_IDS_AT_ONCE: Final = 1_000  # a statement of SQLite has a limited number of values
_TABLE: Final = cast("Table", OutboxRow.__table__)
_COLUMNS: Final = ("partition", "event_id", "subject", "body", "headers", "created_at")
_INSERT: Final[Insert] = insert(_TABLE).inline()  # nobody asks for the number it gets
# Reading from the call, it notifies and has no row to give back, as it would have by RETURNING.
_INSERT_AND_NOTIFY: Final = insert(_TABLE).from_select(
    _COLUMNS,
    select(*(bindparam(name, type_=_TABLE.columns[name].type) for name in _COLUMNS)).select_from(
        func.pg_notify(literal_column(f"'{CHANNEL}'"), literal_column("''"))
    ),
)


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
    now = utcnow()
    sent: list[Any] | None = None
    if not connection.get_execution_options().get("schema_translate_map"):
        try:
            moment = ready.moment(now)
            sent = [ready.parameters({**row, "created_at": moment}) for row in rows]
        except Exception:  # noqa: BLE001 - what cannot be prepared is SQLAlchemy's to refuse
            sent = None
    try:
        if sent is not None:
            connection.exec_driver_sql(ready.sql, sent if len(sent) > 1 else sent[0])
        else:
            whole = [{**row, "created_at": now} for row in rows]
            connection.execute(ready.statement, whole if len(whole) > 1 else whole[0])
    except Exception:
        if len(rows) > 1 and connection.dialect.name == "sqlite":
            _take_back(connection, rows, now)
        raise


def _take_back(connection: Connection, rows: list[dict[str, Any]], moment: datetime) -> None:
    """Delete the rows before the one that failed, which SQLite keeps.

    Whoever puts it right and commits again would have them twice.
    """
    ids = [row["event_id"] for row in rows]
    columns = _TABLE.columns
    with suppress(Exception):  # the first error says more, also where the connection is gone
        for start in range(0, len(ids), _IDS_AT_ONCE):
            some = columns.event_id.in_(ids[start : start + _IDS_AT_ONCE])
            connection.execute(delete(_TABLE).where(columns.created_at == moment, some))


class _ReadyInsert:
    """Hold the INSERT as the driver takes it.

    SQLAlchemy looks a statement up and prepares its values anew each time, for more than it costs
    to send this one.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.statement = _INSERT_AND_NOTIFY if dialect.name == "postgresql" else _INSERT
        compiled: Any = self.statement.compile(dialect=dialect, column_keys=_COLUMNS)
        self.sql = str(compiled)
        places: list[str] | None = compiled.positiontup
        self._in_place = None if places is None else itemgetter(*places)
        prepare: dict[str, Callable[[Any], Any]] = {
            name: process
            for name in _COLUMNS
            if (process := _TABLE.columns[name].type.dialect_impl(dialect).bind_processor(dialect))
        }
        self.moment = prepare.pop("created_at", lambda moment: moment)
        """Return a moment as the driver wants it: all rows have the same."""
        if "headers" in prepare and prepare["headers"]({}) == "{}":
            prepare["headers"] = _as_text(prepare["headers"])
        self._prepare = tuple(prepare.items())

    def parameters(self, row: dict[str, Any]) -> Any:
        """Return a row's values as the driver wants them; the dict is used up."""
        for name, prepare in self._prepare:
            row[name] = prepare(row[name])
        return row if self._in_place is None else self._in_place(row)


def _as_text(prepare: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what writes headers as JSON, quicker where they are plain."""

    def write(headers: dict[str, str]) -> Any:
        written = orjson.dumps(headers)
        # Some databases have no place for other characters, which the standard library spells out.
        return written.decode() if written.isascii() else prepare(headers)

    return write


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
