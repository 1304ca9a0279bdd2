"""Carry fields that every log line of the work at hand has, in the OpenTelemetry context.

The context belongs to one task or thread and ends with the request, message or span in which it
was attached; so nothing of it can reach another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry.trace import Span

from glam_sdk import context as ids
from glam_sdk._internal.current_context import attach, get_current

FIELDS_KEY: Final = otel.create_key("glam.log_fields")
# They are the current span's: a line can never name another trace than the one it belongs to.
_OF_THE_SPAN: Final = frozenset({"trace_id", "span_id", "trace_flags"})
HOLDER_KEY: Final = otel.create_key("glam.request_fields")
_NONE: Final[Mapping[str, Any]] = {}


def set_request_context(**fields: Any) -> None:
    """Put fields on every further log line of this request, message or task.

    They reach the tasks and spans that are started from here on, and end with the request,
    message or span that surrounds the call. ``request_id`` and ``correlation_id`` become the ids
    of the work itself, the latter travelling on with outgoing calls; ``trace_id`` is always the
    span's and is ignored.

    Args:
        **fields: Such as ``user_id``; a value of None takes the field away.
    """
    current = before = get_current()
    holder = current.get(HOLDER_KEY)
    merged = holder if isinstance(holder, dict) else dict(request_context(current))
    for key, value in fields.items():
        if key in _OF_THE_SPAN:
            continue
        if key == "request_id" and _is_id(value):
            current = ids.with_request_id(value, current)
        elif key == "correlation_id" and _is_id(value):
            current = ids.with_correlation_id(value, current)
        elif value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    # Not detached here: whoever attached the surrounding context puts the one before it back.
    if merged is not holder:
        current = otel.set_value(FIELDS_KEY, merged, current)
    if current is not before:
        attach(current)


def clear_request_context() -> None:
    """Take the fields of :func:`set_request_context` off again; the ids stay."""
    holder = get_current().get(HOLDER_KEY)
    if isinstance(holder, dict):
        holder.clear()
    else:
        attach(otel.set_value(FIELDS_KEY, _NONE))


def with_request_fields(span: Span, carried: dict[str, object]) -> otel.Context:
    """Return a context for one request: its span, and fields that belong to it alone.

    Threads and tasks of the request share the fields, wherever in it they are set, so that a sync
    dependency's ``user_id`` is on the request's own line too; no other request can see them.

    Args:
        span: The request's.
        carried: What else the context has; given away, as a copy costs as much as the context.
    """
    carried[ids.SPAN_KEY] = span
    carried[HOLDER_KEY] = {}
    return otel.Context(carried)


def request_context(context: otel.Context | None = None) -> Mapping[str, Any]:
    """Return the fields that log lines get; do not change them."""
    found = get_current() if context is None else context
    holder = found.get(HOLDER_KEY)
    if isinstance(holder, dict):
        return holder
    fields = found.get(FIELDS_KEY)
    return fields if isinstance(fields, Mapping) else _NONE


def _is_id(value: object) -> bool:
    return isinstance(value, str) and ids.is_valid_id(value)
