"""Decide how a message continues the trace it was sent in.

Flow: step 11, before the CONSUMER span.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context

from glam_sdk.context import (
    BAGGAGE_KEY,
    CORRELATION_ID_KEY,
    SPAN_KEY,
    correlation_id,
    is_valid_id,
    with_correlation_id,
)
from glam_sdk.events import Envelope
from glam_sdk.messaging.delivery import Incoming
from glam_sdk.messaging.header_lines import TRACED, USUAL, HeaderBlock
from glam_sdk.telemetry.propagation import extract
from glam_sdk.telemetry.tracing import Link
from glam_sdk.telemetry.w3c import FLAGS, PlainHeaders, Received, sender_of

REPLAY_OF: Final = "x-replay-of"
"""Header of a replayed message: number of the dead letter it was."""

REPLAY_FOR: Final = "x-replay-for"
"""Header of a replayed message: the one consumer that is to handle it."""

_plain: Final = PlainHeaders()
_FLAGS: Final = {b"%d" % bits: flags for bits, flags in enumerate(FLAGS)}


Origin = tuple[dict[str, object], trace.SpanContext | None, tuple[Link, ...], str | None]
"""Where the work on a message belongs: what the sender's context has besides its span, such as
baggage; the sender's span, if its trace is continued; or a link to it, if not; and the one consumer
a replay is for."""


class Freshness:
    """Tell which messages are young enough to continue their senders' traces.

    Where the limit lies is worked out anew after a small part of the age: to do so for each message
    costs three times as much as to compare.

    Args:
        max_age: Of the oldest.
    """

    __slots__ = ("_due", "_max_age", "_oldest", "_step_s")

    def __init__(self, max_age: timedelta) -> None:
        self._max_age = max_age
        self._step_s = max_age.total_seconds() / 3600
        self._due = -math.inf

    def includes(self, sent_at: datetime) -> bool:
        """Tell it of one message."""
        if (now := monotonic()) >= self._due:
            self._due = now + self._step_s
            try:
                self._oldest = datetime.now(UTC) - self._max_age
            except OverflowError:  # older than time
                self._oldest = datetime.min.replace(tzinfo=UTC)
        return sent_at >= self._oldest


def origin_of(message: Incoming, envelope: Envelope | None, fresh: Freshness) -> Origin:
    """Return where to handle a message.

    A fresh message is a child of its producer, so that one trace tells the story. A replay, or an
    older message, begins a trace of its own with a link: nobody looks at a trace that ended days
    ago, and most stores have dropped it.
    """
    given = message.headers
    if type(given) is not HeaderBlock:
        return _read_origin(message, given, envelope, fresh)
    # What senders of ours say is taken over without reading the other headers.
    found = TRACED(given.raw)
    if found is not None and envelope is not None and _plain.are_standard():
        trace_digits, span_digits, flags, said = found.groups()
        known = envelope.correlation_id if said is None else said.decode()
        sender = sender_of(trace_digits, span_digits, _FLAGS[flags])
        if (
            sender is not None
            and (said is not None or (known is not None and is_valid_id(known)))
            and fresh.includes(envelope.timestamp)
        ):
            return {BAGGAGE_KEY: {CORRELATION_ID_KEY: known}}, sender, (), None
    return _read_origin(message, given.read(), envelope, fresh)


def _read_origin(
    message: Incoming, given: Mapping[str, str], envelope: Envelope | None, fresh: Freshness
) -> Origin:
    headers = given
    if not USUAL.issuperset(headers):
        headers = {name.lower(): value for name, value in headers.items()}
    known = envelope.correlation_id if envelope is not None else None
    if known is not None and not is_valid_id(known):
        known = None
    received = _plain.read(headers, known) if len(headers) == len(given) else None
    carried, sender = received or _read(given, known)
    replay_for = headers.get(REPLAY_FOR)
    if sender is trace.INVALID_SPAN_CONTEXT:
        return carried, None, (), replay_for
    sent_at = message.stored_at if envelope is None else envelope.timestamp
    if REPLAY_OF not in headers and fresh.includes(sent_at):
        return carried, sender, (), replay_for
    return carried, None, (Link(sender),), replay_for


def header(headers: Mapping[str, str], name: str) -> str | None:
    """Return a header whatever the case of its name."""
    return next((value for key, value in headers.items() if key.lower() == name), None)


def _read(headers: Mapping[str, str], known: str | None) -> Received:
    """Let the propagators read the headers, and add the id of a sender that sent no baggage."""
    context = extract(headers, Context())
    if known is not None and correlation_id(context) is None:
        context = with_correlation_id(known, context)
    sender = trace.get_current_span(context).get_span_context()
    carried = {key: value for key, value in context.items() if key != SPAN_KEY}
    return carried, sender if sender.is_valid else trace.INVALID_SPAN_CONTEXT
