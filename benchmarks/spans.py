"""Measure what a span costs from its start to its arrival at a collector, lean and by the SDK.

``python -m benchmarks.spans`` prints the table; ``--memory 10000000`` makes that many spans on the
lean pipeline and prints how the process grows. CPU time is that of the whole process, its export
thread included; the collector is another process. Peers take turns in short slices.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import SpanKind, Tracer

from benchmarks.processes import Tool
from glam_sdk.telemetry.pipeline.http_transport import transport_to
from glam_sdk.telemetry.pipeline.lean import (
    EncodedExporter,
    EncodedSpanProcessor,
    LeanTracerProvider,
)

_SPANS: Final = 500
_ROUNDS: Final = 40
_GIVEN: Final[dict[str, Any]] = {
    "http.request.method": "GET",
    "url.scheme": "http",
    "url.path": "/orders/17",
    "server.address": "127.0.0.1",
    "server.port": 8000,
    "client.address": "127.0.0.1",
    "network.protocol.version": "1.1",
    "user_agent.original": "python-httpx/0.28.1",
}
_numbers = itertools.count()

Work = Callable[[Tracer], None]


def server_span(tracer: Tracer) -> None:
    """Record what a request's span has: eight attributes, three more, one of them new."""
    span = tracer.start_span("GET", kind=SpanKind.SERVER, attributes=_GIVEN)
    span.set_attribute("http.route", "/orders/{id}")
    span.set_attribute("http.response.status_code", 200)
    span.set_attribute("glam.request_id", f"req_{next(_numbers):012x}")
    span.update_name("GET /orders/{id}")
    span.end()


def current_span(tracer: Tracer) -> None:
    """Run a block under a span with one attribute."""
    with tracer.start_as_current_span("price.quote", attributes={"items": 3}):
        pass


WORK: Final[dict[str, Work]] = {
    "request's span, 11 attributes": server_span,
    "block under a span, 1 attribute": current_span,
}


def sdk(endpoint: str, **settings: Any) -> TracerProvider:
    """Return the SDK's provider with its batch processor and exporter."""
    provider = TracerProvider(
        resource=Resource({"service.name": "sdk"}), shutdown_on_exit=False, **settings
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint}/sdk/v1/traces")))
    return provider


def lean(endpoint: str, **settings: Any) -> TracerProvider:
    """Return ours, as a service has it."""
    provider = LeanTracerProvider(
        resource=Resource({"service.name": "lean"}), shutdown_on_exit=False, **settings
    )
    url = f"{endpoint}/lean/v1/traces"
    transport = transport_to(url, "traces")
    exporter = (
        OTLPSpanExporter(url) if transport is None else OTLPSpanExporter(url, _transport=transport)
    )
    encoded = EncodedExporter(exporter, lambda: provider.resource)
    provider.add_span_processor(EncodedSpanProcessor(encoded))
    return provider


def cpu_us(provider: TracerProvider, work: Work) -> float:
    """Return the process's CPU time for one span of a slice, exported."""
    tracer = provider.get_tracer("benchmarks", "1")
    started = time.process_time()
    for _ in range(_SPANS):
        work(tracer)
    provider.force_flush()
    return (time.process_time() - started) / _SPANS * 1e6


def table(endpoint: str) -> list[str]:
    """Measure both and return the table in Markdown."""
    sampled = {"SDK": sdk(endpoint), "lean": lean(endpoint)}
    rare = ParentBasedTraceIdRatio(0)
    unsampled = {"SDK": sdk(endpoint, sampler=rare), "lean": lean(endpoint, sampler=rare)}
    lines = ["| µs per span, best (median) | SDK | lean | ratio |", "|---|---|---|---|"]
    rows = [(name, sampled, work) for name, work in WORK.items()]
    rows.append(("request's span, not sampled", unsampled, server_span))
    for name, providers, work in rows:
        found: dict[str, list[float]] = {peer: [] for peer in providers}
        for _ in range(_ROUNDS):
            for peer, provider in providers.items():
                found[peer].append(cpu_us(provider, work))
        best = {peer: min(values) for peer, values in found.items()}
        cells = [f"{best[peer]:.1f} ({statistics.median(found[peer]):.1f})" for peer in providers]
        lines.append(f"| {name} | {' | '.join(cells)} | {best['SDK'] / best['lean']:.1f} |")
    for provider in (*sampled.values(), *unsampled.values()):
        provider.shutdown()
    return lines


def memory(endpoint: str, spans: int) -> list[str]:
    """Make spans and return how large the process was along the way."""
    provider, lines = lean(endpoint), []
    tracer = provider.get_tracer("benchmarks", "1")
    for number in range(spans + 1):
        server_span(tracer)
        if number % 500 == 499:
            provider.force_flush()
        if number % (spans // 10) == 0:
            lines.append(f"{number:>10} spans: {_resident_mb():.1f} MB")
    provider.shutdown()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return [*lines, f"{'peak':>16}: {peak:.1f} MB"]


def _resident_mb() -> float:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE") / 1e6


def main() -> None:
    """Print the table, or the growth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", type=int, metavar="SPANS", help="make that many spans instead")
    arguments = parser.parse_args()
    with Tool("benchmarks.sink", None) as sink:
        endpoint = f"http://127.0.0.1:{sink.read()}"
        lines = memory(endpoint, arguments.memory) if arguments.memory else table(endpoint)
        print("\n".join(lines))
        print(f"Arrived: {json.loads(sink.ask('counts'))}")


if __name__ == "__main__":
    main()
