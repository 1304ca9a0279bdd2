"""Prove that fields of one piece of work reach its lines and nobody else's."""

from __future__ import annotations

import asyncio
import threading

from opentelemetry import context as otel
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext

import glam_sdk
from glam_sdk import context as ids
from glam_sdk.telemetry.log_context import request_context, with_request_fields
from glam_sdk.telemetry.logs import clear_request_context, get_logger, set_request_context
from glam_sdk.telemetry.propagation import inject


class attached:  # noqa: N801 - reads as a statement
    """Do what an edge does around each request: attach a context and put the old one back."""

    def __enter__(self):
        self.token = otel.attach(Context())

    def __exit__(self, *_):
        otel.detach(self.token)


def test_fields_are_on_every_line_until_the_work_ends(telemetry):
    """They add up, a later value wins, None removes, and the end of the request ends them."""
    log = get_logger("x")
    with attached():
        set_request_context(user_id=7, shop="a")
        set_request_context(shop="b", page=1)
        log.info("within", page=2)
        set_request_context(shop=None)
        log.info("less")
        clear_request_context()
        log.info("cleared")
    log.info("after")
    seen = [(e.get("user_id"), e.get("shop"), e.get("page")) for e in telemetry.logs()]
    assert seen == [(7, "b", 2), (7, None, 1), (None,) * 3, (None,) * 3]


def test_ids_become_those_of_the_work(telemetry):
    """The correlation id travels on; the trace id is the span's, whatever was given."""
    with attached():
        set_request_context(request_id="req_1", correlation_id="corr_1", trace_id="old", user_id=1)
        assert (ids.request_id(), ids.correlation_id()) == ("req_1", "corr_1")
        assert inject()["baggage"] == "correlation_id=corr_1"
        get_logger("x").info("seen")
        clear_request_context()
        assert ids.request_id() == "req_1"
    (entry,) = telemetry.logs()
    assert (entry["request_id"], entry["correlation_id"], entry["user_id"]) == (
        "req_1",
        "corr_1",
        1,
    )
    assert not any("trace_id" in key for key in entry)


def test_an_id_that_cannot_travel_stays_a_field(telemetry):
    """What would break a header goes into the log and nowhere else."""
    with attached():
        set_request_context(correlation_id="a\r\nb", request_id=17)
        assert ids.correlation_id() is None
        assert ids.request_id() is None
        get_logger("x").info("seen")
    (entry,) = telemetry.logs()
    assert (entry["correlation_id"], entry["request_id"]) == ("a\r\nb", 17)


def test_our_names_and_secrets_are_safe_here_too(telemetry):
    """The same rules hold as for the fields of a line."""
    with attached():
        set_request_context(level="loud", api_key="s3cret")
        get_logger("x").info("seen")
    (entry,) = telemetry.logs()
    assert (entry["level"], entry["extra_level"]) == ("info", "loud")
    assert entry["api_key"] == "REDACTED:apikey"


async def test_concurrent_tasks_never_see_each_others_fields(telemetry):
    """A hundred interleaved requests, each with a child task, keep their own fields."""
    log, turn = get_logger("x"), asyncio.Barrier(100)

    async def child(number: int) -> None:
        set_request_context(child=number)
        log.info("child", expected=number)

    async def handle(number: int) -> None:
        with attached():
            log.info("empty")
            set_request_context(user_id=number)
            await turn.wait()
            await asyncio.create_task(child(number))
            log.info("parent", expected=number)
        log.info("empty")

    await asyncio.gather(*(handle(number) for number in range(100)))
    entries = telemetry.logs()
    assert len(entries) == 400
    for entry in entries:
        if entry["message"] == "empty":
            assert "user_id" not in entry
        else:
            assert entry["user_id"] == entry["expected"]
        assert ("child" in entry) == (entry["message"] == "child")
    assert request_context() == {}


def test_threads_do_not_share_fields(telemetry):
    """A thread starts without fields, and its own stay in it."""
    log = get_logger("x")

    def work() -> None:
        log.info("thread")
        set_request_context(user_id=2)
        log.info("thread", expected=2)

    with attached():
        set_request_context(user_id=1)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        log.info("main", expected=1)
    assert [(e.get("user_id"), e.get("expected")) for e in telemetry.logs()] == [
        (None, None),
        (2, 2),
        (1, 1),
    ]


def test_fields_end_with_the_span_they_were_set_in(telemetry):
    """A span restores the context it found, fields included."""
    with attached():
        set_request_context(a=1)
        with glam_sdk.span("inner"):
            set_request_context(b=2)
        get_logger("x").info("seen")
    (entry,) = telemetry.logs()
    assert (entry["a"], "b" in entry) == (1, False)


def test_a_field_set_while_a_line_is_laid_out_breaks_nothing(telemetry):
    """The fields belong to all threads of a request; here a value does what another one might."""

    class Value:
        def __str__(self):
            set_request_context(late=1)
            return "v"

    context = with_request_fields(NonRecordingSpan(SpanContext(1, 2, is_remote=False)), {})
    token = otel.attach(context)
    try:
        set_request_context(first=Value(), second=2)
        get_logger("x").info("during")
        get_logger("x").info("afterwards")
    finally:
        otel.detach(token)
    seen = [(e.get("first"), e.get("second"), e.get("late")) for e in telemetry.logs()]
    assert seen == [("v", 2, None), ("v", 2, 1)]
