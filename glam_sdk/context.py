"""Carry request and correlation ids in the OpenTelemetry context, and nowhere else.

The correlation id is W3C baggage (key ``correlation_id``), so it travels on with every outgoing
HTTP call and message. The request id belongs to one HTTP request and stays in the process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from opentelemetry import baggage, trace
from opentelemetry import context as otel
from opentelemetry.context import Context

from glam_sdk._internal.current_context import get_current

CORRELATION_ID_KEY: Final = "correlation_id"
REQUEST_ID_KEY: Final = otel.create_key("glam.request_id")
# Where OpenTelemetry keeps span and baggage: its own functions read them at six times the price.
SPAN_KEY: Final = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, Context())))
BAGGAGE_KEY: Final = next(iter(baggage.set_baggage("any", "", Context())))
_VALID_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\-/+=@]{0,127}\Z")


def is_valid_id(value: str) -> bool:
    """Tell whether a caller's id is taken over: 1 to 128 characters of ``A-Za-z0-9._:-/+=@``."""
    return _VALID_ID.match(value) is not None


def with_request_id(request_id: str, context: Context | None = None) -> Context:
    """Return a context that has the request id."""
    return otel.set_value(REQUEST_ID_KEY, request_id, context)


def with_correlation_id(correlation_id: str, context: Context | None = None) -> Context:
    """Return a context that has the correlation id as W3C baggage."""
    return baggage.set_baggage(CORRELATION_ID_KEY, correlation_id, context)


def with_ids(
    request_id: str, correlation_id: str, context: Mapping[str, object]
) -> dict[str, object]:
    """Return what a context has and both ids, for a context to be made of."""
    if not context:
        return {REQUEST_ID_KEY: request_id, BAGGAGE_KEY: {CORRELATION_ID_KEY: correlation_id}}
    values = {**context}
    carried = values.get(BAGGAGE_KEY)
    members = {**carried} if isinstance(carried, Mapping) else {}
    members[CORRELATION_ID_KEY] = correlation_id
    values[BAGGAGE_KEY] = members
    values[REQUEST_ID_KEY] = request_id
    return values


def request_id(context: Context | None = None) -> str | None:
    """Return the id of the HTTP request being handled, if there is one."""
    value = (get_current() if context is None else context).get(REQUEST_ID_KEY)
    return value if isinstance(value, str) else None


def correlation_id(context: Mapping[str, object] | None = None) -> str | None:
    """Return the correlation id of the work being done, if it has one."""
    # As baggage.get_baggage, at a quarter of the price.
    members = (get_current() if context is None else context).get(BAGGAGE_KEY)
    value = members.get(CORRELATION_ID_KEY) if isinstance(members, dict) else None
    return value if isinstance(value, str) else None


def trace_id(context: Context | None = None) -> str | None:
    """Return the current trace id as 32 hex digits, if there is a current span."""
    span_context = trace.get_current_span(context).get_span_context()
    return f"{span_context.trace_id:032x}" if span_context.is_valid else None


def span_id(context: Context | None = None) -> str | None:
    """Return the current span id as 16 hex digits, if there is a current span."""
    span_context = trace.get_current_span(context).get_span_context()
    return f"{span_context.span_id:016x}" if span_context.is_valid else None
