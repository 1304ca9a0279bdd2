"""Prove that trace context and baggage cross process borders unchanged, and garbage never does."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from glam_sdk.telemetry.propagation import extract, inject

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

TRACE_IDS = st.integers(1, 2**128 - 1)
SPAN_IDS = st.integers(1, 2**64 - 1)
KEYS = st.text("abcdefghijklmnopqrstuvwxyz_-*/", min_size=1, max_size=10)
STATE_KEYS = st.from_regex(r"[a-z][a-z0-9_\-]{0,8}", fullmatch=True)
STATE_VALUES = st.text("abcXYZ019:;-_.", min_size=1, max_size=10)
BAGGAGE_VALUES = st.text(st.characters(blacklist_categories=["Cs"]), max_size=30)


def context_of(
    trace_id: int, span_id: int, *, sampled: bool = True, state: TraceState | None = None
):
    span = SpanContext(
        trace_id,
        span_id,
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if sampled else 0),
        trace_state=state,
    )
    return trace.set_span_in_context(NonRecordingSpan(span), Context())


def span_in(context: Context) -> SpanContext:
    return trace.get_current_span(context).get_span_context()


@given(
    TRACE_IDS,
    SPAN_IDS,
    st.booleans(),
    st.dictionaries(STATE_KEYS, STATE_VALUES, max_size=5),
    st.dictionaries(KEYS, BAGGAGE_VALUES, max_size=5),
    st.sampled_from([str.lower, str.upper, str.title]),
)
def test_what_is_injected_is_extracted(trace_id, span_id, sampled, state, items, spelled):
    """Ids, flags, state and baggage survive; header names may be spelled in any case."""
    sent = context_of(trace_id, span_id, sampled=sampled, state=TraceState(list(state.items())))
    for key, value in items.items():
        sent = baggage.set_baggage(key, value, sent)
    headers = {spelled(name): value for name, value in inject(context=sent).items()}
    received = extract(headers, Context())
    span = span_in(received)
    assert (span.trace_id, span.span_id, span.is_remote) == (trace_id, span_id, True)
    assert bool(span.trace_flags.sampled) == sampled
    assert dict(span.trace_state) == state
    # The propagator trims white space around a value, as the specification lets it.
    assert baggage.get_all(received) == {key: value.strip() for key, value in items.items()}


@given(
    st.dictionaries(st.text(max_size=12), st.text(max_size=20), max_size=6),
    st.sampled_from(["traceparent", "Traceparent", "TRACEPARENT"]),
)
def test_injecting_leaves_the_callers_headers_alone(headers, stale):
    """A copy is returned; a stale header of the same name is replaced whatever its case."""
    assume(not {name.lower() for name in headers} & {"traceparent", "tracestate", "baggage"})
    given_headers = {**headers, stale: "old"}
    before = dict(given_headers)
    sent = inject(given_headers, context=context_of(1, 2))
    assert given_headers == before
    assert sent == {**headers, "traceparent": f"00-{1:032x}-{2:016x}-01"}


def test_without_a_span_nothing_is_claimed():
    """An empty context adds no header."""
    assert inject(context=Context()) == {}
    assert inject({"a": "b"}, context=Context()) == {"a": "b"}


def test_several_traceparents_start_a_new_trace():
    """Nobody can tell which of them is true."""
    pairs = [("traceparent", TRACEPARENT), ("Traceparent", TRACEPARENT)]
    assert not span_in(extract(pairs, Context())).is_valid


def test_several_headers_of_a_list_are_one_list():
    """``tracestate`` and ``baggage`` may be split over headers."""
    pairs = [
        ("traceparent", TRACEPARENT),
        ("tracestate", "a=1"),
        ("Tracestate", "b=2"),
        ("baggage", "x=1"),
        ("Baggage", "y=2"),
    ]
    context = extract(pairs, Context())
    assert dict(span_in(context).trace_state) == {"a": "1", "b": "2"}
    assert baggage.get_all(context) == {"x": "1", "y": "2"}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        TRACEPARENT.upper(),
        f"{TRACEPARENT}-extra",
        "ff" + TRACEPARENT[2:],
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        TRACEPARENT.replace("-", "_"),
        f"{TRACEPARENT},{TRACEPARENT}",
        TRACEPARENT.replace("a", "é"),
    ],
)
def test_a_malformed_traceparent_starts_a_new_trace(value):
    """What is not exactly right is ignored."""
    assert not span_in(extract({"traceparent": value}, Context())).is_valid


def test_the_context_given_is_extended():
    """What is in the context already stays, whether or not the headers add to it."""
    before = baggage.set_baggage("kept", "1", Context())
    for headers in ({}, {"traceparent": TRACEPARENT}, {"traceparent": "garbage", "baggage": "="}):
        assert baggage.get_baggage("kept", extract(headers, before)) == "1"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["traceparent", "tracestate", "baggage", "BAGGAGE", "x"]),
            st.text(st.characters(), max_size=200)
            | st.from_regex(r"[a-f0-9=,;%\-\s]{0,200}", fullmatch=True),
        ),
        max_size=6,
    )
)
@example([("baggage", "\ud800"), ("traceparent", TRACEPARENT)])
@example([("tracestate", "a=\udcff"), ("traceparent", TRACEPARENT)])
def test_garbage_never_raises(pairs):
    """Whatever a caller sends, a context comes out, and it can be sent on."""
    context = extract(pairs, Context())
    for name, value in inject(context=context).items():
        assert name in {"traceparent", "tracestate", "baggage"}
        value.encode("latin-1")


@pytest.mark.parametrize(
    "headers",
    [
        {"baggage": "a" * 100_000},
        {"baggage": ",".join(f"k{n}=v" for n in range(5_000))},
        {"baggage": "," * 100_000},
        {"tracestate": ",".join(f"k{n}=v" for n in range(5_000)), "traceparent": TRACEPARENT},
        {"tracestate": "a=" + "b" * 100_000, "traceparent": TRACEPARENT},
        {"traceparent": TRACEPARENT + "-" * 100_000},
    ],
    ids=["long", "many", "commas", "states", "state", "parent"],
)
def test_hostile_headers_cost_bounded_time_and_no_lines(telemetry, headers):
    """A caller can neither burn our time nor fill our log."""
    started = time.process_time()
    extract(headers, Context())
    assert time.process_time() - started < 0.5
    assert telemetry.lines == []
