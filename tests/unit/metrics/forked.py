"""Measure, fork, measure again; print what the child scrapes and what both have pushed."""

import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import prometheus_client
from opentelemetry import _logs, metrics, trace
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import glam_sdk
from glam_sdk.testing import OtlpReceiver

REQUESTS: dict[str, Any] = {
    "traces": (ExportTraceServiceRequest, "resource_spans"),
    "metrics": (ExportMetricsServiceRequest, "resource_metrics"),
    "logs": (ExportLogsServiceRequest, "resource_logs"),
}
imports = prometheus_client.Counter("imports", "Imports.")
sizes = prometheus_client.Histogram("sizes", "Sizes.", buckets=[1])


def work(name: str) -> None:
    """Give each signal something to export, and export it."""
    with glam_sdk.span(name):
        glam_sdk.get_logger("shop").warning("shop.worked")
    providers: tuple[Any, ...] = (
        trace.get_tracer_provider(),
        metrics.get_meter_provider(),
        _logs.get_logger_provider(),
    )
    for provider in providers:
        provider.force_flush()


def identities(bodies: dict[str, bytes]) -> list[list[Any]]:
    """Return instance and process in the last request of each signal."""
    found = []
    for signal, (kind, field) in REQUESTS.items():
        (part,) = getattr(kind.FromString(bodies[signal]), field)
        given = {pair.key: pair.value for pair in part.resource.attributes}
        found.append([given["service.instance.id"].string_value, given["process.pid"].int_value])
    return found


def points(body: bytes) -> Iterator[tuple[str, Any]]:
    """Yield each point of a push and the name of its metric."""
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in (*metric.sum.data_points, *metric.histogram.data_points):
                    yield metric.name, point


def main() -> None:
    """Run it once."""
    bodies: dict[str, bytes] = {}
    with OtlpReceiver(forward=bodies.__setitem__) as receiver:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.endpoint
        service = glam_sdk.init("shop")
        imports.inc(1000)
        sizes.observe(1000)
        gc.collect()
        work("before")
        before, forked_ns = identities(bodies), time.time_ns()
        if (pid := os.fork()) == 0:
            sys.stdout.write(service.scrape()[0].decode())
            sys.stdout.flush()
            imports.inc()
            sizes.observe(0.5)
            work("after")
            os._exit(0)
        os.waitpid(pid, 0)
        after, pushed = identities(bodies), dict(points(bodies["metrics"]))
        glam_sdk.shutdown()
    names = ("imports_total", "sizes", "process_cpu_seconds_total")
    found = {
        "pids": [os.getpid(), pid],
        "identities": [before, after],
        "imports": pushed["imports_total"].as_double,
        "sizes": [pushed["sizes"].sum, list(pushed["sizes"].bucket_counts)],
        "starts": [(pushed[name].start_time_unix_nano - forked_ns) / 1e9 for name in names],
    }
    sys.stderr.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
