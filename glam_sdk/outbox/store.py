"""Read and settle the rows of one outbox, and clean up what is old."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Delete,
    Update,
    and_,
    any_,
    delete,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from glam_sdk.database import Database
from glam_sdk.database.telemetry import UNTRACED
from glam_sdk.database.types import utcnow
from glam_sdk.messaging import Outgoing
from glam_sdk.outbox.models import InboxRow, OutboxRow
from glam_sdk.outbox.partitions import PARTITIONS

_TAKE: Final = text(
    # Of the partitions in which something waits: the oldest ones that are free, half of them at
    # most, so that other relays find work too. The locks end with the transaction. FOR UPDATE looks
    # at a row as it is now: what the last holder of a lock has sent meanwhile is left out.
    f"""
    WITH heads AS MATERIALIZED (
        SELECT p, (SELECT id FROM glam_outbox WHERE partition = p AND sent_at IS NULL
            AND parked_at IS NULL ORDER BY id LIMIT 1) AS head
        FROM generate_series(0, {PARTITIONS - 1}) AS p
    ), waiting AS MATERIALIZED (
        SELECT p, head FROM heads WHERE head IS NOT NULL AND p <> ALL(CAST(:resting AS integer[]))
    ), taken AS MATERIALIZED (
        SELECT p FROM (SELECT p FROM waiting ORDER BY head OFFSET 0) AS oldest
        WHERE pg_try_advisory_xact_lock(hashtext(current_schema() || '.glam_outbox'), p)
        LIMIT (SELECT (count(*) + 1) / 2 FROM waiting)
    ), picked AS MATERIALIZED (
        SELECT oldest.id FROM taken, LATERAL (
            SELECT id FROM glam_outbox WHERE partition = p AND sent_at IS NULL
                AND parked_at IS NULL ORDER BY id
            LIMIT 2 * GREATEST(:limit / (SELECT count(*) FROM taken), 10)
        ) AS oldest ORDER BY id LIMIT :limit
    )
    SELECT subject, body, headers, partition, id FROM glam_outbox
    WHERE id = ANY(ARRAY(SELECT id FROM picked)) AND sent_at IS NULL AND parked_at IS NULL
    ORDER BY id FOR UPDATE SKIP LOCKED
    """  # noqa: S608 - a number of ours
).columns(OutboxRow.subject, OutboxRow.body, OutboxRow.headers, OutboxRow.partition, OutboxRow.id)
_QUIET: Final = {UNTRACED: True}


@dataclass(slots=True)
class Message(Outgoing):
    """Hold what is sent of one row; its lane is the row's partition."""

    id: int = 0


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


async def take(session: AsyncSession, limit: int, resting: Collection[int]) -> list[Message]:
    """Become the one relay of some partitions until the transaction ends (PostgreSQL).

    Returns:
        Their oldest messages.
    """
    values = {"resting": [*resting], "limit": limit}
    return [Message(*row) for row in await session.execute(_TAKE, values, execution_options=_QUIET)]


async def read(session: AsyncSession, limit: int, resting: Collection[int]) -> list[Message]:
    """Return the oldest messages that are to be sent, but for those of some partitions."""
    columns = (
        OutboxRow.subject, OutboxRow.body, OutboxRow.headers, OutboxRow.partition, OutboxRow.id
    )  # fmt: skip
    statement = select(*columns).where(_waiting(), OutboxRow.partition.not_in(resting))
    statement = statement.order_by(OutboxRow.id).limit(limit)
    rows = await session.execute(statement, execution_options=_QUIET)
    return [Message(*row) for row in rows]


async def settle(session: AsyncSession, ids: Sequence[int], *, keep: bool) -> None:
    """Note that streams have these messages: delete them, or mark them as sent."""
    statement: Delete | Update = delete(OutboxRow)
    if keep:
        statement = update(OutboxRow).values(sent_at=utcnow())
    if session.get_bind().dialect.name == "postgresql":
        which = OutboxRow.id == any_(literal(ids, ARRAY(BigInteger())))
    else:
        which = OutboxRow.id.in_(ids)
    await session.execute(statement.where(which), execution_options=_UNSYNCED)


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
