"""A span that is started below a parent without a context is the one that a context would give."""

from __future__ import annotations

import random

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBasedTraceIdRatio,
    StaticSampler,
)
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, SpanContext, SpanKind, TraceFlags

from glam_sdk.telemetry.pipeline.lean import LeanTracerProvider
from glam_sdk.telemetry.tracing import SharedAttributes, begun, child_starter

SHARED = SharedAttributes({"messaging.system": "nats"})
OWN = {"messaging.message.id": "e-1"}


class Own(StaticSampler):
    """A sampler of somebody's."""


def sender(flags=1):
    return SpanContext(2**99, 7, is_remote=True, trace_flags=TraceFlags(flags))


def described(span):
    about = (span.get_span_context(), type(span), span.is_recording())
    if span.is_recording():
        about += (span.name, span.kind, span.parent, dict(span.attributes), span.links)
    return about


@pytest.mark.parametrize("flags", [0, 1, 2, 3])
@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF, ParentBasedTraceIdRatio(0.0)])
def test_it_is_the_same_span(sampler, flags):
    """Ids, decision, parent and attributes."""
    tracer = LeanTracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("t")
    context = trace.set_span_in_context(NonRecordingSpan(sender(flags)), Context())
    random.seed(1)
    attributes = begun(tracer, SHARED, dict(OWN))
    expected = tracer.start_span("process x", context, SpanKind.CONSUMER, attributes)
    random.seed(1)
    own = SHARED, dict(OWN)
    found = child_starter(tracer)("process x", SpanKind.CONSUMER, sender(flags), own)
    assert described(found) == described(expected)


@pytest.mark.parametrize("flags", [0, 1])
def test_attributes_are_made_for_a_recorded_span_alone(flags):
    """Of what they are about; a span that is not sampled costs ids and nothing else."""
    tracer = LeanTracerProvider(shutdown_on_exit=False).get_tracer("t")
    made = []

    def make(*about):
        made.append(about)
        return SHARED, {"about": "x"}

    span = child_starter(tracer)("GET", SpanKind.SERVER, sender(flags), make, ("x", 1))
    assert made == [("x", 1)] * flags
    if flags:
        assert span.attributes == {**SHARED, "about": "x"}


def test_more_attributes_than_fit_push_the_oldest_out():
    """As where the span is started in a context."""
    limits = SpanLimits(max_span_attributes=1)
    tracer = LeanTracerProvider(span_limits=limits, shutdown_on_exit=False).get_tracer("t")
    span = child_starter(tracer)("x", SpanKind.CONSUMER, sender(), (SHARED, dict(OWN)))
    assert (span.attributes, span.dropped_attributes) == (OWN, 1)


def test_who_sees_spans_start_gets_their_context():
    """Somebody's processor or sampler: there the span is started in a context."""
    seen = LeanTracerProvider(shutdown_on_exit=False)
    seen.add_span_processor(SpanProcessor())
    asked = LeanTracerProvider(sampler=Own(ALWAYS_ON._decision), shutdown_on_exit=False)
    for provider in (seen, asked):
        start = child_starter(provider.get_tracer("t"))
        own = SHARED, dict(OWN)
        assert start("process x", SpanKind.CONSUMER, sender(), own) is None


def test_tracers_of_others_have_no_such_start():
    """The API wants a context."""
    others = (TracerProvider(shutdown_on_exit=False).get_tracer("t"), NoOpTracer())
    assert [child_starter(tracer) for tracer in others] == [None, None]
