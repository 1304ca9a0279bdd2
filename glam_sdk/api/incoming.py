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


Headers = Mapping[bytes, bytes]
Origin = tuple[SpanContext | None, Sequence[Link], Context, str, str]
"""What a request continues, and the ids it has: the span that is its parent, if there is one that
is trusted; links, in place of one that is not; the context that came along; request id and
correlation id, the caller's or new ones. A class with these names would cost twice as much."""


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
    base = current
    # A tracestate alone says nothing (W3C Trace Context).
    if b"traceparent" in headers or b"baggage" in headers:
        with guarded("api.incoming"):
            extracted = extract(_trace_headers(headers), current)
            if settings.trust_incoming == "internal":
                base = extracted
            else:
                base, links = _distrust(extracted, settings, current)
    request_id, correlation_id = new_ids()
    given = headers.get(b"x-request-id")
    if given is not None and context.is_valid_id(shown := text_of(given)):
        request_id = shown
    given = headers.get(b"x-correlation-id")
    if given is not None and context.is_valid_id(shown := text_of(given)):
        correlation_id = shown
    elif (carried := base and context.correlation_id(base)) and context.is_valid_id(carried):
        correlation_id = carried
    return _sender_in(base) if base else None, links, base, request_id, correlation_id


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
