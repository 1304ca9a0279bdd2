"""Request metrics: names, labels, what is not counted."""

from __future__ import annotations

import re

from fastapi import FastAPI
from opentelemetry.trace import SpanKind
from prometheus_client.parser import text_string_to_metric_families

from glam_sdk.errors import NotFoundError

COUNT = "http_server_request_duration_seconds_count"


def samples(telemetry, name):
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(telemetry.scrape())
        for sample in family.samples
        if sample.name == name
    }


def test_every_request_is_measured_once(app, serve, telemetry):
    """``http.server.request.duration`` with method, route, status and scheme."""

    @app.get("/orders/{n}")
    async def order(n: int) -> None: ...

    with serve(app) as client:
        for n in range(3):
            client.get(f"/orders/{n}")
        client.post("/orders/1")
    common = ("url_scheme", "http")
    get, post = ("http_request_method", "GET"), ("http_request_method", "POST")
    route = ("http_route", "/orders/{n}")
    assert samples(telemetry, COUNT) == {
        (get, ("http_response_status_code", "200"), route, common): 3,
        (post, ("http_response_status_code", "405"), route, common): 1,
    }


def test_no_request_stays_active(app, serve, telemetry):
    """``http.server.active_requests`` counts what is running and returns to zero."""
    seen = []

    @app.get("/look")
    async def look() -> None:
        seen.append(samples(telemetry, "http_server_active_requests"))

    @app.get("/bug")
    async def bug() -> None:
        raise ValueError("bug")

    with serve(app) as client:
        for path in ("/look", "/bug", "/nowhere"):
            client.get(path)
    (during,) = seen
    assert set(during.values()) == {1}
    assert set(samples(telemetry, "http_server_active_requests").values()) == {0}


def test_health_and_metrics_are_served_and_not_counted(app, serve, telemetry):
    """Contract 1: the endpoints of operations are in no signal, the scrape not in OpenAPI."""
    with serve(app) as client:
        for path in ("/health", "/health/live", "/health/ready", "/metrics"):
            assert client.get(path).status_code == 200
        scraped = client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
        plain = client.get("/metrics")
        schema = client.get("/openapi.json").json()
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert scraped.headers["content-type"].startswith("application/openmetrics-text")
    assert "/metrics" not in schema["paths"]
    assert "/health" in schema["paths"]
    assert {labels[2][1] for labels in samples(telemetry, COUNT)} == {"/openapi.json"}
    assert [span.name for span in telemetry.spans] == ["GET /openapi.json"]
    assert len(telemetry.logs("http.request")) == 1


def test_the_paths_of_operations_can_be_moved(telemetry_with, serve):
    """``metrics_path`` and ``health_prefix`` move the endpoints, exclusion included."""
    with telemetry_with(metrics_path="/internal/scrape", health_prefix="/ops") as telemetry:
        app = telemetry.service.install(FastAPI())
        with serve(app) as client:
            assert client.get("/internal/scrape").status_code == 200
            assert client.get("/ops/health").json()["data"]["service"] == "test"
            assert client.get("/ops/health/ready").status_code == 200
            assert client.get("/metrics").status_code == 404
        assert [span.name for span in telemetry.spans] == ["GET"]


def test_exclusion_is_one_list_for_all_signals(telemetry_with, serve):
    """``exclude`` holds exact paths and prefixes; they are in no span, metric or log line."""
    with telemetry_with(exclude=["/quiet", "/static/*"]) as telemetry:
        app = telemetry.service.install(FastAPI())

        @app.get("/{path:path}")
        async def anything(path: str) -> None: ...

        with serve(app) as client:
            for path in ("/quiet", "/static/a/b", "/static/", "/loud", "/quiet/not"):
                client.get(path)
        assert [span.attributes["url.path"] for span in telemetry.spans] == ["/loud", "/quiet/not"]
        assert len(telemetry.logs("http.request")) == 2
        assert sum(samples(telemetry, COUNT).values()) == 2


def test_exclusion_looks_at_the_path_and_never_at_the_host(app, serve, telemetry):
    """A caller cannot hide a request by its ``Host`` or its query."""
    with serve(app) as client:
        for host in ("health", "health.evil", "x/health", "/metrics"):
            client.get("/orders?/health", headers={"Host": host})
    assert len([span for span in telemetry.spans if span.kind is SpanKind.SERVER]) == 4


def test_an_excluded_request_that_fails_is_logged(telemetry_with, serve):
    """Errors are never left out of the log."""
    with telemetry_with(exclude=["/quiet"]) as telemetry:
        app = telemetry.service.install(FastAPI())

        @app.get("/quiet")
        async def quiet() -> None:
            raise ValueError("bug")

        with serve(app) as client:
            client.get("/quiet")
        (line,) = telemetry.logs("http.request")
        assert line["level"] == "error"
        assert "ValueError: bug" in line["exception"]


def test_errors_are_counted_by_code_and_route(app, serve, telemetry):
    """``glam.errors`` has the code and the route template, nothing that grows."""

    @app.get("/orders/{n}")
    async def order(n: int) -> None:
        raise NotFoundError("No.") if n else ValueError("bug")

    with serve(app) as client:
        for path in ("/orders/1", "/orders/2", "/orders/0", "/orders/x", "/nowhere", "/no/where"):
            client.get(path)
    code, route = "glam_error_code", ("http_route", "/orders/{n}")
    assert samples(telemetry, "glam_errors_total") == {
        ((code, "NOT_FOUND"), route): 2,
        ((code, "INTERNAL_ERROR"), route): 1,
        ((code, "VALIDATION_ERROR"), route): 1,
        ((code, "HTTP_404"),): 2,
    }


def test_a_slow_bucket_leads_to_its_trace(app, serve, telemetry):
    """The duration carries an exemplar with the request's trace id."""

    @app.get("/a")
    async def a() -> None: ...

    with serve(app) as client:
        trace_id = client.get("/a").headers["x-trace-id"]
    scrape = telemetry.scrape(openmetrics=True)
    assert re.search(rf'duration_seconds_bucket.* # {{[^}}]*trace_id="{trace_id}"', scrape)
