"""Receive OTLP over HTTP and keep what came, decoded by ``opentelemetry-proto``."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

_KINDS: Final = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUS: Final = ("UNSET", "OK", "ERROR")
_MAX_BODY: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """Hold one span as it arrived; ids in hex, times in nanoseconds since the Unix epoch."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    status: str
    attributes: dict[str, Any]
    events: tuple[tuple[str, dict[str, Any]], ...]
    links: tuple[tuple[str, str], ...]
    resource: dict[str, Any]

    @property
    def duration_ms(self) -> float:
        """How long the span lasted."""
        return (self.end_ns - self.start_ns) / 1e6


@dataclass(frozen=True, slots=True)
class ReceivedLog:
    """Hold one log record as it arrived."""

    service: str
    body: str
    severity: str
    trace_id: str
    span_id: str
    attributes: dict[str, Any]


@dataclass(slots=True)
class OtlpReceiver:
    """Listen on a free port of 127.0.0.1; use it as a context manager.

    Args:
        forward: Called with signal (``traces``, ``metrics``, ``logs``) and body of each request
            before it is answered, for instance to send it on.
    """

    forward: Callable[[str, bytes], None] | None = None
    spans: list[ReceivedSpan] = field(default_factory=list)
    logs: list[ReceivedLog] = field(default_factory=list)
    metrics: list[ExportMetricsServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    """Of each request, names in lower case."""
    _arrived: threading.Condition = field(default_factory=threading.Condition)
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @property
    def endpoint(self) -> str:
        """Value for ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
        if self._server is None:
            raise RuntimeError("The receiver is not running. Enter it with a with statement.")
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def wait_for(self, wanted: Callable[[Self], Any], *, timeout_s: float = 30.0) -> bool:
        """Wait until a condition on what has arrived holds, or the time is up."""
        with self._arrived:
            return self._arrived.wait_for(lambda: bool(wanted(self)), timeout_s)

    def trace(self, trace_id: str) -> list[ReceivedSpan]:
        """Return the spans of one trace by start time."""
        found = (span for span in tuple(self.spans) if span.trace_id == trace_id)
        return sorted(found, key=lambda span: span.start_ns)

    def metric_names(self) -> set[str]:
        """Return the name of every metric that arrived."""
        return {
            metric.name
            for request in self.metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def take(self, path: str, body: bytes) -> bool:
        """Decode one request by its path; False when the path is none of OTLP's."""
        with self._arrived:
            if path == "/v1/traces":
                self.spans.extend(_spans(ExportTraceServiceRequest.FromString(body)))
            elif path == "/v1/logs":
                self.logs.extend(_logs(ExportLogsServiceRequest.FromString(body)))
            elif path == "/v1/metrics":
                self.metrics.append(ExportMetricsServiceRequest.FromString(body))
            else:
                return False
            self._arrived.notify_all()
        return True


def _handler(receiver: OtlpReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            receiver.headers.append({k.lower(): v for k, v in self.headers.items()})
            size = min(int(self.headers.get("Content-Length", 0)), _MAX_BODY)
            body = self.rfile.read(size)
            encoding = self.headers.get("Content-Encoding", "")
            if encoding == "gzip":
                body = gzip.decompress(body)
            elif encoding == "deflate":
                body = zlib.decompress(body)
            if receiver.forward is not None:
                receiver.forward(self.path.removeprefix("/v1/"), body)
            self.send_response(200 if receiver.take(self.path, body) else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent: each request would be a line on standard error."""

    return Handler


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind)


def _attributes(pairs: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pair: KeyValue
    for pair in pairs:
        found[pair.key] = _value(pair.value)
    return found


def _spans(request: ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope in resource_spans.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    service=str(resource.get("service.name", "")),
                    name=span.name,
                    kind=_KINDS[span.kind],
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    status=_STATUS[span.status.code],
                    attributes=_attributes(span.attributes),
                    events=tuple((e.name, _attributes(e.attributes)) for e in span.events),
                    links=tuple((li.trace_id.hex(), li.span_id.hex()) for li in span.links),
                    resource=resource,
                )


def _logs(request: ExportLogsServiceRequest) -> Iterator[ReceivedLog]:
    for resource_logs in request.resource_logs:
        resource = _attributes(resource_logs.resource.attributes)
        for scope in resource_logs.scope_logs:
            for record in scope.log_records:
                yield ReceivedLog(
                    service=str(resource.get("service.name", "")),
                    body=str(_value(record.body)),
                    severity=record.severity_text,
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    attributes=_attributes(record.attributes),
                )
