"""The real programs, with the very files of ``otel/``, answer for the request that was made."""

from __future__ import annotations

import json
import secrets
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from examples.demo.jaeger import jaeger_url, link_to
from examples.demo.traffic import send_traffic

from .asking import get_json, log_lines, resource, send, series, trace_in_jaeger, until, value
from .conftest import Watched

SERVICES = {"storefront", "orders", "notifications"}


def is_whole(spans: list[dict[str, Any]]) -> bool:
    """Tell whether a trace has all services, one root, and no span whose parent is missing."""
    ids = {span["spanID"] for span in spans}
    roots = [span for span in spans if not span["parent"]]
    known = all(span["parent"] in ids for span in spans if span["parent"])
    ends = any(s["service"] == "orders" and s["operationName"].startswith("UPDATE") for s in spans)
    return {s["service"] for s in spans} == SERVICES and len(roots) == 1 and known and ends


def written(watched: Watched, field: str, wanted: str) -> list[tuple[str, str, str]]:
    """Return service, event and span of each JSON line on standard output with that id."""
    lines: list[dict[str, Any]] = []
    for file in watched.shop.log_files.values():
        lines += [json.loads(line) for line in file.read_text().splitlines()]
    found = [line for line in lines if line.get(field) == wanted]
    return sorted((line["service"], line["message"], line["span_id"]) for line in found)


