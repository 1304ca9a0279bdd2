"""Other instrumentations of the same request: one SERVER span, nothing told or counted twice."""

from __future__ import annotations

from contextlib import contextmanager

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from glam_sdk.errors import NotFoundError
from glam_sdk.testing import AppServer

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
COUNT = "http_server_request_duration_seconds_count"


@contextmanager
def served(app):
    with AppServer(app) as server, httpx.Client(base_url=server.url, timeout=10) as client:
        client.headers["Connection"] = "close"
        yield client


def add_routes(app):
    @app.get("/orders/{n}")
    async def order(n: int) -> int:
        if n == 0:
            raise NotFoundError("There is no order 0.")
        if n < 0:
            raise ValueError("bug")
        return n

    return app


def server_spans(telemetry):
    return [span for span in telemetry.spans if span.kind is SpanKind.SERVER]


def counted(telemetry):
    """How often requests to the route were counted, over all scopes and labels."""
    lines = [line for line in telemetry.scrape().splitlines() if line.startswith(COUNT)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.fixture
def instrumented():
    """Instrument applications with the contrib package, and undo it."""
    apps = []

    def instrument(app):
        FastAPIInstrumentor.instrument_app(app)
        apps.append(app)
        return app

    yield instrument
    for app in apps:
        FastAPIInstrumentor.uninstrument_app(app)


def check_requests(client, telemetry):
    """Send a success, a refusal and a bug, and check what is true in every constellation."""
    answers = [client.get(f"/orders/{n}", headers={"traceparent": TRACEPARENT}) for n in (1, 0, -1)]
    assert [answer.status_code for answer in answers] == [200, 404, 500]
    for answer in answers:
        assert answer.headers["x-trace-id"] == TRACE
    assert answers[1].json()["error"]["code"] == "NOT_FOUND"
    assert answers[2].json()["error"]["code"] == "INTERNAL_ERROR"


def check_telemetry(telemetry):
    ok, refused, failed = spans = server_spans(telemetry)
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE}
    assert {span.name for span in spans} == {"GET /orders/{n}"}
    assert {span.attributes["http.route"] for span in spans} == {"/orders/{n}"}
    assert ok.status.status_code is refused.status.status_code is StatusCode.UNSET
    assert failed.status.status_code is StatusCode.ERROR
    assert refused.attributes["glam.error.code"] == "NOT_FOUND"
    assert failed.attributes["error.type"] == "ValueError"
    assert [event.name for event in failed.events] == ["exception"]
    lines = telemetry.logs("http.request")
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert {line["trace_id"] for line in lines} == {TRACE}
    assert len([line for line in telemetry.logs() if "exception" in line]) == 1


def test_with_fastapis_native_telemetry(telemetry):
    """It is in every FastAPI and wakes up with our providers; ours is the one span."""
    app = add_routes(telemetry.service.install(FastAPI()))
    with served(app) as client:
        check_requests(client, telemetry)
    check_telemetry(telemetry)
    assert len(telemetry.spans) == 3
    assert counted(telemetry) == 3


@pytest.mark.parametrize("telemetry_argument", [None, {"tracing": True, "operation_spans": True}])
def test_with_the_native_telemetry_of_mounted_applications(telemetry, telemetry_argument):
    """A mounted application adds no span, no measurement and no log record of its own."""
    app = telemetry.service.install(FastAPI())
    app.mount("/inner", add_routes(FastAPI(telemetry=telemetry_argument)))
    with served(app) as client:
        assert client.get("/inner/orders/1").json() == 1
    assert telemetry.tree() == "GET /inner/orders/{n} SERVER"
    assert counted(telemetry) == 1


def test_inside_an_outer_application_with_native_telemetry(telemetry):
    """Its SERVER span is joined: ours adds ids, the code and the log line, and counts nothing."""
    outer = FastAPI()
    outer.mount("/shop", add_routes(telemetry.service.install(FastAPI())))
    with served(outer) as client:
        client.base_url = client.base_url.join("/shop")
        check_requests(client, telemetry)
    names = {span.name for span in server_spans(telemetry)}
    assert names == {"GET /shop/orders/{n}"}
    refused, failed = server_spans(telemetry)[1:]
    assert refused.attributes["glam.error.code"] == "NOT_FOUND"
    assert failed.attributes["http.route"] == "/shop/orders/{n}"
    assert [event.name for event in failed.events] == ["exception"]
    assert counted(telemetry) == 3
    assert len(telemetry.logs("http.request")) == 3


def test_contrib_first_is_joined(telemetry, instrumented):
    """Instrumented before: its span is the SERVER span, ours works inside it."""
    app = instrumented(add_routes(FastAPI()))
    telemetry.service.install(app)
    with served(app) as client:
        check_requests(client, telemetry)
    check_telemetry(telemetry)
    assert counted(telemetry) == 3  # its own metrics have the old names here


def test_contrib_first_is_joined_also_after_the_first_request(telemetry, instrumented):
    """The stack is built again around what was there."""
    app = instrumented(add_routes(FastAPI()))
    with served(app) as client:
        client.get("/orders/1")
    telemetry.clear()
    telemetry.service.install(app)
    with served(app) as client:
        check_requests(client, telemetry)
    check_telemetry(telemetry)


def test_contrib_after_us_finds_the_application_instrumented(telemetry, instrumented):
    """Instrumented afterwards: it says so in one warning, and adds nothing."""
    app = add_routes(telemetry.service.install(FastAPI()))
    instrumented(app)
    with served(app) as client:
        check_requests(client, telemetry)
    check_telemetry(telemetry)
    assert len(telemetry.spans) == 3
    (line,) = [e for e in telemetry.logs() if e["logger"].startswith("opentelemetry")]
    assert "already instrumented" in line["message"]


def test_contribs_asgi_middleware_around_everything_is_joined(telemetry):
    """A hand-made ``OpenTelemetryMiddleware(app)`` is an outer instrumentation like any other."""
    app = add_routes(telemetry.service.install(FastAPI()))
    with served(OpenTelemetryMiddleware(app)) as client:
        check_requests(client, telemetry)
    spans = server_spans(telemetry)
    assert len(spans) == 3
    assert spans[1].attributes["glam.error.code"] == "NOT_FOUND"
    assert len([e for e in spans[2].events if e.name == "exception"]) == 1
    assert counted(telemetry) == 3


def test_an_unsampled_outer_span_is_joined_too(telemetry):
    """Its decision holds: no span of ours beside it, the same trace id in headers and logs."""
    from opentelemetry.sdk.trace import TracerProvider

    app = add_routes(telemetry.service.install(FastAPI()))
    never = TracerProvider(sampler=TraceIdRatioBased(0))
    with served(OpenTelemetryMiddleware(app, tracer_provider=never)) as client:
        answer = client.get("/orders/1")
    assert telemetry.spans == ()
    (line,) = telemetry.logs("http.request")
    assert line["trace_id"] == answer.headers["x-trace-id"]
