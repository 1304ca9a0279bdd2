"""A lean span follows the rules of the SDK's, to whoever records on it or looks at it."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import threading
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    Span,
    SpanProcessor,
    Tracer,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
)

from glam_sdk.telemetry.pipeline.lean import EncodedSpanProcessor, LeanTracerProvider, wire
from glam_sdk.telemetry.tracing import (
    BegunAttributes,
    SharedAttributes,
    later,
)
from tests.unit.telemetry.conftest import Batches

PROVIDERS = {"lean": LeanTracerProvider, "sdk": TracerProvider}


class Recorded:
    """One provider whose finished spans are kept."""

    def __init__(self, pipeline: str, **settings: Any) -> None:
        self.provider: TracerProvider = PROVIDERS[pipeline](shutdown_on_exit=False, **settings)
        self.memory = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.tracer = self.provider.get_tracer("t", "1")

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.memory.get_finished_spans()


@pytest.fixture(params=PROVIDERS)
def pipeline(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def recorded(pipeline: str) -> Recorded:
    return Recorded(pipeline)


def remote(flags: int, state: TraceState | None = None) -> Context:
    parent = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(flags), trace_state=state)
    return trace.set_span_in_context(NonRecordingSpan(parent))


def test_instrumentations_find_the_sdks_classes(recorded: Recorded) -> None:
    """What asks isinstance, or reads a span's fields, gets what the SDK would give."""
    span = recorded.tracer.start_span("s", kind=SpanKind.CLIENT, attributes={"a": 1})
    assert isinstance(recorded.provider, TracerProvider)
    assert isinstance(recorded.tracer, Tracer)
    assert isinstance(span, Span)
    assert isinstance(span, ReadableSpan)
    assert (span.name, span.kind, dict(span.attributes or {})) == ("s", SpanKind.CLIENT, {"a": 1})
    assert span.resource is recorded.provider.resource
    assert span.instrumentation_scope == InstrumentationScope("t", "1")
    with pytest.warns(DeprecationWarning, match="instrumentation_scope"):
        assert span.instrumentation_info.name == "t"
    assert (span.parent, span.end_time, span.events, span.links) == (None, None, (), ())
    assert span.context is span.get_span_context()
    assert json.loads(span.to_json())["attributes"] == {"a": 1}
    span.end()
    (finished,) = recorded.spans
    assert json.loads(finished.to_json()) == json.loads(span.to_json())


def test_a_tracer_is_made_once_per_scope(recorded: Recorded) -> None:
    """The same name, version and schema give the same tracer."""
    provider = recorded.provider
    assert provider.get_tracer("t", "1") is recorded.tracer
    assert provider.get_tracer("t", "2") is not recorded.tracer
    assert provider.get_tracer("t", "1", None, {"k": "v"}) is not recorded.tracer


def test_children_join_their_parents_trace(recorded: Recorded) -> None:
    """A child has its parent's trace id and flags, local or remote, and its trace state."""
    with recorded.tracer.start_as_current_span("outer") as outer:
        inner = recorded.tracer.start_span("inner")
    assert inner.get_span_context().trace_id == outer.get_span_context().trace_id
    assert isinstance(inner, Span)
    assert inner.parent == outer.get_span_context()
    state = TraceState([("k", "v")])
    called = recorded.tracer.start_span("called", remote(1, state))
    assert called.get_span_context().trace_id == 7
    assert called.get_span_context().trace_state == state
    assert called.get_span_context().trace_flags == TraceFlags(1)  # random only if the parent is
    assert not called.get_span_context().is_remote
    assert outer.get_span_context().trace_flags == TraceFlags(3)


def test_plain_attributes_are_attributes(recorded: Recorded) -> None:
    """What needs no check is recorded as anything else, and may be added to and replaced."""
    span = recorded.tracer.start_span("s", attributes=SharedAttributes({"a": 1, "b": "x"}))
    span.set_attribute("a", 2)
    span.set_attributes(SharedAttributes({"c": 3}))
    span.end()
    assert dict(recorded.spans[0].attributes or {}) == {"a": 2, "b": "x", "c": 3}


