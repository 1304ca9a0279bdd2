"""What the lean pipeline sends is, message by message, what the SDK would have sent."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.pipeline.lean import (
    EncodedSpanProcessor,
    LeanTracerProvider,
    encoding,
    wire,
)
from glam_sdk.telemetry.pipeline.lean.encoding import encode_resource, join_request
from glam_sdk.telemetry.pipeline.lean.pairs import Pairs
from tests.unit.telemetry.conftest import Batches

RESOURCE = Resource({"service.name": "orders", "replicas": 3, "zones": ["a", "b"]}, "https://r/1")
LIMITS = (
    SpanLimits(),
    SpanLimits(max_span_attributes=2, max_events=1, max_links=1),
    SpanLimits(max_attributes=1, max_attribute_length=3),
    SpanLimits(max_span_attributes=0, max_event_attributes=0, max_link_attributes=0, max_events=0),
    SpanLimits(max_span_attribute_length=0, max_links=0),
)


class Odd:
    """Be no type that OpenTelemetry knows."""

    def __str__(self) -> str:
        return "odd"


class Text(str):
    """Be text of a class of its own."""

    __slots__ = ()


class Pair:
    """One provider of each kind, with the same settings."""

    def __init__(self, limits: SpanLimits) -> None:
        self.batches = Batches()
        self.lean = LeanTracerProvider(
            resource=RESOURCE, span_limits=limits, shutdown_on_exit=False
        )
        self.lean.add_span_processor(EncodedSpanProcessor(self.batches))
        self.memory = InMemorySpanExporter()
        self.sdk = TracerProvider(resource=RESOURCE, span_limits=limits, shutdown_on_exit=False)
        self.sdk.add_span_processor(SimpleSpanProcessor(self.memory))

    def compare(self, work: Callable[[TracerProvider], None], seed: int) -> None:
        """Run the same on both, with the same random ids, and compare the requests."""
        random.seed(seed)
        work(self.lean)
        self.lean.force_flush()
        sent = self.batches.spans  # nothing is sent where nothing was sampled
        ours = join_request(encode_resource(RESOURCE), sent) if sent else b""
        random.seed(seed)
        work(self.sdk)
        theirs = encode_spans(self.memory.get_finished_spans())
        self.batches.spans.clear()
        self.memory.clear()
        assert canonical(ExportTraceServiceRequest.FromString(ours)) == canonical(theirs)


def canonical(request: ExportTraceServiceRequest) -> bytes:
    # Compared as bytes, because a NaN is not equal to itself.
    return request.SerializeToString(deterministic=True)


@pytest.fixture(scope="module")
def pairs() -> Iterator[list[Pair]]:
    logging.disable(logging.CRITICAL)  # each odd value is logged, on both sides
    pairs = [Pair(limits) for limits in LIMITS]
    yield pairs
    for pair in pairs:
        pair.lean.shutdown()
        pair.sdk.shutdown()
    logging.disable(logging.NOTSET)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["GET", "/orders/{id}", "x" * 127, "ü" * 64, "y" * 20_000]
)
plain = (
    texts
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.sampled_from([0, 1, 127, 128, 16_384, -1, 2**63 - 1, -(2**63), 200])
    | st.floats()
    | st.binary(max_size=12)
    | st.none()
)
values = (
    st.recursive(
        plain,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner, inner)
            | st.dictionaries(texts, inner, max_size=3)
        ),
        max_leaves=6,
    )
    | st.builds(Odd)
    | st.builds(object)
    | st.builds(Text, texts)
)
keys = st.sampled_from(["a", "b", "c", "http.route", ""]) | texts
maps = st.dictionaries(keys, values, max_size=4)
states = st.sampled_from([None, TraceState(), TraceState([("k", "v"), ("a@b", "c=d")])])
contexts = st.builds(
    SpanContext,
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.integers(0, 3).map(TraceFlags),
    trace_state=states,
)
times = st.integers(0, 2**64 - 1)
errors = st.sampled_from([ValueError("no"), KeyError(), Exception(), OSError(2, "ü")])

Operation = Callable[[Span], None]
codes = st.sampled_from(StatusCode)
operations = st.one_of(
    st.builds(lambda k, v: lambda span: span.set_attribute(k, v), keys, values),
    st.builds(lambda m: lambda span: span.set_attributes(m), maps),
    st.builds(lambda n, m, t: lambda span: span.add_event(n, m, t), texts, maps | st.none(), times),
    st.builds(lambda c, m: lambda span: span.add_link(c, m), contexts, maps | st.none()),
    st.builds(lambda n: lambda span: span.update_name(n), texts),
    st.builds(lambda c, d: lambda span: span.set_status(c, d), codes, texts | st.none()),
    st.builds(lambda c, d: lambda span: span.set_status(Status(c, d)), codes, texts | st.none()),
    st.builds(
        lambda e, m, t: lambda span: span.record_exception(e, m, t),
        errors,
        maps | st.none(),
        times,
    ),
)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_span_is_encoded_as_the_sdk_encodes_it(data: st.DataObject, pairs: list[Pair]) -> None:
    """Whatever is set on a span, under any limits and any parent, both say the same."""
    pair = data.draw(st.sampled_from(pairs))
    parent = data.draw(st.none() | contexts)
    context = None if parent is None else trace.set_span_in_context(NonRecordingSpan(parent))
    name, kind, attributes = data.draw(st.tuples(texts, st.sampled_from(SpanKind), maps))
    links = data.draw(st.lists(st.tuples(contexts, maps | st.none()), max_size=3))
    start, end = data.draw(st.tuples(times, times))
    steps = data.draw(st.lists(operations, max_size=6))
    scope = data.draw(st.sampled_from([("a", "1", "https://s/1"), ("b", None, None)]))

    def work(provider: TracerProvider) -> None:
        tracer = provider.get_tracer(*scope, attributes={"k": [1, 2]} if scope[1] else None)
        span = tracer.start_span(
            name,
            context=context,
            kind=kind,
            attributes=attributes,
            links=[Link(*link) for link in links],
            start_time=start,
        )
        for step in steps:
            step(span)
        tracer.start_span("child", trace.set_span_in_context(span), start_time=1).end(2)
        span.end(end)
        for step in steps:
            step(span)  # changes nothing any more

    pair.compare(work, data.draw(st.integers(0, 2**32)))


def test_equal_values_of_different_types_stay_what_they_are(pairs: list[Pair]) -> None:
    """1, True and 1.0 are one key of a dict, and three values of an attribute."""
    given_values: list[Any] = [1, True, 1.0, 0, False, 0.0, -0.0, "1", b"1", (1,), (True,), [1.0]]

    def work(provider: TracerProvider) -> None:
        for value in given_values * 2:
            span = provider.get_tracer("a").start_span("s", start_time=1)
            span.set_attribute("v", value)
            span.end(2)

    pairs[0].compare(work, 1)


def test_many_values_and_keys_are_encoded_beyond_what_is_remembered(pairs: list[Pair]) -> None:
    """The memory for encoded pairs is bounded; what does not fit is encoded each time."""

    def work(provider: TracerProvider) -> None:
        tracer = provider.get_tracer("a")
        for n in range(1500):
            span = tracer.start_span(f"name {n}", kind=SpanKind.CLIENT, start_time=1)
            span.set_attributes({"id": f"req-{n}", f"key-{n}": n, "n": n, "same": "same"})
            span.end(2)

    pairs[0].compare(work, 2)


def tables_of(pairs: Any, kind: type) -> dict[str, Any]:
    """Return what is remembered of each key with values of one type."""
    return {key: find.__self__ for key, (find, _) in pairs._ways[kind].items()}


def test_what_is_remembered_is_bounded_over_all_keys() -> None:
    """Also of what stands before a text or a number, for each of their lengths."""
    tables: Any = Pairs(b"\x4a")
    keys = [f"key.{number}" for number in range(4_500)]
    for key in keys:
        tables.encode([(key, ""), (key, 0)])
    for key in keys:
        tables.encode((key, "x" * size) for size in (1, 50, 99))
        tables.encode((key, 1 << bits) for bits in (8, 20, 40))
    tables.encode([("x" * 2_000, 1)])
    assert "x" * 2_000 not in tables_of(tables, int)
    kept = [values for kind in (str, int) for values in tables_of(tables, kind).values()]
    pieces = [piece for values in kept for piece in (*values.values(), *values._frames.values())]
    assert 1_000 < len(pieces) < 9_000  # a megabyte, each with its place


def test_some_values_of_a_key_are_remembered() -> None:
    """The first ones, in one table, whoever asks for the way to it."""
    tables: Any = Pairs(b"\x4a")
    for key, values in (("text", map(str, range(100))), ("number", range(100))):
        tables.encode((key, value) for value in values)
    kept = tables_of(tables, str)["text"], tables_of(tables, int)["number"]
    assert [len(values) for values in kept] == [64, 64]
    find, _ = tables.way_of(str, "text")
    assert find("7") is kept[0]["7"]


def test_a_status_alone_is_sent(pairs: list[Pair]) -> None:
    """Also of a span that has nothing else of what few have."""
    span = pairs[0].lean.get_tracer("a").start_span("s")
    span.set_status(StatusCode.ERROR, "no")
    span.end()
    (sent,) = decoded(pairs[0])
    assert (sent.status.code, sent.status.message) == (StatusCode.ERROR.value, "no")


@pytest.mark.parametrize("is_remote", [True, False])
def test_a_span_says_where_its_parent_is(pairs: list[Pair], is_remote: bool) -> None:  # noqa: FBT001
    """In another process or in this one."""
    parent = SpanContext(1, 2, is_remote=is_remote, trace_flags=TraceFlags(1))
    context = trace.set_span_in_context(NonRecordingSpan(parent))

    def work(provider: TracerProvider) -> None:
        provider.get_tracer("a").start_span("s", context, start_time=1).end(2)

    pairs[0].compare(work, 3)


def test_keys_that_never_come_again_take_a_megabyte_at_most() -> None:
    """As somebody makes them who puts an id into a name."""
    tables: Any = Pairs(b"\x4a")
    for number in range(10_000):
        tables.encode([(f"orders.{number}", 1.5)])
    assert 1000 < len(tables_of(tables, float)) < 1024 * 1024 / 640


def test_ids_of_messages_are_not_remembered() -> None:
    """They hardly ever come again; of any length they are encoded like other text."""
    tables: Any = Pairs(b"\x4a")
    ids = ["", "x", "x" * 99, "x" * 300, "ü" * 40, "\ud800"]
    for key in (conv.MESSAGING_MESSAGE_ID, conv.MESSAGING_MESSAGE_CONVERSATION_ID):
        for value in ids * 2:
            assert tables.encode([(key, value)]) == [wire.attribute(b"\x4a", key, value)]
        assert not tables_of(tables, str)[key]


def test_a_value_that_cannot_be_encoded_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left out each time, and those beside it are there."""
    # Others here disable logging, which loggers remember; this makes them forget.
    monkeypatch.setattr(logging.root.manager, "disable", 0)
    tables = Pairs(b"\x4a")
    with caplog.at_level(logging.WARNING, "glam_sdk.telemetry"):
        for _ in range(3):
            assert tables.encode([("n", 2**70), ("b", True)])[0] == b""
    assert [record.message for record in caplog.records] == ["telemetry.attribute_not_encoded"]


