"""Read and write the usual trace headers at a tenth of the price.

The propagators of OpenTelemetry know everything the standards allow. What nearly every message has
is a plain ``traceparent`` and a few plain words of baggage; the rest is left to them.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Mapping
from typing import Final

from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import DEFAULT_TRACE_STATE, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from glam_sdk.context import BAGGAGE_KEY, CORRELATION_ID_KEY, SPAN_KEY

_PARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0([0-3])\Z")
_MEMBER: Final = re.compile(r"([A-Za-z0-9_.\-]+)=([A-Za-z0-9_.:/@\-]*)\Z")
_WORDS: Final = re.compile(r"[A-Za-z0-9_.\-]{1,128}=[A-Za-z0-9_.\-]{0,128}\Z")
_LONGEST: Final = 512
_FEW: Final = 8
FLAGS: Final = tuple(trace.TraceFlags(bits) for bits in range(4))
"""Trace flags, by their bits."""
_FLAGS: Final = {str(bits): flags for bits, flags in enumerate(FLAGS)}
_number: Final = int.from_bytes  # with unhexlify it is quicker than int(digits, 16)
_new_context: Final = tuple.__new__
_STANDARD: Final = frozenset({TraceContextTextMapPropagator, W3CBaggagePropagator})


Received = tuple[dict[str, object], SpanContext]
"""What a sender's context has besides its span, and the ids of that span; invalid if none."""


def context_of(carried: Mapping[str, object], sender: SpanContext | None) -> Context:
    """Return the sender's context, with its span where there is one."""
    if sender is None or not sender.is_valid:
        return Context(carried)
    return Context({**carried, SPAN_KEY: trace.NonRecordingSpan(sender)})


def sender_of(
    trace_digits: str | bytes, span_digits: str | bytes, flags: trace.TraceFlags
) -> SpanContext | None:
    """Return the sender's span, or None where its ids are not valid.

    Args:
        trace_digits: 32 hexadecimal digits.
        span_digits: 16 of them.
        flags: One of `FLAGS`.
    """
    trace_id, span_id = _number(unhexlify(trace_digits)), _number(unhexlify(span_digits))
    if not (trace_id and span_id):
        return None
    # The constructor would look once more whether they are valid, for as much again.
    return _new_context(
        SpanContext,
        (trace_id, span_id, True, flags, DEFAULT_TRACE_STATE, True),
    )


class PlainHeaders:
    """Read and write plain headers while the process uses the standard propagators."""

    __slots__ = ("_is_standard", "_propagator")

    def __init__(self) -> None:
        self._propagator: object = None
        self._is_standard = False

    def read(self, headers: Mapping[str, str], correlation_id: str | None) -> Received | None:
        """Return what the sender said, or None where a propagator has to read the headers.

        Args:
            headers: With their names in lower case, as far as they are read here, and none of them
                twice.
            correlation_id: A valid one; put into the baggage where that has none.
        """
        if not self.are_standard() or "tracestate" in headers:
            return None
        sender = trace.INVALID_SPAN_CONTEXT
        parent = headers.get("traceparent")
        if parent is not None:
            found = _PARENT.match(parent)
            if found is None:
                return None
            trace_digits, span_digits, flags = found.groups()
            said = sender_of(trace_digits, span_digits, _FLAGS[flags])
            if said is None:
                return None
            sender = said
        entries = _entries(headers.get("baggage"), correlation_id)
        if entries is None:
            return None
        return ({BAGGAGE_KEY: entries} if entries else {}), sender

    def write(self, context: Context) -> dict[str, str] | None:
        """Return the headers of a context, or None where a propagator has to write them."""
        if not self.are_standard():
            return None
        headers: dict[str, str] = {}
        span = context.get(SPAN_KEY)
        if span is not None:
            sender = span.get_span_context() if isinstance(span, trace.Span) else None
            if sender is None or not sender.is_valid or sender.trace_state:
                return None
            trace_id, span_id, _, flags, _, _ = sender
            headers["traceparent"] = f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"
        entries = context.get(BAGGAGE_KEY)
        if entries:
            if not isinstance(entries, Mapping) or len(entries) > _FEW:
                return None
            members = [f"{key}={value}" for key, value in entries.items()]
            if not all(map(_WORDS.match, members)):
                return None
            headers["baggage"] = ",".join(members)
        return headers

    def are_standard(self) -> bool:
        """Tell whether the process uses the standard propagators, and no others."""
        propagator = get_global_textmap()
        if propagator is not self._propagator:
            self._propagator = propagator
            self._is_standard = (
                type(propagator) is CompositePropagator
                and frozenset(map(type, propagator._propagators)) == _STANDARD  # noqa: SLF001 - no public way
            )
        return self._is_standard


def _entries(baggage: str | None, correlation_id: str | None) -> dict[str, object] | None:
    if correlation_id is None:
        return _members(baggage) if baggage else {}
    # What a sender of ours says when it says nothing else, and in words baggage need not encode.
    if not baggage or (
        baggage == f"{CORRELATION_ID_KEY}={correlation_id}"
        and "+" not in correlation_id
        and "=" not in correlation_id
    ):
        return {CORRELATION_ID_KEY: correlation_id}
    entries = _members(baggage)
    if entries is not None:
        entries.setdefault(CORRELATION_ID_KEY, correlation_id)
    return entries


def _members(baggage: str) -> dict[str, object] | None:
    if len(baggage) > _LONGEST:
        return None
    entries: dict[str, object] = {}
    for member in baggage.split(","):
        found = _MEMBER.match(member)
        if found is None:
            return None
        entries[found[1]] = found[2]
    return entries
