"""Open sessions that read only, and close sessions whatever happens to the caller."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session

from glam_sdk.database.scope import ScopedSession
from glam_sdk.telemetry.logs import get_logger

_log = get_logger("glam_sdk.database")

_BUSY_TIMEOUT_S: Final = 5.0
_BUSY_WAIT_S: Final = 0.005


class ReadOnlySession(ScopedSession):
    """Refuse to write before the database does, in words that say what to do."""


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
    task = asyncio.ensure_future(_close(session))
    closing.add(task)
    task.add_done_callback(closing.discard)
    await asyncio.shield(task)


async def _close(session: AsyncSession) -> None:
    deadline = asyncio.get_running_loop().time() + _BUSY_TIMEOUT_S
    while True:
        try:
            await session.close()
        except exc.IllegalStateChangeError:
            # A task that shares it, by mistake, is not done: gather() does not wait when one fails.
            if asyncio.get_running_loop().time() >= deadline:
                raise
            await asyncio.sleep(_BUSY_WAIT_S)
        except exc.DBAPIError as error:
            # Nothing is kept without a commit. What ended the block is worth more than this.
            _log.warning("database.rollback_failed", error=type(error.orig).__name__)
            with suppress(exc.SQLAlchemyError):
                await session.invalidate()
            return
        else:
            return
