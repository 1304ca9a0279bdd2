"""Read the usual trace headers of a message at a tenth of the price.

The propagators of OpenTelemetry read everything the standards allow. What nearly every message has
is a plain ``traceparent`` and a few plain words of baggage; the rest is left to them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from opentelemetry import baggage, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from glam_sdk.context import CORRELATION_ID_KEY

_PARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-0([0-3])\Z")
_MEMBER: Final = re.compile(r"([A-Za-z0-9_.\-]+)=([A-Za-z0-9_.:/@\-]*)\Z")
_LONGEST: Final = 512
_FLAGS: Final = {str(bits): trace.TraceFlags(bits) for bits in range(4)}
_STANDARD: Final = frozenset({TraceContextTextMapPropagator, W3CBaggagePropagator})
# Both have no other name to the outside; setting them one by one copies the context each time.
(_SPAN,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())
(_BAGGAGE,) = baggage.set_baggage("a", "b", Context())


Received = tuple[Context, trace.SpanContext]
"""The sender's context, with its span and baggage, and that span once more; invalid if none."""


class PlainHeaders:
    """Read plain headers while the process uses the standard propagators."""

    __slots__ = ("_is_standard", "_propagator")

    def __init__(self) -> None:
        self._propagator: object = None
        self._is_standard = False

    def read(self, headers: Mapping[str, str], correlation_id: str | None) -> Received | None:
        """Return what the sender said, or None where a propagator has to read the headers.

        Args:
            headers: With their names in lower case, and none of them twice.
            correlation_id: Put into the baggage where that has none.
        """
        propagator = propagate.get_global_textmap()
        if propagator is not self._propagator:
            self._propagator = propagator
            self._is_standard = (
                type(propagator) is CompositePropagator
                and frozenset(map(type, propagator._propagators)) == _STANDARD  # noqa: SLF001 - no public way
            )
        if not self._is_standard or "tracestate" in headers:
            return None
        values: dict[str, object] = {}
        sender = trace.INVALID_SPAN_CONTEXT
        parent = headers.get("traceparent")
        if parent is not None:
            found = _PARENT.match(parent)
            if found is None:
                return None
            trace_id, span_id, flags = found.groups()
            sender = trace.SpanContext(int(trace_id, 16), int(span_id, 16), True, _FLAGS[flags])
            values[_SPAN] = trace.NonRecordingSpan(sender)
        members = headers.get("baggage")
        entries = _members(members) if members else {}
        if entries is None:
            return None
        if correlation_id is not None:
            entries.setdefault(CORRELATION_ID_KEY, correlation_id)
        if entries:
            values[_BAGGAGE] = entries
        return Context(values), sender


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
