"""Read and settle the rows of one outbox, and clean up what is old."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Delete, Update, and_, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from glam_sdk.database import Database
from glam_sdk.database.telemetry import UNTRACED
from glam_sdk.database.types import utcnow
from glam_sdk.outbox.models import InboxRow, OutboxRow

_RELAY_LOCK: Final = 0x676C616D_6F7574  # "glam" "out": one relay of a database sends at a time
_QUIET: Final = {UNTRACED: True}


@dataclass(frozen=True, slots=True)
class Message:
    """Hold what is sent of one row."""

    id: int
    subject: str
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Standing:
    """Tell how much an outbox holds."""

    waiting: int
    """Messages no stream has so far."""
    parked: int
    """Messages set aside."""
    oldest: datetime | None
    """When the oldest waiting message was written."""

    def age_s(self) -> float:
        """Return how long the oldest message has been waiting."""
        return (utcnow() - self.oldest).total_seconds() if self.oldest else 0.0


async def take_turn(session: AsyncSession) -> bool:
    """Become the one relay of the database that sends, until the transaction ends."""
    lock = select(func.pg_try_advisory_xact_lock(_RELAY_LOCK))
    return bool(await session.scalar(lock, execution_options=_QUIET))


async def read(session: AsyncSession, limit: int) -> list[Message]:
    """Return the oldest messages that are to be sent."""
    columns = (OutboxRow.id, OutboxRow.subject, OutboxRow.body, OutboxRow.headers)
    statement = select(*columns).where(_waiting()).order_by(OutboxRow.id).limit(limit)
    statement = statement.with_for_update(skip_locked=True)
    rows = await session.execute(statement, execution_options=_QUIET)
    return [Message(*row) for row in rows]


async def settle(session: AsyncSession, ids: Sequence[int], *, keep: bool) -> None:
    """Note that streams have these messages: delete them, or mark them as sent."""
    statement: Delete | Update = delete(OutboxRow)
    if keep:
        statement = update(OutboxRow).values(sent_at=utcnow())
    await session.execute(statement.where(OutboxRow.id.in_(ids)), execution_options=_UNSYNCED)


async def park(session: AsyncSession, message_id: int, problem: str) -> None:
    """Set a message aside, so that those behind it get through."""
    statement = update(OutboxRow).values(parked_at=utcnow(), problem=problem)
    await session.execute(statement.where(OutboxRow.id == message_id), execution_options=_UNSYNCED)


async def standing(db: Database) -> Standing:
    """Count what waits and what is set aside."""
    async with db.unit_of_work(read_only=True) as uow:
        counts = select(func.count(), func.min(OutboxRow.created_at)).where(_waiting())
        waiting, oldest = (await uow.session.execute(counts, execution_options=_QUIET)).one()
        aside = select(func.count()).select_from(OutboxRow).where(OutboxRow.parked_at.is_not(None))
        parked = await uow.session.scalar(aside, execution_options=_QUIET)
    return Standing(waiting, parked or 0, oldest)


async def clean(db: Database, *, sent: timedelta, inbox: timedelta) -> None:
    """Delete messages sent longer ago than ``sent``, and inbox notes older than ``inbox``."""
    now = utcnow()
    async with db.unit_of_work() as uow:
        for statement in (
            delete(OutboxRow).where(OutboxRow.sent_at < now - sent),
            delete(InboxRow).where(InboxRow.handled_at < now - inbox),
        ):
            await uow.session.execute(statement, execution_options={**_QUIET, **_UNSYNCED})


def _waiting() -> ColumnElement[bool]:
    return and_(OutboxRow.sent_at.is_(None), OutboxRow.parked_at.is_(None))


# Nothing of these tables is in the session: there is no object to bring up to date.
_UNSYNCED: Final[dict[str, Any]] = {"synchronize_session": False}