def stored(lines: Iterable[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return the same of what the log store answers."""
    return sorted((line["service.name"], line["_msg"], line["span_id"]) for line in lines)


def lost_lines(watched: Watched, trace_id: str) -> Counter[tuple[str, str, str]]:
    """Return the lines of a trace that were written and are not stored; a crash may store twice."""
    lines = log_lines(watched.stack, f'trace_id:"{trace_id}"')
    return Counter(written(watched, "trace_id", trace_id)) - Counter(stored(lines))


def waiting_for_jaeger(watched: Watched) -> float:
    """Return how many spans the Collector holds for Jaeger, as it says itself."""
    with urllib.request.urlopen(watched.stack.collector_metrics_url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    name = "otelcol_exporter_queue_size{"
    sizes = [line for line in lines if line.startswith(name) and "otlp_grpc/jaeger" in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in sizes)


def test_jaeger_has_the_trace_with_all_services_and_right_parents(watched: Watched) -> None:
    """From the customer's request to the last statement, under one root."""
    spans = until(
        lambda: (s := trace_in_jaeger(watched.stack, watched.trace_id)) and is_whole(s) and s,
        what="whole trace in Jaeger",
    )
    by_id = {span["spanID"]: span for span in spans}
    kinds = {
        (span["service"], by_id[span["parent"]]["service"])
        for span in spans
        if span["parent"] and by_id[span["parent"]]["service"] != span["service"]
    }
    # Child's service, parent's service: over HTTP, and twice over a message.
    assert kinds == {
        ("orders", "storefront"), ("notifications", "orders"), ("orders", "notifications"),
    }  # fmt: skip


def test_the_demo_prints_the_page_of_its_trace(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is that of the Jaeger that has the trace."""
    monkeypatch.setenv("JAEGER_URL", f"{watched.stack.jaeger_url}/")
    url = jaeger_url(watched.stack.otlp_endpoint)
    assert url == watched.stack.jaeger_url
    assert link_to(url, watched.trace_id) == f"{url}/trace/{watched.trace_id}"


def test_a_trace_that_ends_in_a_refusal_is_found_by_its_error_code(watched: Watched) -> None:
    """Jaeger's search by tag answers with it."""
    tags = json.dumps({"glam.error.code": "CONFLICT"})
    found = until(
        lambda: get_json(
            f"{watched.stack.jaeger_url}/api/traces", service="storefront", tags=tags, limit=20
        )["data"],
        what="trace by tag",
    )
    assert watched.refused in {trace["traceID"] for trace in found}


def test_the_log_store_answers_a_trace_id_with_every_line_of_every_service(
    watched: Watched,
) -> None:
    """Lines that came by OTLP and lines that were read from a file, none twice."""
    query = f'trace_id:"{watched.trace_id}"'
    until(
        lambda: (
            len(log_lines(watched.stack, query))
            >= len(written(watched, "trace_id", watched.trace_id))
        ),
        what="log lines by trace id",
    )
    lines = log_lines(watched.stack, query)
    assert {line["service.name"] for line in lines} == SERVICES
    assert stored(lines) == written(watched, "trace_id", watched.trace_id)


def test_the_log_store_answers_a_correlation_id_in_the_same_way(watched: Watched) -> None:
    """The id that a caller chose leads to the same lines."""
    first = until(lambda: log_lines(watched.stack, f'trace_id:"{watched.trace_id}"'))[0]
    correlation_id = first["correlation_id"]
    lines = log_lines(watched.stack, f'correlation_id:"{correlation_id}"')
    assert {line["service.name"] for line in lines} == SERVICES
    assert stored(lines) == written(watched, "correlation_id", correlation_id)


def test_a_line_from_a_file_has_the_fields_of_one_that_came_by_otlp(watched: Watched) -> None:
    """Whoever searches need not know how a line arrived."""
    query = f'trace_id:"{watched.trace_id}" "message.handled"'
    lines = {line["service.name"]: line for line in log_lines(watched.stack, query)}
    by_otlp, by_file = lines["orders"], lines["notifications"]
    arrival = {"_stream", "_stream_id", "scope.name", "scope.version", "service.instance.id"}
    arrival |= {key for key in by_otlp if key.startswith(("telemetry.", "service.", "process."))}
    arrival |= {key for key in by_file if key.startswith(("log.file.", "logger"))} | {"flags"}
    assert set(by_file) - arrival == set(by_otlp) - arrival
    assert by_file["level"] == by_otlp["level"] == "info"


@pytest.mark.parametrize(
    ("level", "number"),
    [("debug", 5), ("info", 9), ("warning", 13), ("error", 17), ("critical", 21)],
)
def test_a_level_has_one_name_however_the_line_arrived(
    watched: Watched, level: str, number: int
) -> None:
    """`level:<as in the JSON line>` finds a record of OTLP and a line of a file alike."""
    stack, trace_id, now = watched.stack, secrets.token_hex(16), time.time_ns()
    record = {"timeUnixNano": str(now), "body": {"stringValue": "by.otlp"}, "traceId": trace_id}
    record |= {"severityNumber": number, "severityText": level.upper()}
    scoped = {"resource": resource("levels"), "scopeLogs": [{"logRecords": [record]}]}
    send(stack.otlp_endpoint, "logs", {"resourceLogs": [scoped]})
    clock = datetime.fromtimestamp(now / 1e9, UTC).isoformat()
    line = {"timestamp": clock, "level": level, "message": "by.file", "service": "levels"}
    line |= {"trace_id": trace_id, "span_id": secrets.token_hex(8), "trace_flags": "01"}
    with (stack.service_logs / "levels.log").open("a") as file:
        file.write(json.dumps(line) + "\n")
    query = f'{{service.name="levels"}} trace_id:"{trace_id}" level:{level}'
    until(lambda: len(log_lines(stack, query)) == 2, what=f"lines of level {level}")


def test_a_value_of_100_kilobytes_stops_nothing(watched: Watched) -> None:
    """A line keeps it whole; in a span it is cut, or Jaeger would refuse the batch for ever."""
    stack, trace_id, text = watched.stack, secrets.token_hex(16), "File ü, line 1\n" * 6250
    now, span_id = str(time.time_ns()), secrets.token_hex(8)
    long = [{"key": "exception", "value": {"stringValue": text}}]
    record = {"timeUnixNano": now, "body": {"stringValue": "failed"}, "attributes": long}
    record |= {"traceId": trace_id, "spanId": span_id}
    event = [{"key": "exception.stacktrace", "value": {"stringValue": text}}]
    span = {"traceId": trace_id, "spanId": span_id, "name": "long", "kind": 2}
    span |= {"startTimeUnixNano": now, "endTimeUnixNano": now}
    span |= {"events": [{"name": "exception", "timeUnixNano": now, "attributes": event}]}
    kinds = (("logs", "Logs", "logRecords", record), ("traces", "Spans", "spans", span))
    for signal, kind, items, item in kinds:
        scoped = {"resource": resource("long"), f"scope{kind}": [{items: [item]}]}
        send(stack.otlp_endpoint, signal, {f"resource{kind}": [scoped]})
    lines = until(lambda: log_lines(stack, f'trace_id:"{trace_id}"'), what="long line")
    assert lines[0]["exception"].rstrip() == text.rstrip()
    spans = until(lambda: trace_in_jaeger(stack, trace_id), what="long span")
    fields = {field["key"]: field["value"] for log in spans[0]["logs"] for field in log["fields"]}
    assert text.startswith(fields["exception.stacktrace"])
    assert 32_000 < len(fields["exception.stacktrace"].encode()) <= 32_768


def test_prometheus_reaches_every_service_and_every_part_of_the_stack(watched: Watched) -> None:
    """All targets are up."""
    until(lambda: value(watched.stack, "count(up == 1)") == 7, what="seven targets that are up")
    assert series(watched.stack, "up == 0") == []
    assert {each["metric"]["job"] for each in series(watched.stack, "up")} == {*SERVICES, "stack"}


def test_an_exemplar_leads_to_the_trace_of_its_request(watched: Watched) -> None:
    """The refused order is the only one with its status, so its trace id stands beside its bucket.

    Of several requests within a tenth of a second one bucket keeps one.
    """
    labels = 'job="storefront",http_route="/checkout",http_response_status_code="409"'
    name = "http_server_request_duration_seconds"
    until(lambda: value(watched.stack, f"{name}_count{{{labels}}}") >= 1, what="refused order")

    def exemplars() -> dict[str, str]:
        now = time.time()
        found = get_json(
            f"{watched.stack.prometheus_url}/api/v1/query_exemplars",
            query=f"{name}_bucket{{{labels}}}",
            start=now - 600,
            end=now + 60,
        )["data"]
        each = (exemplar["labels"] for one in found for exemplar in one["exemplars"])
        return {labels["trace_id"]: labels["span_id"] for labels in each}

    until(lambda: watched.refused in exemplars(), what="exemplar of the request")
    spans = until(lambda: trace_in_jaeger(watched.stack, watched.refused), what="its trace")
    span_id = exemplars()[watched.refused]
    assert {s["service"] for s in spans if s["spanID"] == span_id} == {"storefront"}


def test_the_old_names_answer(watched: Watched) -> None:
    """Dashboards of the time before find their metrics, with their labels."""
    query = 'http_requests_total{service="orders",method="POST",endpoint="/orders",status="201"}'
    until(lambda: value(watched.stack, query) >= 3, what="old name")


def test_the_monitor_tab_of_jaeger_has_numbers(watched: Watched) -> None:
    """Calls and durations by service and operation, by way of the Collector and Prometheus."""
    # Rates need two points; the second comes with the next flush of the span metrics.
    points = "max(count_over_time(traces_span_metrics_calls_total[5m]))"
    until(lambda: value(watched.stack, points) >= 2, what="two points of span metrics")
    for question in ("calls", "latencies"):
        more = {"quantile": 0.95} if question == "latencies" else {}
        found = get_json(
            f"{watched.stack.jaeger_url}/api/metrics/{question}",
            service="orders",
            groupByOperation="true",
            spanKind="server",
            step=60000,
            ratePer=600000,
            lookback=600000,
            **more,
        )
        labels = [label for m in found["metrics"] for label in m["labels"]]
        assert {"name": "operation", "value": "POST /orders"} in labels, question


def test_nothing_is_lost_on_the_way(watched: Watched) -> None:
    """Neither services nor Collector have dropped, refused or failed to send anything."""
    until(
        lambda: (
            value(watched.stack, 'otelcol_exporter_queue_size{exporter="otlp_grpc/jaeger"}') == 0
        )
    )
    collector = "otelcol_(receiver_refused|exporter_send_failed|exporter_enqueue_failed)_.+"
    lost = (
        f'{{__name__=~"{collector}"}} > 0',
        '{__name__=~"otel_sdk_(processor|exporter)_(span|log)_.+",error_type!=""} > 0',
        "glam_log_dropped_lines_total > 0",
    )
    assert {query: series(watched.stack, query) for query in lost} == {query: [] for query in lost}


def test_an_outage_of_jaeger_and_collector_is_not_noticed_and_costs_nothing(
    watched: Watched,
) -> None:
    """Killed in the middle of traffic and started again: every trace and every line is there."""
    stack, shop = watched.stack, watched.shop
    ids, durations = [], []

    def order() -> None:
        begun = time.monotonic()
        ids.append(send_traffic(shop.storefront_url)[1])
        durations.append(time.monotonic() - begun)

    order()
    stack.jaeger.kill()
    order()
    until(lambda: waiting_for_jaeger(watched) > 0, what="spans in the queue on disk")
    stack.collector.kill()
    order()
    stack.collector.start()
    order()
    stack.jaeger.start()
    for trace_id in ids:
        until(
            lambda t=trace_id: is_whole(trace_in_jaeger(stack, t)),
            what=f"trace {trace_id} after the outage",
        )
        until(
            lambda t=trace_id: not lost_lines(watched, t),
            what=f"log lines of {trace_id} after the outage",
        )
    assert max(durations) < 3
