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


def with_ids(request_id: str, correlation_id: str, context: Context) -> dict[str, object]:
    """Return what a context has and both ids, for a context to be made of."""
    members = {CORRELATION_ID_KEY: correlation_id}
    if not context:  # as nearly always
        return {REQUEST_ID_KEY: request_id, BAGGAGE_KEY: members}
    carried = context.get(BAGGAGE_KEY)
    if carried is not None and isinstance(carried, Mapping):
        members = {**carried, **members}
    return {**context, REQUEST_ID_KEY: request_id, BAGGAGE_KEY: members}


def request_id(context: Context | None = None) -> str | None:
    """Return the id of the HTTP request being handled, if there is one."""
    value = otel.get_value(REQUEST_ID_KEY, context)
    return value if isinstance(value, str) else None


def correlation_id(context: Context | None = None) -> str | None:
    """Return the correlation id of the work being done, if it has one."""
    value = baggage.get_baggage(CORRELATION_ID_KEY, context)
    return value if isinstance(value, str) else None


def trace_id(context: Context | None = None) -> str | None:
    """Return the current trace id as 32 hex digits, if there is a current span."""
    span_context = trace.get_current_span(context).get_span_context()
    return f"{span_context.trace_id:032x}" if span_context.is_valid else None


def span_id(context: Context | None = None) -> str | None:
    """Return the current span id as 16 hex digits, if there is a current span."""
    span_context = trace.get_current_span(context).get_span_context()
    return f"{span_context.span_id:016x}" if span_context.is_valid else None
