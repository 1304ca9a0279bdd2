"""Attributes that spans share are theirs like any others; they are only encoded once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.trace import Span, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracer, SpanKind, Tracer

from glam_sdk.telemetry.pipeline.lean import EncodedSpanProcessor, LeanTracerProvider
from glam_sdk.telemetry.telling import SpanForm, is_seen, tell
from glam_sdk.telemetry.tracing import (
    SharedAttributes,
    begun,
    child_starter,
    later,
    stop,
)
from tests.unit.telemetry.conftest import Batches

LIMITS = (
    SpanLimits(),
    SpanLimits(max_span_attributes=3),
    SpanLimits(max_span_attributes=1),
    SpanLimits(max_span_attributes=0),
    SpanLimits(max_span_attribute_length=2),
)


class Lean:
    """A lean provider whose spans are kept as they are sent."""

    def __init__(self, limits: SpanLimits | None = None) -> None:
        self.batches = Batches()
        self.provider = LeanTracerProvider(span_limits=limits, shutdown_on_exit=False)
        self.provider.add_span_processor(EncodedSpanProcessor(self.batches))
        self.tracer = self.provider.get_tracer("t")

    def sent(self) -> list[SpanMessage]:
        """Return the spans sent since the last call."""
        self.provider.force_flush()
        bodies = [body for _, body in self.batches.spans]
        self.batches.spans.clear()
        return [SpanMessage.FromString(body) for body in bodies]


def attributes_of(span: SpanMessage) -> tuple[list[bytes], int]:
    """Return a span's attributes, in their order and comparable, and how many it dropped."""
    shown = [pair.SerializeToString(deterministic=True) for pair in span.attributes]
    return shown, span.dropped_attributes_count


@pytest.fixture
def lean() -> Iterator[Lean]:
    lean = Lean()
    yield lean
    lean.provider.shutdown()


@pytest.fixture(scope="module")
def leans() -> Iterator[dict[int, Lean]]:
    logging.disable(logging.CRITICAL)  # each dropped attribute is logged, on both sides
    leans = {number: Lean(limits) for number, limits in enumerate(LIMITS)}
    yield leans
    for lean in leans.values():
        lean.provider.shutdown()
    logging.disable(logging.NOTSET)


values = st.text(max_size=4) | st.integers(0, 300) | st.booleans() | st.floats(allow_nan=False)
maps = st.dictionaries(st.sampled_from("abcdef"), values, max_size=4)
steps = st.lists(
    st.builds(
        lambda key, value: lambda span: span.set_attribute(key, value),
        st.sampled_from("abcdefg"),
        values,
    )
    | st.builds(lambda given: lambda span: span.set_attributes(given), maps),
    max_size=5,
)


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    parts=st.tuples(maps, maps, maps),
    steps=steps,
    limits=st.integers(0, len(LIMITS) - 1),
    are_late=st.booleans(),
)
def test_shared_attributes_are_the_spans_like_any_others(
    *,
    parts: tuple[dict[str, Any], ...],
    steps: list[Callable[[Any], None]],
    limits: int,
    are_late: bool,
    leans: dict[int, Lean],
) -> None:
    """However they came, and whatever is set besides, what is sent is what the SDK sends."""
    first, own, last = parts
    own = {name: value for name, value in own.items() if name not in first}
    lean = leans[limits]
    about = SharedAttributes(first), dict(own)
    given = later(lean.tracer, lambda: about) if are_late else begun(lean.tracer, *about)
    span = lean.tracer.start_span("s", attributes=given)
    for step in steps:
        step(span)
    tell = stop(span, 1)
    assert tell is not None
    tell(None, SharedAttributes(last))

    memory = InMemorySpanExporter()
    sdk = TracerProvider(span_limits=LIMITS[limits], shutdown_on_exit=False)
    sdk.add_span_processor(SimpleSpanProcessor(memory))
    expected = sdk.get_tracer("t").start_span("s", attributes=first | own)
    for step in [*steps, lambda span: span.set_attributes(last)]:
        step(expected)
    expected.end()
    request = encode_spans(memory.get_finished_spans())
    theirs = request.resource_spans[0].scope_spans[0].spans[0]
    assert [attributes_of(span) for span in lean.sent()] == [attributes_of(theirs)]
    assert about[0] == first


@pytest.mark.parametrize(
    "add",
    [
        lambda span: span.set_attribute("c", 3),
        lambda span: span.set_attributes({"c": 3}),
        lambda span: stop(span, 1)(None, SharedAttributes({"c": 3})),
    ],
)
def test_shared_attributes_count_towards_the_limit(add: Callable[[Any], object]) -> None:
    """Where there is no room left, the oldest goes, shared or not."""
    lean = Lean(SpanLimits(max_span_attributes=2))
    given = begun(lean.tracer, SharedAttributes({"a": 1}), {"b": 2})
    span: Any = lean.tracer.start_span("s", attributes=given)
    add(span)
    if span.is_recording():
        span.end()
    sent = lean.sent()[0]
    assert [pair.key for pair in sent.attributes] == ["b", "c"]
    assert sent.dropped_attributes_count == 1
    lean.provider.shutdown()


