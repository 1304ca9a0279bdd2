"""Read what a caller sent along: trace context, ids, host and user agent, each looked at once.

Flow: step 1, before the span is opened. Everything here comes from outside: it is bounded, and what
is malformed is left out without a word, so that a hostile caller cannot fill the log.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext

from glam_sdk import context
from glam_sdk._internal.guard import guarded
from glam_sdk._internal.ids import new_ids
from glam_sdk.config import HttpSettings
from glam_sdk.telemetry.propagation import extract
from glam_sdk.telemetry.w3c import PlainHeaders, context_of

_MAX_HEADER_BYTES: Final = 8_192
_MAX_TRACEPARENT_BYTES: Final = 512
_MAX_TRACESTATE_BYTES: Final = 512
# W3C Baggage 3.3.2: at least so many members must be passed on, more need not.
_MAX_BAGGAGE_MEMBERS: Final = 64
_MAX_TRACESTATE_MEMBERS: Final = 32

_TOKEN: Final = r"[!#-'*+\-.0-9A-Z^-z|~]+"  # noqa: S105 - a grammar's token, not a secret
_BAGGAGE_VALUE: Final = r"[!#-+\--:<-\[\]-~]*"
_BAGGAGE_MEMBER: Final = re.compile(
    rf"[ \t]*{_TOKEN}[ \t]*=[ \t]*{_BAGGAGE_VALUE}[ \t]*"
    rf"(?:;[ \t]*{_TOKEN}[ \t]*(?:=[ \t]*{_BAGGAGE_VALUE}[ \t]*)?)*\Z"
)
_TRACESTATE_MEMBER: Final = re.compile(
    r"[ \t]*[a-z0-9][a-z0-9_\-*/@]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~][ \t]*\Z"
)


_plain: Final = PlainHeaders()

Headers = Mapping[bytes, bytes]
Origin = tuple[SpanContext | None, Sequence[Link], Mapping[str, object], str, str]
"""What a request continues, and the ids it has: the span that is its parent, if there is one that
is trusted; links, in place of one that is not; what else came along, for a context to be made of;
request id and correlation id, the caller's or new ones. A class with these names would cost twice
as much."""
_Received = tuple[Mapping[str, object], SpanContext | None]
"""What a caller's context has, and the span that is current in it."""


def read_headers(headers: Collection[tuple[bytes, bytes]]) -> Headers:
    """Return headers by their names.

    Args:
        headers: ASGI headers; names are lower-case.
    """
    found = dict(headers)
    return found if len(found) == len(headers) else _joined(headers)


_WANTED: Final = frozenset(
    {
        b"baggage",
        b"host",
        b"traceparent",
        b"tracestate",
        b"user-agent",
        b"x-correlation-id",
        b"x-request-id",
    }
)


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Make one list of several headers of one name (RFC 9110, section 5.2), of those we read."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _WANTED and len(value) <= _MAX_HEADER_BYTES:
            found[name] = b"%b,%b" % (found[name], value) if name in found else value
    return found


def text_of(value: bytes | None) -> str:
    """Return a header's value as text; one over 8 KiB counts as absent."""
    return "" if value is None or len(value) > _MAX_HEADER_BYTES else value.decode("latin-1")


def _received(headers: Headers, current: Context) -> _Received:
    """Return what the caller's trace headers say, on top of the current context."""
    if not current and b"tracestate" not in headers:
        # What nearly every caller sends, read as the headers of messages are.
        plain: dict[str, str] = {}
        if (parent := headers.get(b"traceparent")) is not None:
            plain["traceparent"] = parent.decode("latin-1")
        if (members := headers.get(b"baggage")) is not None:
            plain["baggage"] = members.decode("latin-1")
        if members is None or members.count(b",") < _MAX_BAGGAGE_MEMBERS:
            found = _plain.read(plain, None)
            if found is not None:
                carried, sender = found
                return carried, sender if sender[5] else None  # whether it is valid, by its place
    context = extract(_trace_headers(headers), current)
    return context, _sender_in(context)


def _trace_headers(headers: Headers) -> dict[str, str]:
    kept: dict[str, str] = {}
    traceparent = text_of(headers.get(b"traceparent"))
    if traceparent and len(traceparent) <= _MAX_TRACEPARENT_BYTES and "," not in traceparent:
        kept["traceparent"] = traceparent
    if b"tracestate" in headers and _is_tracestate(state := text_of(headers[b"tracestate"])):
        kept["tracestate"] = state
    if b"baggage" in headers:
        kept["baggage"] = _well_formed_members(text_of(headers[b"baggage"]))
    return kept


def _well_formed_members(text: str) -> str:
    """Return the well-formed members of a ``baggage`` header, up to the limits."""
    members = text.split(",", _MAX_BAGGAGE_MEMBERS)[:_MAX_BAGGAGE_MEMBERS]
    return ",".join(member for member in members if _BAGGAGE_MEMBER.match(member))


def _is_tracestate(text: str) -> bool:
    """Tell whether all of a ``tracestate`` is well-formed; else none counts (W3C Trace Context)."""
    if len(text) > _MAX_TRACESTATE_BYTES:
        return False
    members = [member for member in text.split(",") if member.strip(" \t")]
    return len(members) <= _MAX_TRACESTATE_MEMBERS and all(
        _TRACESTATE_MEMBER.match(member) for member in members
    )


def origin_of(headers: Headers, settings: HttpSettings, current: Context) -> Origin:
    """Return what the request continues, with links in place of a distrusted parent, and its ids.

    With ``trust_incoming="edge"`` the caller's trace becomes a link, its sampling decision is
    ignored, and of its baggage only the members in ``baggage_allowed`` are kept.

    Args:
        headers: What the caller sent.
        settings: Says whom to trust.
        current: Context the request arrived in.
    """
    links: Sequence[Link] = ()
    base: Mapping[str, object] = current
    sender = _sender_in(current) if current else None
    # A tracestate alone says nothing (W3C Trace Context).
    if b"traceparent" in headers or b"baggage" in headers:
        with guarded("api.incoming"):
            received = _received(headers, current)
            if settings.trust_incoming == "internal":
                base, sender = received
            else:
                base, links = _distrust(context_of(*received), settings, current)
    request_id, correlation_id = new_ids()
    given = headers.get(b"x-request-id")
    if given is not None and context.is_valid_id(shown := text_of(given)):
        request_id = shown
    given = headers.get(b"x-correlation-id")
    if given is not None and context.is_valid_id(shown := text_of(given)):
        correlation_id = shown
    elif (carried := base and context.correlation_id(base)) and context.is_valid_id(carried):
        correlation_id = carried
    return sender, links, base, request_id, correlation_id


def _sender_in(base: Context) -> SpanContext | None:
    found = trace.get_current_span(base).get_span_context()
    return found if found.is_valid else None


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
