"""Plain headers are read as OpenTelemetry's propagators read them, and others are left to those."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator

from glam_sdk.telemetry.propagation import extract
from glam_sdk.telemetry.w3c import PlainHeaders, received_by

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
    found = PlainHeaders().read(headers)
    if found is not None:
        made = extract(headers, Context())
        assert described(found.context) == described(made)
        assert found == received_by(found.context)


def test_the_usual_headers_are_read():
    """A parent and an id as baggage are not left to the propagators."""
    found = PlainHeaders().read({"traceparent": PARENT, "baggage": "correlation_id=c-1"})
    assert found is not None
    (_, span_id, flags, _), is_remote, entries = described(found.context)
    assert (span_id, flags, is_remote) == (0xB7AD6B7169203331, 1, True)
    assert entries == found.baggage == {"correlation_id": "c-1"}
    assert PlainHeaders().read({"nats-msg-id": "1"}) == received_by(Context())


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
    assert PlainHeaders().read(headers) is None


def test_other_propagators_are_asked():
    """Where a process is set up for another format, all headers are left to that."""
    plain, usual = PlainHeaders(), propagate.get_global_textmap()
    assert plain.read({"traceparent": PARENT}) is not None
    propagate.set_global_textmap(CompositePropagator([]))
    try:
        assert plain.read({"traceparent": PARENT}) is None
    finally:
        propagate.set_global_textmap(usual)
