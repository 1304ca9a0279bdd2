"""Declare the two tables that tie messages to transactions: the outbox and the inbox.

They are no part of a service's own ``Base``: ``outbox_metadata`` is added to the database by
whoever uses them, and a migration environment names it beside the service's own metadata.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Text,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.database import NAMING_CONVENTION, UtcDateTime
from glam_sdk.database.types import utcnow

outbox_metadata = MetaData(naming_convention=NAMING_CONVENTION)


class _OutboxBase(DeclarativeBase):
    metadata = outbox_metadata


class OutboxRow(_OutboxBase):
    """Keep one message from the commit of its transaction until a stream has it."""

    __tablename__ = "glam_outbox"

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True
    )
    """Rows of one partition are sent in this order."""
    partition: Mapped[int] = mapped_column(SmallInteger(), server_default=text("0"))
    """Which of the partitions it belongs to."""
    event_id: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(Text())
    body: Mapped[bytes] = mapped_column(LargeBinary())
    """The message exactly as it will be sent."""
    headers: Mapped[dict[str, str]] = mapped_column(JSON())
    """The trace of the request that emitted the event, and the message id."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime(), default=utcnow)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime(), index=True)
    """When a stream had it, where rows are kept for a while."""
    parked_at: Mapped[datetime | None] = mapped_column(UtcDateTime())
    """Since when it is set aside because no stream can ever take it, such as for its size."""
    problem: Mapped[str | None] = mapped_column(Text())
    """Why it is set aside."""

    __table_args__ = (
        Index(
            "ix_glam_outbox_waiting",
            "partition",
            "id",
            postgresql_where=text("sent_at IS NULL AND parked_at IS NULL"),
            sqlite_where=text("sent_at IS NULL AND parked_at IS NULL"),
        ),
    )


class InboxRow(_OutboxBase):
    """Remember that a consumer has handled an event."""

    __tablename__ = "glam_inbox"

    durable: Mapped[str] = mapped_column(String(255), primary_key=True)
    event_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    handled_at: Mapped[datetime] = mapped_column(UtcDateTime(), default=utcnow, index=True)