def test_plain_attributes_set_later_stay_their_owners(recorded: Recorded) -> None:
    """Many spans may be given the same ones; the last value of a name is the newest."""
    shared = SharedAttributes({"a": 1, "b": 2})
    for start in (None, {"a": 0, "c": 3}):
        span: Any = recorded.tracer.start_span("s", attributes=start)
        span.set_attributes(shared)
        span.set_attribute("b", 4)
        span.end()
    first, second = (list((span.attributes or {}).items()) for span in recorded.spans)
    assert first == [("a", 1), ("b", 4)]
    assert second == [("c", 3), ("a", 1), ("b", 4)]
    assert shared == {"a": 1, "b": 2}


def test_attributes_may_be_made_where_somebody_looks(pipeline: str) -> None:
    """A sampler of one's own gets a dict, as ever; of what is not sampled nobody looks."""
    made: list[str] = []
    seen: list[object] = []

    class Curious(StaticSampler):
        def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
            given = kwargs.get("attributes") or args[4]
            seen.append(given.copy() | {"asked": isinstance(given, dict)})
            return super().should_sample(*args, **kwargs)

    def make(name: str) -> BegunAttributes:
        made.append(name)
        return SharedAttributes(), {"name": name}

    def start(tracer: trace.Tracer, name: str, context: Context | None = None) -> None:
        tracer.start_span("s", context, attributes=later(tracer, make, name)).end()

    recorded = Recorded(pipeline)
    start(recorded.tracer, "kept")
    start(recorded.tracer, "dropped", remote(0))
    start(Recorded(pipeline, sampler=Curious(Decision.DROP)).tracer, "asked")
    assert [dict(span.attributes or {}) for span in recorded.spans] == [{"name": "kept"}]
    assert made == (["kept", "asked"] if pipeline == "lean" else ["kept", "dropped", "asked"])
    assert seen == [{"name": "asked", "asked": True}]


class Level(IntEnum):
    """A number with a name."""

    HIGH = 3


def test_a_number_of_a_class_of_its_own_is_a_number() -> None:
    """Asked whether it is in a range, CPython would compare it with each number in there."""
    assert wire.any_value(Level.HIGH) == wire.any_value(3)
    for number in (2**63, -(2**63) - 1):
        with pytest.raises(ValueError, match="more than 64 bits"):
            wire.any_value(number)


def test_a_span_that_has_ended_does_not_end_again() -> None:
    """Of two that end a span, only one hands it over."""
    provider = LeanTracerProvider(shutdown_on_exit=False)
    span: Any = provider.get_tracer("t").start_span("s")
    span.end()
    assert span.glam_stop(1) is None


def test_an_invalid_parent_is_no_parent(recorded: Recorded) -> None:
    """Ids of zero begin a new trace."""
    context = trace.set_span_in_context(NonRecordingSpan(trace.INVALID_SPAN_CONTEXT))
    span = recorded.tracer.start_span("s", context)
    assert isinstance(span, Span)
    assert span.parent is None
    assert span.get_span_context().is_valid


def test_what_is_not_sampled_is_not_built(recorded: Recorded) -> None:
    """An unsampled parent gives a span that records nothing and passes its ids on."""
    span = recorded.tracer.start_span("s", remote(0))
    assert type(span) is NonRecordingSpan
    context = span.get_span_context()
    assert (context.trace_id, context.trace_flags) == (7, TraceFlags(0))
    assert context.span_id not in (0, 8)
    child = recorded.tracer.start_span("child", trace.set_span_in_context(span))
    assert not child.is_recording()
    assert recorded.spans == ()