def decoded(pair: Pair) -> Any:
    pair.lean.force_flush()
    request = join_request(encode_resource(RESOURCE), pair.batches.spans)
    pair.batches.spans.clear()
    return ExportTraceServiceRequest.FromString(request).resource_spans[0].scope_spans[0].spans


def test_a_span_of_any_length_is_framed_and_few_frames_are_remembered() -> None:
    """Those of usual lengths are made once; each says how long its span is, made anew or not."""
    sizes = [2, 127, 128, 4_095, 4_096, 16_383, 16_384, 70_000] * 2
    spans = [SpanMessage(name="x" * size).SerializeToString() for size in sizes]
    request = join_request(b"", [(b"", span) for span in spans])
    found = ExportTraceServiceRequest.FromString(request).resource_spans[0].scope_spans[0].spans
    assert [len(span.name) for span in found] == sizes
    assert max(encoding._frames) < 4_096


def test_a_lone_surrogate_costs_a_question_mark_and_not_the_batch(pairs: list[Pair]) -> None:
    """Text that has no UTF-8 is sent as far as it can be, wherever it stands."""
    tracer = pairs[0].lean.get_tracer("a")
    span = tracer.start_span("n\ud800", attributes={"k\udfff": "v\udc00", "ok": ["\ud800x"]})
    span.add_event("e\ud800", {"k": "\ud800"})
    span.set_status(StatusCode.ERROR, "\ud800")
    span.end()
    (sent,) = decoded(pairs[0])
    assert (sent.name, sent.events[0].name, sent.status.message) == ("n?", "e?", "?")
    assert {a.key: a.value.string_value for a in sent.attributes} == {"k?": "v?", "ok": ""}
    assert sent.attributes[1].value.array_value.values[0].string_value == "?x"


