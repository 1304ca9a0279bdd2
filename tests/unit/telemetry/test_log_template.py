"""A line from a template is byte for byte the one that goes the whole way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from glam_sdk import context as ids
from glam_sdk.telemetry.log_chain import LogPipeline
from glam_sdk.telemetry.log_context import with_request_fields
from glam_sdk.telemetry.log_encoding import encode_json
from glam_sdk.telemetry.log_template import LineTemplate, is_plain

VARYING = ("url.path", "duration_ms", "client.address")
ID = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:\-/+=@]{0,20}", fullmatch=True)
PLAIN = st.text(st.characters(max_codepoint=0x2FF), max_size=30).filter(is_plain)


def span_context(trace_id, span_id, flags=1):
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(flags))


def whole_line(chain, span, both_ids, fields, created):
    correlation_id, request_id = both_ids
    context = ids.with_ids(request_id, correlation_id, Context())
    context = with_request_fields(NonRecordingSpan(span), context)
    return chain.layout("info", "glam_sdk.access", "http.request", fields, created, context)


SPANS = st.builds(
    span_context, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 3)
)
VALUES = st.tuples(PLAIN, st.floats(0, 1e7).map(lambda ms: round(ms, 3)), PLAIN)


@given(SPANS, st.tuples(ID, ID), VALUES, st.integers(0, 4 * 10**18), st.text(max_size=10))
def test_every_line_is_as_without_a_template(span, both_ids, values, ended_ns, constant):
    chain = LogPipeline(service="100 % orders", environment="prod")
    known = {"http.route": constant, "url.path": "/", "duration_ms": 1.0, "client.address": "c"}
    first = whole_line(chain, span_context(1, 1), ("c", "r"), known, 0.0)
    filled = LineTemplate(first, VARYING).fill(ended_ns / 1e9, span, *both_ids, *values)
    fields = known | dict(zip(VARYING, values, strict=True))
    assert filled == encode_json(whole_line(chain, span, both_ids, fields, ended_ns / 1e9))


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


@pytest.mark.parametrize(
    "text", ['a"b', "a\\b", "a\nb", "ä", "http://u:p@h/", "x" * 1024, "\x7f", "\udc80"]
)
def test_a_text_to_escape_or_to_hide_is_not_plain(text):
    assert not is_plain(text)
