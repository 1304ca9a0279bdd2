"""Decide how a message continues the trace it was sent in.

Flow: step 11, before the CONSUMER span.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context

from glam_sdk.context import correlation_id, is_valid_id, with_correlation_id
from glam_sdk.events import Envelope
from glam_sdk.messaging.delivery import Incoming
from glam_sdk.messaging.header_lines import USUAL
from glam_sdk.telemetry.propagation import extract
from glam_sdk.telemetry.tracing import Link
from glam_sdk.telemetry.w3c import PlainHeaders, Received

REPLAY_OF: Final = "x-replay-of"
"""Header of a replayed message: number of the dead letter it was."""

REPLAY_FOR: Final = "x-replay-for"
"""Header of a replayed message: the one consumer that is to handle it."""

_plain = PlainHeaders()


Origin = tuple[Context, tuple[Link, ...], str | None]
"""Where the work on a message belongs: the sender's context, which has its trace, if that is
continued, and its baggage; the sender's span, if its trace is not; and the one consumer a replay is
for."""


def origin_of(message: Incoming, envelope: Envelope | None, max_age: timedelta) -> Origin:
    """Return the context to handle a message in.

    A fresh message is a child of its producer, so that one trace tells the story. A replay, or a
    message older than ``max_age``, begins a trace of its own with a link: nobody looks at a trace
    that ended days ago, and most stores have dropped it.
    """
    headers = message.headers
    if not USUAL.issuperset(headers):
        headers = {name.lower(): value for name, value in headers.items()}
    known = envelope.correlation_id if envelope is not None else None
    if known is not None and not is_valid_id(known):
        known = None
    received = _plain.read(headers, known) if len(headers) == len(message.headers) else None
    context, sender = received or _read(message, known)
    replay_for = headers.get(REPLAY_FOR)
    if not sender.is_valid:
        return context, (), replay_for
    sent_at = message.stored_at if envelope is None else envelope.timestamp
    if REPLAY_OF not in headers and datetime.now(UTC) - sent_at <= max_age:
        return context, (), replay_for
    fresh = trace.set_span_in_context(trace.INVALID_SPAN, context)
    return fresh, (Link(sender),), replay_for


def header(headers: Mapping[str, str], name: str) -> str | None:
    """Return a header whatever the case of its name."""
    return next((value for key, value in headers.items() if key.lower() == name), None)


def _read(message: Incoming, known: str | None) -> Received:
    """Let the propagators read the headers, and add the id of a sender that sent no baggage."""
    context = extract(message.headers, Context())
    if known is not None and correlation_id(context) is None:
        context = with_correlation_id(known, context)
    return context, trace.get_current_span(context).get_span_context()