def test_a_span_that_cannot_be_encoded_is_counted_and_breaks_nothing(pairs: list[Pair]) -> None:
    """A time of 2^64 costs this span, is counted as a drop, and the next span arrives."""
    tracer = pairs[0].lean.get_tracer("a")
    tracer.start_span("late", start_time=1).end(2**64)
    tracer.start_span("good").end()
    (sent,) = decoded(pairs[0])
    assert sent.name == "good"


def test_a_name_that_is_no_text_becomes_text(pairs: list[Pair]) -> None:
    """A number given as a name costs neither the span nor its batch."""
    pairs[0].lean.get_tracer("a").start_span(5).end()  # type: ignore[arg-type]
    (sent,) = decoded(pairs[0])
    assert sent.name == "5"


def test_the_sdks_spans_are_encoded_too(pairs: list[Pair]) -> None:
    """The processor is an honest one: on the SDK's provider it encodes a ReadableSpan."""
    batches = Batches()
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    kept: list[ReadableSpan] = []
    provider.add_span_processor(EncodedSpanProcessor(batches))
    memory = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    with provider.get_tracer("a", "1").start_as_current_span("s", attributes={"n": 1}) as span:
        span.add_event("e", {"k": "v"})
    provider.force_flush()
    kept += memory.get_finished_spans()
    ours = join_request(encode_resource(RESOURCE), batches.spans)
    provider.shutdown()
    assert canonical(ExportTraceServiceRequest.FromString(ours)) == canonical(encode_spans(kept))