def test_the_samplers_of_the_variable_decide(
    pipeline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OTEL_TRACES_SAMPLER and its argument are read as the SDK reads them."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    tracer = Recorded(pipeline).tracer
    sampled = sum(tracer.start_span("s").is_recording() for _ in range(2000))
    assert 380 < sampled < 620
    assert tracer.start_span("s", remote(1)).is_recording()
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert not Recorded(pipeline).tracer.start_span("s", remote(1)).is_recording()


SAMPLERS = [
    ALWAYS_ON,
    ALWAYS_OFF,
    TraceIdRatioBased(0.5),
    ParentBased(ALWAYS_ON),
    ParentBasedTraceIdRatio(0.5),
    ParentBased(ALWAYS_ON, local_parent_sampled=ALWAYS_OFF),
    ParentBased(TraceIdRatioBased(0.5), remote_parent_not_sampled=TraceIdRatioBased(0.5)),
]
parents = st.builds(
    SpanContext,
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.integers(0, 3).map(TraceFlags),
)


@given(sampler=st.sampled_from(SAMPLERS), parent=st.none() | parents, seed=st.integers(0, 2**32))
def test_samplers_decide_as_they_do_in_the_sdk(
    sampler: Sampler, parent: SpanContext | None, seed: int
) -> None:
    """Under any parent and with any ids, the contexts of new spans are the same."""
    context = Context() if parent is None else trace.set_span_in_context(NonRecordingSpan(parent))
    made = []
    for kind in PROVIDERS.values():
        random.seed(seed)
        tracer = kind(sampler=sampler, shutdown_on_exit=False).get_tracer("t")
        made.append(tracer.start_span("s", context))
    ours, theirs = made
    assert ours.get_span_context() == theirs.get_span_context()
    assert ours.is_recording() == theirs.is_recording()


class Choosing(Sampler):
    """Decide by the span's name."""

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, *_: Any, **__: Any
    ) -> SamplingResult:
        return SamplingResult(Decision[name], {"chosen": name}, TraceState([("s", "1")]))

    def get_description(self) -> str:
        return "Choosing"


def test_a_sampler_of_ones_own_is_asked(pipeline: str) -> None:
    """Its decision, attributes and trace state hold; RECORD_ONLY is recorded and not exported."""
    recorded = Recorded(pipeline, sampler=ParentBased(Choosing()))
    full = recorded.tracer.start_span("RECORD_AND_SAMPLE")
    only = recorded.tracer.start_span("RECORD_ONLY")
    dropped = recorded.tracer.start_span("DROP")
    assert [s.is_recording() for s in (full, only, dropped)] == [True, True, False]
    assert full.get_span_context().trace_state == TraceState([("s", "1")])
    assert not only.get_span_context().trace_flags.sampled
    for span in (full, only, dropped):
        span.end()
    (finished,) = recorded.spans
    assert dict(finished.attributes or {}) == {"chosen": "RECORD_AND_SAMPLE"}


def test_a_parent_based_sampler_with_branches_of_its_own_is_asked(pipeline: str) -> None:
    """Only the plain form is a rule of ours."""
    sampler = ParentBased(ALWAYS_OFF, remote_parent_sampled=ALWAYS_OFF)
    tracer = Recorded(pipeline, sampler=sampler).tracer
    assert not tracer.start_span("s", remote(1)).is_recording()


class Counting(IdGenerator):
    """Give ids one after the other."""

    def __init__(self) -> None:
        self.last = 0

    def generate_span_id(self) -> int:
        self.last += 1
        return self.last

    def generate_trace_id(self) -> int:
        return 100


def test_an_id_generator_of_ones_own_is_asked(pipeline: str) -> None:
    """Ids come from it, and say that they are not random."""
    context = Recorded(pipeline, id_generator=Counting()).tracer.start_span("s").get_span_context()
    assert (context.trace_id, context.span_id, context.trace_flags) == (100, 1, TraceFlags(1))


