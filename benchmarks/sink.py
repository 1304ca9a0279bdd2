"""Receive OTLP over HTTP in a process of its own and count what came, peer by peer.

A peer's endpoint is ``http://127.0.0.1:<port>/<peer>``. The first line on standard output is the
port; each line on standard input is answered with the counts so far, as JSON. It ends with its
standard input.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def count(signal: str, body: bytes) -> int:
    """Decode a request and return how many spans, log records or metrics are in it.

    Raises:
        ValueError: If the signal is none of the three.
    """
    if signal == "traces":
        traces = ExportTraceServiceRequest.FromString(body).resource_spans
        return sum(len(scope.spans) for resource in traces for scope in resource.scope_spans)
    if signal == "logs":
        logs = ExportLogsServiceRequest.FromString(body).resource_logs
        return sum(len(scope.log_records) for resource in logs for scope in resource.scope_logs)
    if signal == "metrics":
        metrics = ExportMetricsServiceRequest.FromString(body).resource_metrics
        return sum(len(scope.metrics) for resource in metrics for scope in resource.scope_metrics)
    raise ValueError(f"No OTLP signal is called {signal!r}.")


class Counts:
    """Keep the counts of all peers, keyed ``<peer>/<signal>``."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, key: str, number: int) -> None:
        """Add what one request brought."""
        with self._lock:
            self._counts[key] += number

    def as_json(self) -> str:
        """Return all counts."""
        with self._lock:
            return json.dumps(self._counts)


def handler(counts: Counts) -> type[BaseHTTPRequestHandler]:
    """Return a request handler that adds to the counts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            peer, _, signal = self.path.strip("/").partition("/v1/")
            counts.add(f"{peer}/{signal}", count(signal, body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent: each request would be a line on standard error."""

    return Handler


def main() -> None:
    """Serve until standard input ends."""
    os.nice(10)  # the load is on the same core, and must not wait for us
    counts = Counts()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(counts))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    for _ in sys.stdin:
        print(counts.as_json(), flush=True)
    server.shutdown()


if __name__ == "__main__":
    main()
