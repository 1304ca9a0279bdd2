"""Read the usual trace headers of a message at a tenth of the price.

The propagators of OpenTelemetry read everything the standards allow. What nearly every message has
is a plain ``traceparent`` and a few plain words of baggage; the rest is left to them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator

_PARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-0([0-3])\Z")
_MEMBER: Final = re.compile(r"([A-Za-z0-9_.\-]+)=([A-Za-z0-9_.:/@\-]*)\Z")
_LONGEST: Final = 512
_FLAGS: Final = {str(bits): trace.TraceFlags(bits) for bits in range(4)}
_STANDARD: Final = frozenset({"traceparent", "tracestate", "baggage"})
# Both have no other name to the outside; setting them one by one copies the context each time.
(_SPAN,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())
(_BAGGAGE,) = baggage.set_baggage("a", "b", Context())


class Received(NamedTuple):
    """Hold what headers say about their sender."""

    context: Context
    """The sender's span and baggage."""
    sender: trace.SpanContext
    """The sender's span; invalid where there is none."""
    baggage: Mapping[str, object]
    """The sender's baggage."""


def received_by(context: Context) -> Received:
    """Return the same of a context that a propagator made."""
    sender = trace.get_current_span(context).get_span_context()
    return Received(context, sender, baggage.get_all(context))


class PlainHeaders:
    """Read plain headers while the process uses the standard propagators."""

    __slots__ = ("_is_standard", "_propagator")

    def __init__(self) -> None:
        self._propagator: object = None
        self._is_standard = False

    def read(self, headers: Mapping[str, str]) -> Received | None:
        """Return what the sender said, or None where a propagator has to read the headers.

        Args:
            headers: With their names in lower case, and none of them twice.
        """
        propagator = propagate.get_global_textmap()
        if propagator is not self._propagator:
            self._propagator = propagator
            self._is_standard = (
                type(propagator) is CompositePropagator and propagator.fields == _STANDARD
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
            sender = trace.SpanContext(
                int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=_FLAGS[flags]
            )
            values[_SPAN] = trace.NonRecordingSpan(sender)
        entries: dict[str, object] = {}
        members = headers.get("baggage")
        if members:
            if not _read_members(members, entries):
                return None
            values[_BAGGAGE] = entries
        return Received(Context(values), sender, entries)


def _read_members(members: str, entries: dict[str, object]) -> bool:
    if len(members) > _LONGEST:
        return False
    for member in members.split(","):
        found = _MEMBER.match(member)
        if found is None:
            return False
        entries[found[1]] = found[2]
    return True
