"""What leaves the lean pipeline leaves by the rules of the standard variables, to a real server."""

from __future__ import annotations

import gzip
import shutil
import ssl
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource

from glam_sdk._internal import afterwards
from glam_sdk.telemetry.pipeline.http_transport import transport_to
from glam_sdk.telemetry.pipeline.lean import (
    EncodedExporter,
    EncodedSpanProcessor,
    LeanTracerProvider,
)
from glam_sdk.telemetry.pipeline.lean.export import longest_export_s
from glam_sdk.telemetry.pipeline.watch import ExportWatch
from glam_sdk.testing import CapturedTelemetry, OtlpReceiver, capture_telemetry


class Collector:
    """Answer one request after the other as told, and keep what came."""

    def __init__(self, *answers: tuple[int, dict[str, str]]) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.hang = threading.Event()
        self.hang.set()

    def names(self, number: int = -1) -> list[str]:
        """Return the names of the spans in one request."""
        body, encoding = self.bodies[number], self.headers[number].get("content-encoding")
        if encoding == "gzip":
            body = gzip.decompress(body)
        elif encoding == "deflate":
            body = zlib.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        return [s.name for r in request.resource_spans for c in r.scope_spans for s in c.spans]


@contextmanager
def serving(collector: Collector, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run a collector; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.headers.append({k.lower(): v for k, v in self.headers.items()})
            collector.bodies.append(body)
            collector.hang.wait(10)
            status, headers = collector.answers.pop(0) if collector.answers else (200, {})
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    scheme = "http" if context is None else "https"
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}/v1/traces"
    finally:
        collector.hang.set()
        server.shutdown()
        server.server_close()


@contextmanager
def exporting(endpoint: str) -> Iterator[tuple[LeanTracerProvider, ExportWatch]]:
    """Run a provider that exports there, built as the service's is."""
    watch = ExportWatch()
    provider = LeanTracerProvider(
        resource=Resource({"service.name": "orders"}), shutdown_on_exit=False
    )
    transport = transport_to(endpoint, "traces")
    assert transport is not None
    stock = OTLPSpanExporter(endpoint, _transport=transport)
    exporter = EncodedExporter(stock, lambda: provider.resource, longest_s=longest_export_s())
    watched = watch.over("traces", exporter)
    provider.add_span_processor(EncodedSpanProcessor(watched, record=watch.new_queue("traces")))
    try:
        yield provider, watch
    finally:
        provider.shutdown()


def send(provider: LeanTracerProvider, name: str = "s") -> None:
    provider.get_tracer("t").start_span(name).end()
    assert provider.force_flush()


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_headers_and_compression_are_those_of_the_variables(
    compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request has the standard content type, the headers asked for, and is compressed."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x,tenant=a")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", compression)
    collector = Collector()
    with serving(collector) as endpoint, exporting(endpoint) as (provider, _):
        send(provider)
    (headers,) = collector.headers
    assert headers["content-type"] == "application/x-protobuf"
    assert (headers["authorization"], headers["tenant"]) == ("Bearer x", "a")
    assert headers.get("content-encoding", "none") == compression
    assert collector.names() == ["s"]


def test_a_busy_collector_is_tried_again_when_it_says() -> None:
    """503 with Retry-After is sent again, unchanged, and counts as one success."""
    collector = Collector((503, {"Retry-After": "0"}), (429, {"Retry-After": "0"}))
    with serving(collector) as endpoint, exporting(endpoint) as (provider, watch):
        send(provider)
        expected = {"traces_succeeded": 1, "traces_failed": 0, "traces_queued": 0}
        assert watch.details().items() >= expected.items()
    assert len(collector.bodies) == 3
    assert len(set(collector.bodies)) == 1


def test_a_refused_batch_is_given_up_and_counted() -> None:
    """400 is not tried again; the next batch is."""
    collector = Collector((400, {}))
    with serving(collector) as endpoint, exporting(endpoint) as (provider, watch):
        send(provider, "one")
        send(provider, "two")
        record = watch.records["traces"]
        assert (record.items_failed, record.items_exported) == ({"400": 1}, 1)
    assert [collector.names(n) for n in (0, 1)] == [["one"], ["two"]]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0.2"), ("OTEL_BSP_EXPORT_TIMEOUT", "200")],
)
def test_a_collector_that_hangs_costs_the_timeout(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both variables bound an export, its repetitions included."""
    monkeypatch.setenv(variable, value)
    collector = Collector()
    collector.hang.clear()
    with serving(collector) as endpoint, exporting(endpoint) as (provider, watch):
        send(provider)
        assert watch.details()["traces_failed"] == 1


def test_a_redirect_is_a_failed_export() -> None:
    """Nothing has arrived; the SDK would count it as sent."""
    collector = Collector((308, {"Location": "https://elsewhere.test/"}))
    with serving(collector) as endpoint, exporting(endpoint) as (provider, watch):
        send(provider)
        details = watch.details()
    assert (details["traces_failed"], details["traces_last_error"]) == (1, "RedirectedError")


def test_an_export_timeout_of_zero_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the specification has it: the exporter's own timeout stays."""
    monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "0")
    collector = Collector()
    with serving(collector) as endpoint, exporting(endpoint) as (provider, watch):
        send(provider)
        assert watch.details()["traces_succeeded"] == 1


