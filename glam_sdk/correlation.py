"""Keep the correlation helpers that services know, thin over the OpenTelemetry context.

New code needs none of them: incoming requests and messages set the context, outgoing ones carry it,
and ``glam_sdk.correlation_id()`` reads it. They change no dict that is passed to them; use what
they return.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from typing import Any, Final

from opentelemetry import baggage, propagate
from opentelemetry.context import Context, attach

from glam_sdk import context

CORRELATION_HEADER: Final = "X-Correlation-ID"


def get_correlation_context() -> str | None:
    """Return the correlation id of the work being done, if it has one."""
    return context.correlation_id()


def set_correlation_context(correlation_id: str | None) -> Token[Context]:
    """Make a correlation id current in this task, or None to have none.

    Returns:
        What ``opentelemetry.context.detach`` takes to put back what was current before.

    Raises:
        ValueError: For an id that would not be accepted on the wire.
    """
    if correlation_id is None:
        return attach(baggage.remove_baggage(context.CORRELATION_ID_KEY))
    if not context.is_valid_id(correlation_id):
        raise ValueError(
            f"{correlation_id!r:.140} is no correlation id. "
            "One has 1 to 128 characters of A-Za-z0-9._:-/+=@ and begins with a letter or digit."
        )
    return attach(context.with_correlation_id(correlation_id))


def add_correlation_header(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of the headers with ``X-Correlation-ID``, unless they have one already."""
    added = dict(headers)
    current = context.correlation_id()
    if current is not None and all(name.lower() != CORRELATION_HEADER.lower() for name in added):
        added[CORRELATION_HEADER] = current
    return added


def add_correlation_to_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the event with ``metadata.correlation_id``, unless it has one already."""
    added = dict(event)
    current = context.correlation_id()
    if current is not None and extract_correlation_from_event(event) is None:
        metadata = event.get("metadata")
        kept = metadata if isinstance(metadata, Mapping) else {}
        added["metadata"] = {**kept, "correlation_id": current}
    return added


def extract_correlation_from_event(event: Mapping[str, Any]) -> str | None:
    """Return ``event["metadata"]["correlation_id"]``; None when it is absent or not valid."""
    metadata = event.get("metadata")
    found = metadata.get("correlation_id") if isinstance(metadata, Mapping) else None
    return found if isinstance(found, str) and context.is_valid_id(found) else None


def get_trace_context() -> dict[str, str]:
    """Return the current context as W3C headers: ``traceparent``, ``tracestate``, ``baggage``."""
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return headers


def set_trace_context(headers: Mapping[str, str]) -> Token[Context]:
    """Continue, in this task, the context that W3C headers carry; any case of names will do.

    Returns:
        What ``opentelemetry.context.detach`` takes to put back what was current before.
    """
    # W3C headers are ASCII; the propagators fail on what cannot be encoded.
    plain = {name.lower(): value for name, value in headers.items() if value.isascii()}
    return attach(propagate.extract(plain))
