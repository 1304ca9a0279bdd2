"""Prove what an author's spans, and the ones below them, record."""

from __future__ import annotations

import asyncio
import inspect
from decimal import Decimal
from uuid import UUID

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import Link, SpanKind, StatusCode

import glam_sdk
from glam_sdk.errors import NotFoundError
from glam_sdk.telemetry.tracing import error_type, get_tracer, record_error, span


class SlottedError(Exception):
    """An exception that takes no further attributes."""

    __slots__ = ()

    def __setattr__(self, name, value):
        if name.startswith("__glam"):
            raise AttributeError(name)
        super().__setattr__(name, value)


def events(recorded):
    return [event.name for event in recorded.events]


def test_a_block_is_a_span(telemetry):
    """It nests by itself and ends with the block."""
    with glam_sdk.span("outer", items=3) as outer, glam_sdk.span("inner", **{"order.id": "a"}):
        assert glam_sdk.trace_id() == f"{outer.get_span_context().trace_id:032x}"
    assert telemetry.tree() == "outer INTERNAL\n  inner INTERNAL"
    assert telemetry.span("outer").attributes == {"items": 3}
    assert telemetry.span("inner").attributes == {"order.id": "a"}


def test_attributes_of_any_type_are_taken(telemetry):
    """OpenTelemetry knows few types: the others become text, without a warning."""
    given = {
        "name": "a field like any other",
        "none": None,
        "id": UUID(int=7),
        "price": Decimal("1.50"),
        "many": (1, 2),
        "mixed": [1, "a", None],
        "nested": {"a": {"password": "x"}},
        "api_key": "s3cret",
        "large": 2**70,
        "long": "x" * 100_000,
    }
    with glam_sdk.span("typed", **given):
        pass
    seen = dict(telemetry.span("typed").attributes)
    assert len(seen.pop("long")) < 40_000
    assert seen == {
        "name": "a field like any other",
        "id": str(UUID(int=7)),
        "price": "1.50",
        "many": (1, 2),
        "mixed": ("1", "a", "null"),
        "nested": '{"a":{"password":"REDACTED:password"}}',
        "api_key": "REDACTED:apikey",
        "large": str(2**70),
    }
    assert telemetry.lines == []


@pytest.mark.parametrize("kind", [ValueError, SlottedError])
def test_an_exception_is_recorded_once(telemetry, kind):
    """The innermost span has the event; all that it passes have failed."""
    with pytest.raises(kind), glam_sdk.span("outer"), glam_sdk.span("inner"):
        raise kind("no")
    inner, outer = telemetry.span("inner"), telemetry.span("outer")
    assert events(inner) == ["exception"]
    assert events(outer) == (["exception"] if kind is SlottedError else [])
    for recorded in (inner, outer):
        assert recorded.status.status_code is StatusCode.ERROR
        assert recorded.status.description == kind.__name__
        assert recorded.attributes["error.type"].endswith(kind.__name__)


def test_the_same_exception_in_another_trace_is_recorded_again(telemetry):
    """A cached or retried exception is news to each trace it fails."""
    failure = ValueError("kept")
    for name in ("one", "two"):
        with pytest.raises(ValueError, match="kept"), glam_sdk.span(name):
            raise failure
    assert events(telemetry.span("one")) == events(telemetry.span("two")) == ["exception"]


def test_our_errors_are_known_by_their_code(telemetry):
    """``error.type`` is the code for ours, and the class's name for all others."""
    assert error_type(NotFoundError("x")) == "NOT_FOUND"
    assert error_type(ValueError()) == "ValueError"
    assert error_type(SlottedError()) == f"{__name__}.SlottedError"
    foreign = ValueError()
    foreign.code, foreign.status = "user-4711", 500
    assert error_type(foreign) == "ValueError"


async def test_a_cancellation_fails_the_span_without_an_event(telemetry):
    """Nothing went wrong inside; the span still did not do its work."""
    entered = asyncio.Event()

    async def work() -> None:
        with glam_sdk.span("cancelled"):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    recorded = telemetry.span("cancelled")
    assert recorded.attributes == {"error.type": "asyncio.exceptions.CancelledError"}
    assert (recorded.status.status_code, events(recorded)) == (StatusCode.ERROR, [])


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit])
def test_an_end_that_was_asked_for_is_no_failure(telemetry, kind):
    """Leaving by ``sys.exit`` or closing a generator says nothing about the work."""
    with pytest.raises(kind), glam_sdk.span("left"):
        raise kind
    assert telemetry.span("left").status.status_code is StatusCode.UNSET


def test_a_failing_span_processor_breaks_no_block(telemetry, monkeypatch):
    """What a block returns or raises is its own, whatever is done with the span at its end."""

    class Failing(SpanProcessor):
        def on_end(self, span):
            raise LookupError("processor")

    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.delenv("PYTEST_VERSION")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Failing())
    with span(provider.get_tracer("t"), "fine"):
        pass
    with pytest.raises(ValueError, match="mine"), span(provider.get_tracer("t"), "failed"):
        raise ValueError("mine")