def certificate(directory: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 that signs itself; returns it and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("There is no openssl to make a certificate with.")
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=test", "-keyout", str(key), "-out", str(cert)]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return cert, key


def test_certificates_are_those_of_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is trusted by OTEL_EXPORTER_OTLP_CERTIFICATE; our own certificate is shown."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they would win over ours
        monkeypatch.delenv(variable, raising=False)
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.load_verify_locations(cert)
    context.verify_mode = ssl.CERT_REQUIRED
    collector = Collector()
    with serving(collector, context) as endpoint:
        # As long as it can be without a second attempt, which comes after 0.8 s.
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0.75")
        with exporting(endpoint) as (provider, watch):
            send(provider)
            assert watch.details()["traces_failed"] == 1
            reason = watch.details()["traces_last_error"]
            assert reason == "SSLCertVerificationError (CERTIFICATE_VERIFY_FAILED)"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(cert))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", str(cert))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", str(key))
        with exporting(endpoint) as (provider, watch):
            send(provider)
            assert watch.details()["traces_succeeded"] == 1
    assert collector.names() == ["s"]


def test_spans_are_grouped_by_their_scope() -> None:
    """Each scope is written once in a request, however its spans alternate."""
    collector = Collector()
    with serving(collector) as endpoint, exporting(endpoint) as (provider, _):
        for n in range(4):
            tracer = provider.get_tracer("even" if n % 2 == 0 else "odd", "1", "https://s/1")
            tracer.start_span(str(n)).end()
        assert provider.force_flush()
    request = ExportTraceServiceRequest.FromString(collector.bodies[0])
    scopes = request.resource_spans[0].scope_spans
    assert [(s.scope.name, s.schema_url, [x.name for x in s.spans]) for s in scopes] == [
        ("even", "https://s/1", ["0", "2"]),
        ("odd", "https://s/1", ["1", "3"]),
    ]


def test_a_request_that_is_too_large_is_not_sent() -> None:
    """The SDK exporter's limit on a request holds; the loss is counted."""
    collector = Collector()
    with serving(collector) as endpoint, exporting(endpoint) as (provider, watch):
        (processor,) = provider._handover.encoders
        exporter: Any = processor._exporter
        exporter._inner._inner._max_request_size = 10
        send(provider)
        assert watch.details()["traces_failed"] == 1
    assert collector.bodies == []


FORKING = """
import os, sys
import glam_sdk
glam_sdk.init("forker")
with glam_sdk.span("parent"):
    if (child := os.fork()) == 0:
        with glam_sdk.span("child"):
            pass
        glam_sdk.shutdown()
        os._exit(0)
    os.waitpid(child, 0)
glam_sdk.shutdown()
"""


@pytest.mark.parametrize("pipeline", ["lean", "sdk"])
def test_a_forked_child_sends_its_own_spans_as_itself(pipeline: str, tmp_path: Path) -> None:
    """Nothing is sent twice, nothing is lost, and the child has an instance id of its own."""
    script = tmp_path / "forker.py"
    script.write_text(FORKING)
    with OtlpReceiver() as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "GLAM_TELEMETRY__SPAN_PIPELINE": pipeline,
            "PYTHONPATH": str(Path(__file__).parents[3]),
        }
        subprocess.run([sys.executable, str(script)], env=environment, check=True, timeout=60)
    spans = {span.name: span for span in receiver.spans}
    assert sorted(span.name for span in receiver.spans) == ["child", "parent"]
    assert spans["child"].parent_id == spans["parent"].span_id
    instances = {span.resource["service.instance.id"] for span in receiver.spans}
    pids = {span.resource["process.pid"] for span in receiver.spans}
    assert (len(instances), len(pids)) == (2, 2)


@pytest.fixture(params=["lean", "sdk"])
def captured(request: pytest.FixtureRequest) -> Iterator[CapturedTelemetry]:
    overrides = {"telemetry": {"span_pipeline": request.param, "traces_exporter": ["none"]}}
    with capture_telemetry(overrides=overrides) as captured:
        yield captured


async def test_contribs_httpx_instrumentation_works_on_both(captured: CapturedTelemetry) -> None:
    """A third party's spans have their kind, attributes and parent on either pipeline."""
    import httpx
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    import glam_sdk

    transport = httpx.MockTransport(lambda request: httpx.Response(404, request=request))
    async with httpx.AsyncClient(transport=transport) as client:
        HTTPXClientInstrumentor.instrument_client(client)
        with glam_sdk.span("outer"):
            answer = await client.get("http://example.test/x")
    assert "traceparent" in answer.request.headers
    assert captured.tree() == "outer INTERNAL\n  GET CLIENT ERROR"
    attributes = captured.span("GET").attributes or {}
    assert 404 in attributes.values()


@pytest.mark.parametrize("end", ["force_flush", "shutdown"])
async def test_a_span_whose_encoding_was_put_off_leaves_with_the_next_flush(end: str) -> None:
    """In a server it waits for the end of the event loop's turn, which may not come any more."""
    collector = Collector()
    with serving(collector) as endpoint, exporting(endpoint) as (provider, _):
        with afterwards.serving():
            provider.get_tracer("t").start_span("put off").end()
            getattr(provider, end)()
        assert collector.names() == ["put off"]
