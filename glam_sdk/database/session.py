"""Open sessions that read only, and close sessions whatever happens to the caller."""

from __future__ import annotations

import asyncio

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session

from glam_sdk.database.scope import ScopedSession


class ReadOnlySession(ScopedSession):
    """Refuse to write; PostgreSQL refuses by itself, SQLite would not."""


def read_only_error() -> RuntimeError:
    """Return the error for a write in a read-only unit of work."""
    return RuntimeError(
        "This unit of work is read-only and was asked to write. Open it without read_only=True."
    )


@event.listens_for(ReadOnlySession, "before_flush")
def _refuse_flush(session: Session, *_: object) -> None:
    if session.new or session.deleted or session.dirty:
        raise read_only_error()


@event.listens_for(ReadOnlySession, "do_orm_execute")
def _refuse_dml(state: ORMExecuteState) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        raise read_only_error()


async def close_shielded(session: AsyncSession, closing: set[asyncio.Task[None]]) -> None:
    """Close a session to the end even if the caller is cancelled meanwhile.

    Args:
        session: What to close; an open transaction is rolled back.
        closing: Holds the task while it runs, so that somebody can wait for it.
    """
    if not session.in_transaction():
        session.sync_session.close()  # nothing to send, so nothing to wait for
        return
    task = asyncio.ensure_future(session.close())
    closing.add(task)
    task.add_done_callback(closing.discard)
    await asyncio.shield(task)