def test_the_context_is_put_back_however_a_block_ends(telemetry):
    """After a failure no span is current any more."""
    with pytest.raises(ValueError, match="no"), glam_sdk.span("failed"):
        raise ValueError("no")
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_span_can_have_kind_parent_and_links(telemetry):
    """What the layers need beyond an author's span."""
    with glam_sdk.span("first") as first:
        link = Link(first.get_span_context())
    tracer = get_tracer("glam_sdk.test")
    parent = trace.set_span_in_context(first)
    with span(
        tracer, "second", kind=SpanKind.CLIENT, parent=parent, links=(link,), attributes={"a": 1}
    ):
        pass
    second = telemetry.span("second")
    assert (second.kind, second.parent.span_id) == (
        SpanKind.CLIENT,
        first.get_span_context().span_id,
    )
    assert [other.context for other in second.links] == [link.context]
    assert second.instrumentation_scope.name == "glam_sdk.test"
    assert second.instrumentation_scope.version == glam_sdk.__version__


def test_an_error_can_be_recorded_without_raising(telemetry):
    """An edge that handles an exception marks its span; an unsampled span takes nothing."""
    with glam_sdk.span("handled") as current:
        record_error(current, ValueError("no"))
    recorded = telemetry.span("handled")
    assert events(recorded) == ["exception"]
    assert recorded.events[0].attributes["exception.type"] == "ValueError"
    record_error(trace.INVALID_SPAN, ValueError("no"))


def test_a_sync_function_is_instrumented(telemetry):
    """Name, docstring and result are the function's own."""

    @glam_sdk.instrument
    def price(a: int, *, b: int = 1) -> int:
        """Add."""
        return a + b

    assert (price(1, b=2), price.__name__, price.__doc__) == (3, "price", "Add.")
    assert telemetry.spans[0].name.endswith("price")


async def test_an_async_function_is_instrumented(telemetry):
    """It stays a coroutine function, and the span lasts as long as it is awaited."""

    @glam_sdk.instrument(name="price.quote", tier="gold", at=Decimal(1))
    async def quote() -> str:
        await asyncio.sleep(0)
        with glam_sdk.span("inner"):
            return "done"

    assert inspect.iscoroutinefunction(quote)
    assert await quote() == "done"
    assert telemetry.tree() == "price.quote INTERNAL\n  inner INTERNAL"
    assert telemetry.span("price.quote").attributes == {"tier": "gold", "at": "1"}


async def test_an_instrumented_function_may_fail(telemetry):
    """The exception goes on as it is."""

    @glam_sdk.instrument
    async def fail() -> None:
        raise NotFoundError("gone")

    with pytest.raises(NotFoundError):
        await fail()
    assert telemetry.spans[0].attributes["error.type"] == "NOT_FOUND"


def generator():
    yield 1


async def async_generator():
    yield 1


@pytest.mark.parametrize("function", [generator, async_generator])
def test_generators_are_refused(function):
    """Their body runs when nobody is inside the span any more; the message says what to do."""
    with pytest.raises(TypeError, match=r"cannot span the generator .*generator.*with glam_sdk"):
        glam_sdk.instrument(function)


@pytest.mark.parametrize("wrapper", [staticmethod, classmethod])
def test_the_order_of_decorators_is_checked(wrapper):
    """Above ``@staticmethod`` an async method's span would end before its work."""
    with pytest.raises(TypeError, match=f"below @{wrapper.__name__}"):
        glam_sdk.instrument(wrapper(lambda: None))


def test_methods_are_instrumented(telemetry):
    """Below the method decorators it works, on any object."""

    class Shop:
        @staticmethod
        @glam_sdk.instrument
        def static() -> str:
            return "static"

        @glam_sdk.instrument(name="shop.method")
        def method(self) -> str:
            return "method"

    assert (Shop().static(), Shop().method()) == ("static", "method")
    assert telemetry.spans[-1].name == "shop.method"


def test_without_init_spans_do_nothing():
    """A function that is instrumented can be used anywhere."""

    @glam_sdk.instrument
    def work() -> int:
        with glam_sdk.span("inner") as current:
            assert not current.is_recording()
            return 1

    assert work() == 1


def test_a_long_stack_trace_is_cut_and_tells_no_password(telemetry):
    """Stores refuse attributes beyond 64 KB, and a message may quote a URL with its password."""
    with (
        pytest.raises(ValueError, match="too much"),
        glam_sdk.span("work"),
    ):
        raise ValueError("too much at https://user:hunter2@db/ " + "x" * 200_000)
    (span,) = telemetry.spans
    (event,) = span.events
    assert len(event.attributes["exception.stacktrace"].encode()) < 65_536
    assert len(event.attributes["exception.message"].encode()) < 65_536
    assert "hunter2" not in str(dict(event.attributes))
