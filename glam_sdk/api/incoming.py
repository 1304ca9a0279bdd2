"""Read what a caller sent along: trace context, ids, host and user agent, each looked at once.

Flow: step 1, before the span is opened. Everything here comes from outside and is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link

from glam_sdk import context
from glam_sdk._internal.guard import guarded
from glam_sdk._internal.ids import new_correlation_id, new_request_id
from glam_sdk.config import HttpSettings
from glam_sdk.telemetry.propagation import extract

_MAX_HEADER_BYTES: Final = 8_192
_TRACE_HEADERS: Final = frozenset({b"traceparent", b"tracestate", b"baggage"})
_OTHER_HEADERS: Final = {
    b"x-request-id": "request_id",
    b"x-correlation-id": "correlation_id",
    b"host": "host",
    b"user-agent": "user_agent",
}


@dataclass(slots=True)
class Incoming:
    """Hold the headers that matter to us, as the caller sent them."""

    trace_headers: list[tuple[str, str]] = field(default_factory=list)
    request_id: str = ""
    correlation_id: str = ""
    host: str = ""
    user_agent: str = ""


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> Incoming:
    """Pick our headers; a value over 8 KiB counts as absent.

    Args:
        headers: ASGI headers; names are lower-case.
    """
    found = Incoming()
    for name, value in headers:
        if len(value) > _MAX_HEADER_BYTES:
            continue
        if name in _TRACE_HEADERS:
            found.trace_headers.append((name.decode(), value.decode("latin-1")))
        elif (attribute := _OTHER_HEADERS.get(name)) is not None:
            setattr(found, attribute, value.decode("latin-1"))
    return found


def incoming_context(
    incoming: Incoming, settings: HttpSettings, current: Context
) -> tuple[Context, Sequence[Link]]:
    """Return the context the request is handled in, and links in place of a distrusted parent.

    With ``trust_incoming="edge"`` the caller's trace becomes a link, its sampling decision is
    ignored, and of its baggage only the members in ``baggage_allowed`` are kept.
    """
    links: Sequence[Link] = ()
    continued = current
    if incoming.trace_headers:
        with guarded("api.incoming"):
            extracted = extract(incoming.trace_headers, current)
            if settings.trust_incoming == "internal":
                continued = extracted
            else:
                continued, links = _distrust(extracted, settings, current)
    return _with_ids(incoming, continued), links


def _distrust(
    extracted: Context, settings: HttpSettings, current: Context
) -> tuple[Context, Sequence[Link]]:
    kept = current
    for key in settings.baggage_allowed:
        value = baggage.get_baggage(key, extracted)
        if value is not None:
            kept = baggage.set_baggage(key, value, kept)
    remote = trace.get_current_span(extracted).get_span_context()
    return kept, (Link(remote),) if remote.is_valid and remote.is_remote else ()


def _with_ids(incoming: Incoming, base: Context) -> Context:
    request_id = incoming.request_id
    if not context.is_valid_id(request_id):
        request_id = new_request_id()
    correlation_id = incoming.correlation_id
    if not context.is_valid_id(correlation_id):
        correlation_id = context.correlation_id(base) or ""
        if not context.is_valid_id(correlation_id):
            correlation_id = new_correlation_id()
    return context.with_request_id(request_id, context.with_correlation_id(correlation_id, base))