def test_shared_attributes_are_encoded_once(lean: Lean) -> None:
    """What was written of them for one span stands in the next one."""
    first, last = SharedAttributes({"a": 1}), SharedAttributes({"z": 26})
    for _ in range(2):
        span = lean.tracer.start_span("s", attributes=begun(lean.tracer, first, {}))
        tell = stop(span, 1)
        assert tell is not None
        tell("t", last)
        # Only what was kept can show this in the second span.
        first.written, last.written = last.written, first.written
    shown = [[pair.key for pair in span.attributes] for span in lean.sent()]
    assert shown == [["a", "z"], ["z", "a"]]


def test_what_is_long_is_not_kept(lean: Lean) -> None:
    """Statements of any length may be shared; memory stays bounded."""
    shared = SharedAttributes({"db.query.text": "x" * 5_000})
    lean.tracer.start_span("s", attributes=begun(lean.tracer, shared, {})).end()
    assert len(lean.sent()[0].attributes[0].value.string_value) == 5_000
    assert shared.written is None


def test_a_span_shows_all_its_attributes(lean: Lean) -> None:
    """Whoever asks a span gets those that it shares too, before its end and afterwards."""
    given = begun(lean.tracer, SharedAttributes({"a": 1}), {})
    span = lean.tracer.start_span("s", attributes=given)
    assert isinstance(span, Span)
    seen = span.attributes
    span.set_attribute("b", 2)
    assert seen == span.attributes == {"a": 1, "b": 2}
    tell = stop(span, 1)
    assert tell is not None
    tell(None, SharedAttributes({"c": 3}))
    assert span.attributes == {"a": 1, "b": 2, "c": 3}
    assert '"c": 3' in span.to_json()


class Wrapper:
    """Pass on what it does not know, as instrumentations do that look at each span."""

    def __init__(self, inner: object, seen: list[str]) -> None:
        self._inner = inner
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def start_span(self, *arguments: Any, **options: Any) -> Wrapper:
        self._seen.append("start")
        return Wrapper(self._inner.start_span(*arguments, **options), self._seen)  # type: ignore[attr-defined]

    def end(self, *arguments: Any) -> None:
        self._seen.append("end")
        self._inner.end(*arguments)  # type: ignore[attr-defined]


def test_what_wraps_our_tracer_sees_each_span(lean: Lean) -> None:
    """No short way leads past it."""
    seen: list[str] = []
    tracer: Any = Wrapper(lean.tracer, seen)
    about = SharedAttributes({"a": 1}), {"b": 2}
    assert begun(tracer, *about) == later(tracer, lambda: about) == {"a": 1, "b": 2}
    assert child_starter(tracer) is None
    assert is_seen(tracer)
    tell(tracer, SpanForm("s", SpanKind.CLIENT, about[0]), Context(), about[1], (1, 2))
    assert seen == ["start", "end"]
    assert stop(tracer.start_span("t"), 1) is None


def test_an_attribute_set_while_others_are_joined_stays(lean: Lean) -> None:
    """Of two threads one may be about to write into the dict that the other makes whole."""
    given = begun(lean.tracer, SharedAttributes({"a": 1}), {"b": 2})
    span: Any = lean.tracer.start_span("s", attributes=given)
    about_to_write = span._own
    span.set_attribute("c", [3])
    about_to_write["d"] = 4
    span.end()
    assert [pair.key for pair in lean.sent()[0].attributes] == ["a", "b", "c", "d"]


def test_attributes_of_a_wrong_type_are_refused_where_they_come(lean: Lean) -> None:
    """As the SDK refuses them, not when the span is over."""
    wrong: Any = ({"a": 1}, {"b": [1]})
    with pytest.raises((AttributeError, TypeError)):
        lean.tracer.start_span("s", attributes=wrong)


@pytest.mark.parametrize("kind", ["sdk", "none"])
def test_other_tracers_get_one_dict(kind: str) -> None:
    """Only our tracer knows of parts."""
    provider = TracerProvider(shutdown_on_exit=False)
    tracer: Tracer = provider.get_tracer("t") if kind == "sdk" else NoOpTracer()
    about = SharedAttributes({"a": 1}), {"b": 2}
    assert type(begun(tracer, *about)) is dict
    assert begun(tracer, *about) == {"a": 1, "b": 2}
    assert later(tracer, lambda: about) == {"a": 1, "b": 2}
