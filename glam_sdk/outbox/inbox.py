"""Handle each event at most once: what a handler writes and the note that it did, together.

Flow: step 12, around the handler. The stream delivers at least once; with the inbox the effect in
the database happens exactly once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from glam_sdk.database import Database, UnitOfWork
from glam_sdk.database.inserting import insert_into
from glam_sdk.database.types import utcnow
from glam_sdk.messaging import AlreadyHandled, Delivery, HandlerScope, HandlerSpec
from glam_sdk.outbox.models import InboxRow, outbox_metadata


def inbox_scope(db: Database) -> HandlerScope:
    """Return the scope that gives each handler call a unit of work and runs it once per event.

    The event is noted first, under the handler's durable name; a second delivery at the same time
    waits until the first has committed or failed. An event noted before raises ``AlreadyHandled``.
    A handler marked with ``inbox=False`` gets its unit of work and no note.

    Args:
        db: The consumer's own database.
    """
    db.add_metadata(outbox_metadata)

    @asynccontextmanager
    async def open_scope(
        spec: HandlerSpec, delivery: Delivery
    ) -> AsyncIterator[Mapping[type, object]]:
        async with db.unit_of_work() as uow:
            if spec.inbox and not await _note(uow.session, spec.durable, delivery.event_id):
                raise AlreadyHandled
            yield {UnitOfWork: uow}

    def scope(
        spec: HandlerSpec, delivery: Delivery
    ) -> AbstractAsyncContextManager[Mapping[type, object]]:
        return open_scope(spec, delivery)

    return scope


async def _note(session: AsyncSession, durable: str, event_id: str) -> bool:
    """Insert the row; tell whether it was not there."""
    values = {"durable": durable, "event_id": event_id, "handled_at": utcnow()}
    insert = insert_into(InboxRow, session.get_bind().dialect.name)
    statement = insert.values(values).on_conflict_do_nothing()
    noted = await session.execute(statement.returning(InboxRow.event_id))
    return noted.first() is not None