def test_ok_is_final_and_unset_never_comes_back(recorded: Recorded) -> None:
    """A description belongs to errors; a later error replaces an earlier one, but not OK."""
    span: Any = recorded.tracer.start_span("s")
    span.set_status(StatusCode.ERROR, "one")
    span.set_status(StatusCode.UNSET)
    span.set_status(StatusCode.ERROR, "two")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "two")
    span.set_status(StatusCode.OK, "ignored")
    span.set_status(StatusCode.ERROR, "late")
    assert (span.status.status_code, span.status.description) == (StatusCode.OK, None)


def test_an_ended_span_changes_no_more(
    recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    """Every later call is ignored, with a warning each."""
    span: Any = recorded.tracer.start_span("s")
    span.end(5)
    assert not span.is_recording()
    span.set_attribute("a", 1)
    span.set_attributes({"a": 1})
    span.add_event("e")
    span.add_link(SpanContext(1, 2, is_remote=False))
    span.update_name("n")
    span.set_status(StatusCode.ERROR)
    span.end(6)
    span.start()
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 8
    (finished,) = recorded.spans
    assert finished.name == "s"
    assert finished.end_time == 5
    assert (dict(finished.attributes or {}), finished.events, finished.links) == ({}, (), ())
    with pytest.raises(TypeError):
        span.attributes["a"] = 1


def test_a_link_to_nowhere_is_left_out(recorded: Recorded) -> None:
    """None and invalid contexts are no links; one with attributes or a state is."""
    invalid = trace.INVALID_SPAN_CONTEXT
    links: Any = [None, Link(invalid), Link(invalid, {"a": 1})]
    span: Any = recorded.tracer.start_span("s", links=links)
    span.add_link(None)
    span.add_link(invalid)
    span.add_link(SpanContext(0, 0, is_remote=True, trace_state=TraceState([("k", "v")])))
    assert [dict(link.attributes or {}) for link in span.links] == [{"a": 1}, {}]


def test_values_are_copied_when_they_are_set(recorded: Recorded) -> None:
    """A list or mapping that its owner changes later stays as it was."""
    values, start = [1, 2], {"a": 1}
    span: Any = recorded.tracer.start_span("s", attributes=start)
    span.set_attribute("values", values)
    values.append(3)
    start["a"] = 2
    assert dict(span.attributes) == {"a": 1, "values": (1, 2)}


@pytest.mark.parametrize("kind", [dict, SharedAttributes])
def test_the_limits_of_the_variables_hold(
    pipeline: str, kind: type[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest attributes, events and links go, and are counted; long text is cut."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2")
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
    monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "1")
    monkeypatch.setenv("OTEL_SPAN_LINK_COUNT_LIMIT", "1")
    span: Any = Recorded(pipeline).tracer.start_span(
        "s", attributes=kind({"a": "long text", "b": "b"})
    )
    span.set_attribute("c", ["also long"])
    for n in (1, 2):
        span.add_event(f"e{n}")
        span.add_link(SpanContext(n, n, is_remote=False))
    assert dict(span.attributes) == {"b": "b", "c": ("als",)}
    assert [event.name for event in span.events] == ["e2"]
    assert [link.context.trace_id for link in span.links] == [2]
    assert (span.dropped_attributes, span.dropped_events, span.dropped_links) == (1, 1, 1)


def test_a_setting_made_again_is_the_newest(recorded: Recorded) -> None:
    """The last value of a key stays, and moves to the end."""
    span: Any = recorded.tracer.start_span("s", attributes={"a": 1, "b": 2})
    span.set_attribute("a", 3)
    assert list(span.attributes.items()) == [("b", 2), ("a", 3)]


def test_an_exception_is_recorded_once_as_current_span(recorded: Recorded) -> None:
    """It becomes an event and the status, the span ends, and the former span is current again."""
    before = trace.get_current_span()
    with pytest.raises(KeyError), recorded.tracer.start_as_current_span("s"):
        raise KeyError("k")
    (finished,) = recorded.spans
    assert [event.name for event in finished.events] == ["exception"]
    assert (finished.events[0].attributes or {})["exception.type"] == "KeyError"
    assert finished.status.description == "KeyError: 'k'"
    assert trace.get_current_span() is before


def test_an_exception_can_be_left_out(recorded: Recorded) -> None:
    """record_exception and set_status_on_exception are honoured in both kinds of block."""
    quiet = {"record_exception": False, "set_status_on_exception": False}
    with pytest.raises(KeyError), recorded.tracer.start_as_current_span("s", **quiet):  # type: ignore[arg-type]
        raise KeyError("k")
    with pytest.raises(KeyError), recorded.tracer.start_span("s", **quiet):  # type: ignore[arg-type]
        raise KeyError("k")
    assert [(s.events, s.status.status_code) for s in recorded.spans] == [
        ((), StatusCode.UNSET)
    ] * 2


def test_a_started_span_used_as_a_block_records_what_escapes(recorded: Recorded) -> None:
    """``with tracer.start_span()`` ends the span and says that the exception escaped."""
    with pytest.raises(ValueError, match="no"), recorded.tracer.start_span("s"):
        raise ValueError("no")
    (finished,) = recorded.spans
    assert (finished.events[0].attributes or {})["exception.escaped"] == "True"
    assert finished.status.status_code is StatusCode.ERROR


def test_the_end_of_a_generator_is_no_error(recorded: Recorded) -> None:
    """GeneratorExit leaves the span without an event and without a status."""

    def numbers() -> Iterator[int]:
        with recorded.tracer.start_as_current_span("s"):
            yield 1
            yield 2

    running = numbers()
    next(running)
    running.close()  # type: ignore[attr-defined]
    (finished,) = recorded.spans
    assert (finished.events, finished.status.status_code) == ((), StatusCode.UNSET)


def test_a_block_can_leave_its_span_open(recorded: Recorded) -> None:
    """end_on_exit=False hands the span on."""
    with recorded.tracer.start_as_current_span("s", end_on_exit=False) as span:
        pass
    assert span.is_recording()


async def test_functions_are_decorated_sync_and_async(recorded: Recorded) -> None:
    """Each call has a span of its own, which for a coroutine lasts until it is done."""

    @recorded.tracer.start_as_current_span("sync")
    def double(n: int) -> int:
        return n * 2

    @recorded.tracer.start_as_current_span("async")
    async def later(n: int) -> bool:
        await asyncio.sleep(0)
        return trace.get_current_span().is_recording()

    assert [double(2), double(3)] == [4, 6]
    assert await later(1)
    assert [span.name for span in recorded.spans] == ["sync", "sync", "async"]


class Redacting(SpanProcessor):
    """Be a processor as they are found in the wild."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.seen.append(f"start {span.name} {dict(span.attributes or {})}")
        span.set_attribute("tenant", "t-1")

    def on_end(self, span: ReadableSpan) -> None:
        assert type(span) is ReadableSpan
        self.seen.append(f"end {span.name}")
        attributes: Any = span._attributes
        attributes._dict["secret"] = "***"


def test_processors_of_others_see_every_span(pipeline: str) -> None:
    """They see its start, may add to it, and get a ReadableSpan at its end."""
    recorded, processor = Recorded(pipeline), Redacting()
    recorded.provider.add_span_processor(processor)
    recorded.tracer.start_span("s", attributes={"a": 1, "secret": "x"}).end()
    assert processor.seen == ["start s {'a': 1, 'secret': 'x'}", "end s"]
    assert dict(recorded.spans[0].attributes or {})["tenant"] == "t-1"


def test_what_a_processor_hides_is_not_exported() -> None:
    """Whatever the order they were added in, the bytes are made after the others have looked."""
    provider, kept = LeanTracerProvider(shutdown_on_exit=False), Batches()
    provider.add_span_processor(EncodedSpanProcessor(kept))
    provider.add_span_processor(Redacting())
    provider.get_tracer("t").start_span("s", attributes={"secret": "hunter2"}).end()
    assert provider.force_flush()
    provider.shutdown()
    ((_, body),) = kept.spans
    assert b"hunter2" not in body
    assert b"***" in body
    assert b"t-1" in body


def test_a_given_active_processor_takes_the_others(pipeline: str) -> None:
    """ConcurrentMultiSpanProcessor, given to the provider, gets what is added later."""
    active = ConcurrentMultiSpanProcessor(num_threads=1)
    recorded = Recorded(pipeline, active_span_processor=active)
    recorded.tracer.start_span("s").end()
    assert len(active._span_processors) == 1
    assert [span.name for span in recorded.spans] == ["s"]
    assert recorded.provider.force_flush()
    recorded.provider.shutdown()


def test_two_threads_end_a_span_once(recorded: Recorded) -> None:
    """Whoever comes second changes nothing and exports nothing."""
    for _ in range(50):
        span, barrier = recorded.tracer.start_span("s"), threading.Barrier(2)

        def end(span: trace.Span = span, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(5)
            span.end()

        threads = [threading.Thread(target=end) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(recorded.spans) == 50


def test_the_sdk_can_be_switched_off(pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED gives tracers that do nothing."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert isinstance(Recorded(pipeline).tracer, NoOpTracer)


def test_the_attributes_of_a_tracer_are_found_in_one_step() -> None:
    """CPython keeps them in the object until its ``__dict__`` is asked for, and then beside it."""
    tracer = LeanTracerProvider(shutdown_on_exit=False).get_tracer("t")
    beside = [each for each in gc.get_referents(tracer) if type(each) is dict]
    assert not [each for each in beside if "handover" in each]


def test_a_tracer_can_be_switched_off(pipeline: str) -> None:
    """The SDK's tracer configurator works, also for tracers that are there already."""
    from opentelemetry.sdk.trace import _disable_tracer_configurator

    recorded = Recorded(pipeline)
    recorded.provider._set_tracer_configurator(tracer_configurator=_disable_tracer_configurator)
    assert not recorded.tracer.start_span("s").is_recording()
    assert recorded.tracer.start_span("s", remote(1)).get_span_context().span_id == 8
    assert not recorded.provider.get_tracer("new").start_span("s").is_recording()


def test_the_sdks_own_counters_count(pipeline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED counts starts and live spans."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    tracer = Recorded(pipeline, meter_provider=meters).tracer
    tracer.start_span("open")
    tracer.start_span("s").end()
    data: Any = reader.get_metrics_data()
    found = {
        metric.name: sum(point.value for point in metric.data.data_points)
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }
    meters.shutdown()
    assert found["otel.sdk.span.started"] == 2
    assert found["otel.sdk.span.live"] == 1


def resident_mb() -> float:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE") / 1e6


class Nowhere(Batches):
    """Keep nothing."""

    def export(self, batch: list[tuple[bytes, bytes]]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_stays_flat_whatever_spans_say() -> None:
    """200 000 spans with names, keys and values never seen before leave nothing behind."""
    provider = LeanTracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(EncodedSpanProcessor(Nowhere()))
    tracer = provider.get_tracer("t")

    def spans(first: int, last: int) -> float:
        for n in range(first, last):
            span = tracer.start_span(f"name {n}", attributes={"id": f"{n:0100d}", "n": n})
            span.set_attribute(f"key {n}", n % 7 == 0)
            span.end()
            if n % 500 == 0:
                assert provider.force_flush()
        gc.collect()
        return resident_mb()

    before = spans(0, 20_000)
    assert spans(20_000, 200_000) - before < 8
    provider.shutdown()
