"""Store moments so that every database gives back the same UTC instant."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import DateTime
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


def utcnow() -> datetime:
    """Return the current moment, aware and in UTC."""
    return datetime.now(UTC)


class NaiveDatetimeError(ValueError):
    """Say that nobody knows which instant a datetime means."""


class UtcDateTime(TypeDecorator[datetime]):
    """Store an aware datetime as UTC and refuse a naive one.

    PostgreSQL keeps it as ``TIMESTAMP WITH TIME ZONE``; SQLite, which has no time zones, as the
    UTC wall clock, so that rows sort and compare the same way on both.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn the value into UTC on its way to the database.

        Raises:
            ValueError: For a datetime without a time zone.
        """
        if value is None:
            return None
        if not isinstance(value, datetime):
            raise TypeError("A value that is no datetime was given for a moment.")
        if value.utcoffset() is None:
            raise NaiveDatetimeError(
                f"{value.isoformat()} has no time zone. "
                "Give an aware datetime, such as datetime.now(UTC)."
            )
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - signature of the base class
        """Return what was stored as an aware UTC datetime."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
