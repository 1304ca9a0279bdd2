"""Plain headers are read as OpenTelemetry's propagators read them, and others are left to those."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import INVALID_SPAN_CONTEXT
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from glam_sdk.telemetry.propagation import extract
from glam_sdk.telemetry.w3c import PlainHeaders, context_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NAMES = st.sampled_from(["traceparent", "tracestate", "baggage", "x-a"])
HEX = st.text("0123456789abcdefA", min_size=1, max_size=34)
PARENTS = st.one_of(
    st.builds("00-{:032x}-{:016x}-{:02x}".format, st.integers(0, 2**128 - 1),
              st.integers(0, 2**64 - 1), st.integers(0, 255)),
    st.builds("{}-{}-{}-{}".format, HEX, HEX, HEX, HEX),
)  # fmt: skip
MEMBERS = st.lists(st.text("ab_.=;,%+ é1:/", max_size=8), max_size=4).map(",".join)


def described(context):
    sender = trace.get_current_span(context).get_span_context()
    ids = (sender.trace_id, sender.span_id, sender.trace_flags, dict(sender.trace_state))
    return ids, sender.is_remote, dict(baggage.get_all(context))


@given(st.dictionaries(NAMES, st.one_of(PARENTS, MEMBERS, st.text(max_size=30)), max_size=4))
def test_what_is_read_is_what_the_propagators_read(headers):
    """For any headers: the same ids, flags and baggage, or left to them."""
    found = PlainHeaders().read(headers, None)
    if found is not None:
        context, sender = context_of(*found), found[1]
        assert described(context) == described(extract(headers, Context()))
        assert sender == trace.get_current_span(context).get_span_context()


def test_the_usual_headers_are_read():
    """A parent and an id as baggage are not left to the propagators."""
    headers = {"traceparent": PARENT, "baggage": "correlation_id=c-1"}
    found = PlainHeaders().read(headers, None)
    context, sender = context_of(*found), found[1]
    assert (sender.span_id, sender.trace_flags, sender.is_remote) == (0xB7AD6B7169203331, 1, True)
    assert baggage.get_all(context) == {"correlation_id": "c-1"}
    found = PlainHeaders().read({"nats-msg-id": "1"}, None)
    assert (context_of(*found), found[1]) == (Context(), INVALID_SPAN_CONTEXT)


def test_a_correlation_id_known_otherwise_stands_in():
    """Baggage that has one wins, other baggage stays."""
    plain = PlainHeaders()
    for sent, expected in [("", "e"), ("x=1", "e"), ("correlation_id=c,x=1", "c")]:
        context = context_of(*plain.read({"baggage": sent}, "e"))
        assert baggage.get_baggage("correlation_id", context) == expected
        assert baggage.get_baggage("x", context) == ("1" if "x" in sent else None)


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": PARENT, "tracestate": "a=b"},
        {"traceparent": "01" + PARENT[2:] + "-more"},
        {"baggage": "a=b%20c"},
        {"baggage": "a=" + "b" * 600},
    ],
)
def test_the_unusual_is_left_to_the_propagators(headers):
    """State, later versions, escapes and what is long."""
    assert PlainHeaders().read(headers, None) is None


class OwnBaggage(W3CBaggagePropagator):
    """Somebody's own, for the same header."""


def test_other_propagators_are_asked():
    """Where a process is set up for another format, all headers are left to that."""
    plain, usual = PlainHeaders(), propagate.get_global_textmap()
    assert plain.read({"traceparent": PARENT}, None) is not None
    try:
        for theirs in ([], [TraceContextTextMapPropagator(), OwnBaggage()]):
            propagate.set_global_textmap(CompositePropagator(theirs))
            assert plain.read({"traceparent": PARENT}, None) is None
    finally:
        propagate.set_global_textmap(usual)


IDS = st.one_of(st.integers(0, 2), st.integers(0, 2**64 - 1))
STATES = st.sampled_from([None, trace.TraceState([("a", "b")])])
SENDERS = st.one_of(
    st.none(),
    st.builds(
        lambda trace_id, span_id, flags, state: trace.NonRecordingSpan(
            trace.SpanContext(trace_id, span_id, False, trace.TraceFlags(flags), state)
        ),
        IDS, IDS, st.integers(0, 255), STATES,
    ),
)  # fmt: skip
ENTRIES = st.dictionaries(
    st.text("ab_.-=;, %é1:/~", max_size=8),
    st.one_of(st.text("ab_.-=;, %+é1:/~", max_size=200), st.integers()),
    max_size=10,
)


@given(SENDERS, ENTRIES)
def test_what_is_written_is_what_the_propagators_write(span, entries):
    """For any context: the same headers, or left to them."""
    context = Context() if span is None else trace.set_span_in_context(span, Context())
    for key, value in entries.items():
        context = baggage.set_baggage(key, value, context)
    found, theirs = PlainHeaders().write(context), {}
    propagate.inject(theirs, context)
    assert found is None or found == theirs


def test_the_usual_headers_are_written():
    """A parent and an id as baggage are not left to the propagators, nor is nothing at all."""
    headers = {"traceparent": PARENT, "baggage": "correlation_id=c-1"}
    assert PlainHeaders().write(extract(headers, Context())) == headers
    assert PlainHeaders().write(Context()) == {}


def test_text_and_bytes_are_never_compared():
    """A service's tests may run with ``python -bb``, where that is an error."""
    code = "import glam_sdk.telemetry.w3c, glam_sdk.messaging, glam_sdk.api"
    subprocess.run([sys.executable, "-bb", "-c", code], check=True, timeout=60)
