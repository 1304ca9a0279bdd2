"""Get along with OpenTelemetry's own instrumentations of SQLAlchemy and asyncpg.

A service may have them installed, by ``opentelemetry-instrument`` for one. Whoever comes first
makes the span; the other stands aside, so a statement is one span.
"""

from __future__ import annotations

import sys
from contextvars import Token
from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import INVALID_SPAN, Span
from opentelemetry.util.types import AttributeValue

from glam_sdk.telemetry import conventions as conv

_OF_SQLALCHEMY: Final = "opentelemetry.instrumentation.sqlalchemy"
_OF_ASYNCPG: Final = "opentelemetry.instrumentation.asyncpg"
_OLD_QUERY_TEXT: Final = "db.statement"


def is_active() -> bool:
    """Tell whether one of the two is loaded in this process."""
    return _OF_SQLALCHEMY in sys.modules or _OF_ASYNCPG in sys.modules


def span_of(execution: Any) -> Span | None:
    """Return the span that contrib's SQLAlchemy instrumentation opened for an execution."""
    span = getattr(execution, "_otel_span", None)
    return span if isinstance(span, Span) and span is not INVALID_SPAN else None


def join(span: Span, name: str, attributes: dict[str, AttributeValue]) -> Span:
    """Make another's span say what ours would, without the literals it took over; return it."""
    span.update_name(name)
    span.set_attributes(attributes)
    span.set_attribute(_OLD_QUERY_TEXT, attributes[conv.DB_QUERY_TEXT])
    return span


def silence() -> Token[Context]:
    """Keep other instrumentations from making spans until the token is detached."""
    return otel.attach(otel.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))


class _QuietRows:
    """Fetch the rows of a stream without a span for each fetch."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    async def fetch(self, count: int) -> Any:
        token = silence()
        try:
            return await self._rows.fetch(count)
        finally:
            otel.detach(token)


def quieten(cursor: Any) -> None:
    """Keep the fetches of an asyncpg stream from being spans: its statement has one already."""
    rows = getattr(cursor, "_cursor", None)
    if getattr(cursor, "server_side", False) and hasattr(rows, "fetch"):
        cursor._cursor = _QuietRows(rows)  # noqa: SLF001 - SQLAlchemy's adapter offers no other way
