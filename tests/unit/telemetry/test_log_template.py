"""A line from a template is byte for byte the one that goes the whole way."""

from __future__ import annotations

from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from glam_sdk import context as ids
from glam_sdk.telemetry.log_chain import LogPipeline
from glam_sdk.telemetry.log_context import set_request_context, with_request_fields
from glam_sdk.telemetry.log_encoding import encode_json, whole_second
from glam_sdk.telemetry.log_template import LineTemplate
from glam_sdk.telemetry.log_usual import FLAGS
from glam_sdk.telemetry.pipeline.lean.log_records import LineEncoder

VARYING = ("url.path", "duration_ms", "client.address")
IDS = ("correlation_id", "request_id")
ID = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:\-/+=@]{0,20}", fullmatch=True)


def span_context(trace_id, span_id, flags=1):
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(flags))


def whole_line(chain, span, known, fields, created, own=None):
    context = Context()
    if "correlation_id" in known:
        context = ids.with_correlation_id(known["correlation_id"], context)
    if "request_id" in known:
        context = ids.with_request_id(known["request_id"], context)
    token = attach(with_request_fields(NonRecordingSpan(span), dict(context)))
    try:
        set_request_context(**(own or {}))
        context = get_current()
        return chain.layout("info", "glam_sdk.access", "http.request", fields, created, context)
    finally:
        detach(token)


SPANS = st.builds(
    span_context, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 3)
)
VALUES = st.tuples(
    st.text(max_size=30), st.floats(0, 1e7).map(lambda ms: round(ms, 3)), st.text(max_size=200)
)
KNOWN = st.dictionaries(st.sampled_from(IDS), ID).map(
    lambda found: {name: found[name] for name in IDS if name in found}
)
OWN = st.dictionaries(st.sampled_from(["user", "naïve", "tenant"]), st.integers(0, 9) | ID)


def filled(template, span, known, values, created, own=b""):
    """Return the line as who has a template makes it."""
    second = floor(created)
    return template.text % (
        whole_second(second),
        (created - second) * 1e6,
        b"%032x" % span.trace_id,
        span.span_id,
        FLAGS[span.trace_flags],
        *(each.encode() for each in known.values()),
        own,
        *map(encode_json, values),
    )


@given(SPANS, KNOWN, VALUES, st.integers(0, 4 * 10**18), st.text(max_size=10), OWN)
def test_every_line_is_as_without_a_template(span, known, values, ended_ns, constant, own):
    """Whatever ids the work has and whatever fields of its own; what is exported of it, too."""
    chain = LogPipeline(service="100 % orders", environment="prod")
    fields = {"http.route": constant, "url.path": "/", "duration_ms": 1.0, "client.address": "c"}
    first = whole_line(chain, span_context(1, 1), dict.fromkeys(known, "x"), fields, 0.0)
    template = LineTemplate(first, VARYING, tuple(known))
    created = ended_ns / 1e9
    expected = whole_line(
        chain, span, known, fields | dict(zip(VARYING, values, strict=True)), created, own
    )
    shown = template.own_json(own)  # None the first time a name is seen
    if shown is None:
        shown = template.own_json(own)
    assert filled(template, span, known, values, created, shown) == encode_json(expected)
    encoder = LineEncoder()
    both = [each.encode() for each in known.values()]
    record = encoder.template(template).fill((created, span, both, own, values))
    assert record == encoder.encode(expected, created)


@pytest.mark.parametrize("missing", ["request_id", "trace_id", "url.path"])
def test_a_line_that_lacks_what_varies_makes_no_template(missing):
    line = dict.fromkeys(
        ["timestamp", "trace_id", "span_id", "trace_flags", "correlation_id", "request_id"], "x"
    )
    line |= dict.fromkeys(VARYING, "x")
    LineTemplate(line, VARYING)
    del line[missing]
    with pytest.raises(ValueError, match=missing):
        LineTemplate(line, VARYING)


def test_a_line_with_an_id_more_makes_no_template():
    """It would repeat the one it was made of."""
    line = dict.fromkeys(
        ["timestamp", "trace_id", "span_id", "trace_flags", "correlation_id", "request_id"], "x"
    )
    with pytest.raises(ValueError, match="request_id"):
        LineTemplate(line, (), ("correlation_id",))


@pytest.mark.parametrize(
    "own", [{"url.path": "/"}, {"message": "x"}, {"user": "http://u:p@h/"}, {"user": ["x"]}]
)
def test_own_fields_that_may_look_otherwise_are_not_filled_in(own, chain):
    """One replaces another, is renamed, hidden or cut: that is for the whole way to decide."""
    chain.log("info", "a.b", "seen", {"user": "x"})
    line = whole_line(chain, span_context(1, 1), dict.fromkeys(IDS, "x"), dict.fromkeys(VARYING), 0)
    template = LineTemplate(line, VARYING)
    assert template.own_json({"user": "x"}) == b',"user":"x"'
    assert template.own_json(own) is None


def test_what_a_record_of_this_kind_does_not_have_is_not_filled_in(chain):
    """A long id's length needs two bytes, a value of another type is told otherwise."""
    values = "/", 1.0, "c"
    fields = dict(zip(VARYING, values, strict=True))
    line = whole_line(chain, span_context(1, 1), dict.fromkeys(IDS, "x"), fields, 0)
    record = LineEncoder().template(LineTemplate(line, VARYING))
    assert record.fill((0.0, span_context(1, 1), (b"x" * 100, b"r"), {}, values)) is not None
    assert record.fill((0.0, span_context(1, 1), (b"x" * 101, b"r"), {}, values)) is None
    for others in [("/", 1, "c"), ("/", 1.0, None)]:
        assert record.fill((0.0, span_context(1, 1), (b"c", b"r"), {}, others)) is None
