"""Keep a transaction's messages until it commits, and write them as its last statement.

The number of a row is given when it is written. Written last, when the transaction holds every
lock it needs, the numbers follow the order in which transactions that wait for each other commit.
With PostgreSQL the same statement wakes the relays: ``NOTIFY`` reaches them at the commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Insert, event, func, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from glam_sdk.database.scope import ScopedSession
from glam_sdk.outbox.models import OutboxRow

CHANNEL: Final = "glam_outbox"
_PENDING: Final = "glam_outbox_pending"
_INSERT: Final[Insert] = insert(OutboxRow.__table__)  # type: ignore[arg-type]  # a Table it is
_NOTIFY: Final[ColumnElement[Any]] = func.pg_notify(CHANNEL, "")
_INSERT_AND_NOTIFY: Final = _INSERT.returning(_NOTIFY)


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
    pending.clear()
    is_postgresql = session.get_bind().dialect.name == "postgresql"
    # A session that is limited to one merchant hands out no connection; these rows are nobody's.
    connection = Session.connection(session)
    statement = _INSERT_AND_NOTIFY if is_postgresql else _INSERT
    connection.execute(statement, rows if len(rows) > 1 else rows[0])


@event.listens_for(ScopedSession, "after_soft_rollback")
def _forget(session: Session, ended: SessionTransaction) -> None:
    pending: list[_Pending] | None = session.info.get(_PENDING)
    if pending:
        pending[:] = [one for one in pending if ended.nested and one.savepoint is not ended]
