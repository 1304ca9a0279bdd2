"""A span that is told of when it is over is the one that the SDK would have made."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBasedTraceIdRatio,
    Sampler,
    StaticSampler,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracer,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
)

from glam_sdk.telemetry.pipeline.lean import EncodedSpanProcessor, LeanTracerProvider
from glam_sdk.telemetry.pipeline.lean.encoding import encode_resource, join_request
from glam_sdk.telemetry.telling import SpanForm, is_seen, tell
from glam_sdk.telemetry.tracing import SharedAttributes
from tests.unit.telemetry.conftest import Batches

RESOURCE = Resource({"service.name": "orders"})
SELECT = SpanForm(
    "SELECT orders",
    SpanKind.CLIENT,
    SharedAttributes({"db.system.name": "sqlite", "db.query.text": "SELECT ?" * 500}),
)
PARENT = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
TIMES = (1_000, 2_000)


class Both:
    """One provider of each kind, with the same settings."""

    def __init__(self, limits: SpanLimits | None = None, sampler: Sampler | None = None) -> None:
        settings: dict[str, Any] = {
            "resource": RESOURCE, "span_limits": limits, "sampler": sampler,
            "shutdown_on_exit": False,
        }  # fmt: skip
        self.batches = Batches()
        self.lean = LeanTracerProvider(**settings)
        self.lean.add_span_processor(EncodedSpanProcessor(self.batches))
        self.memory = InMemorySpanExporter()
        self.sdk = TracerProvider(**settings)
        self.sdk.add_span_processor(SimpleSpanProcessor(self.memory))

    def tell(
        self, form: SpanForm, parent: SpanContext | None, own: dict[str, Any], seed: int
    ) -> tuple[list[bytes], list[SpanContext]]:
        """Tell both, with the same random ids; return their requests and the spans' ids."""
        here = Context()
        if parent is not None:
            here = trace.set_span_in_context(NonRecordingSpan(parent), here)
        found = []
        for provider in (self.lean, self.sdk):
            random.seed(seed)
            tracer = provider.get_tracer("glam_sdk.database", "1")
            found.append(tell(tracer, form, here, dict(own), TIMES))
        self.lean.force_flush()
        sent = self.batches.spans
        ours = join_request(encode_resource(RESOURCE), sent) if sent else b""
        requests = [ExportTraceServiceRequest.FromString(ours)]
        requests.append(encode_spans(self.memory.get_finished_spans()))
        self.batches.spans.clear()
        self.memory.clear()
        return [one.SerializeToString(deterministic=True) for one in requests], found

    def close(self) -> None:
        self.lean.shutdown()
        self.sdk.shutdown()


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    providers = Both()
    yield providers
    providers.close()


contexts = st.builds(
    SpanContext,
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.integers(0, 3).map(TraceFlags),
    trace_state=st.sampled_from([None, TraceState(), TraceState([("k", "v")])]),
)
values = st.text(max_size=9) | st.integers(-9, 2**63 - 1) | st.booleans() | st.floats()
forms = st.builds(
    SpanForm,
    st.sampled_from(["SELECT orders", "create evt.orders.placed", "ü" * 99]),
    st.sampled_from(SpanKind),
    st.dictionaries(st.sampled_from("abc"), values).map(SharedAttributes),
)


@given(
    form=st.just(SELECT) | forms,
    parent=st.none() | contexts,
    own=st.dictionaries(st.sampled_from("xyz"), values),
    seed=st.integers(0, 2**32),
)
def test_what_is_told_is_what_the_sdk_says(
    both: Both, form: SpanForm, parent: SpanContext | None, own: dict[str, Any], seed: int
) -> None:
    """With any parent, sampled or not, the first time and when the form is known."""
    for _ in range(2):
        (ours, theirs), (context, other) = both.tell(form, parent, own, seed)
        assert ours == theirs
        assert (context, context.trace_state) == (other, other.trace_state)


@pytest.mark.parametrize(
    "settings",
    [
        {"limits": SpanLimits(max_span_attributes=2)},
        {"limits": SpanLimits(max_span_attribute_length=3)},
        {"sampler": ParentBasedTraceIdRatio(0.5)},
        {"sampler": StaticSampler(ALWAYS_ON.should_sample(None, 0, "").decision)},
        {"sampler": ALWAYS_OFF},
    ],
    ids=["few attributes", "short texts", "a part", "a sampler of one's own", "none"],
)
def test_what_is_told_follows_limits_and_samplers(settings: dict[str, Any]) -> None:
    """As every span does."""
    providers = Both(**settings)
    for seed in range(8):
        for parent in (None, PARENT):
            (ours, theirs), (context, other) = providers.tell(SELECT, parent, {"rows": 1}, seed)
            assert ours == theirs
            assert context == other
    providers.close()


def test_whoever_reads_spans_sees_those_that_are_told() -> None:
    """A processor of somebody's has its start and its end, with the times they had."""
    seen: list[tuple[str, str]] = []
    spans: list[ReadableSpan] = []

    class Reader(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            seen.append(("start", span.name))

        def on_end(self, span: ReadableSpan) -> None:
            seen.append(("end", span.name))
            spans.append(span)
            raise ValueError("Somebody's processor fails.")

    provider = LeanTracerProvider(shutdown_on_exit=False)
    tracer = provider.get_tracer("t")
    assert not is_seen(tracer)
    provider.add_span_processor(Reader())
    assert is_seen(tracer)
    with pytest.raises(ValueError, match="fails"):  # in a test; else it is logged
        tell(tracer, SELECT, Context(), {"rows": 1}, TIMES)
    assert seen == [("start", "SELECT orders"), ("end", "SELECT orders")]
    assert (spans[0].start_time, spans[0].end_time) == TIMES
    assert spans[0].attributes == {**SELECT.attributes, "rows": 1}
    provider.shutdown()


def test_other_tracers_are_told_by_a_span() -> None:
    """The API's own, before there is a provider, is one that somebody may see."""
    tracer = NoOpTracer()
    here = trace.set_span_in_context(NonRecordingSpan(PARENT), Context())
    assert is_seen(tracer)
    assert tell(tracer, SELECT, here, {}, TIMES) == PARENT
