"""Telemetry leaves by OTLP, is readable at the other end, and never holds the process up."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from glam_sdk.testing import OtlpReceiver, ServiceProcess

TARGET = "tests.integration.apps.plain:app"


def get(url: str) -> None:
    """Ask once."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.status == 200


def assert_everything_arrived(receiver: OtlpReceiver) -> None:
    """Spans, log records and metrics of the one request, joined by its trace id."""
    server = next(span for span in receiver.spans if span.kind == "SERVER")
    inner = next(span for span in receiver.spans if span.name == "work.done")
    assert server.name == "GET /work/{number}"
    assert inner.parent_id == server.span_id
    assert server.resource["service.version"] == "1.2.3"
    record = next(record for record in receiver.logs if record.body == "work.done")
    assert record.trace_id == server.trace_id
    assert record.span_id == inner.span_id
    assert record.attributes["number"] == 7
    assert "http.server.request.duration" in receiver.metric_names()


def test_sigterm_under_uvicorn_exports_what_is_waiting(tmp_path: Path) -> None:
    """With the default delays of 5 s and 60 s, a stop right after the request loses nothing."""
    with OtlpReceiver() as receiver:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        with ServiceProcess(
            TARGET, log_file=tmp_path / "out.log", environment=environment, ready_path="/health"
        ) as process:
            get(f"{process.url}/work/7")
            process.stop()
        assert_everything_arrived(receiver)


def test_grpc_is_chosen_by_the_standard_variable(tmp_path: Path) -> None:
    """OTEL_EXPORTER_OTLP_PROTOCOL=grpc sends all three signals by gRPC."""
    receiver = OtlpReceiver()
    with grpc_collector(receiver) as endpoint:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        }
        with ServiceProcess(
            TARGET, log_file=tmp_path / "out.log", environment=environment, ready_path="/health"
        ) as process:
            get(f"{process.url}/work/7")
            process.stop()
    assert_everything_arrived(receiver)


def test_one_signal_can_be_switched_off(tmp_path: Path) -> None:
    """OTEL_LOGS_EXPORTER=none sends spans and no log records."""
    with OtlpReceiver() as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_LOGS_EXPORTER": "none",
        }
        with ServiceProcess(
            TARGET, log_file=tmp_path / "out.log", environment=environment, ready_path="/health"
        ) as process:
            get(f"{process.url}/work/7")
            process.stop()
        assert receiver.spans
        assert not receiver.logs


def test_a_dead_collector_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """A collector that accepts and never answers costs one deadline, not 30 s a signal."""
    with silent_collector() as endpoint:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "GLAM_TELEMETRY__SHUTDOWN_TIMEOUT_S": "1",
        }
        with ServiceProcess(
            TARGET, log_file=tmp_path / "out.log", environment=environment, ready_path="/health"
        ) as process:
            get(f"{process.url}/work/7")
            started = time.monotonic()
            process.stop()
            # One deadline, and room for uvicorn's own stop on a busy machine.
            assert time.monotonic() - started < 20
        assert "service.stopped" in process.log_text()


@contextmanager
def silent_collector() -> Iterator[str]:
    """Accept connections on 127.0.0.1 and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


@contextmanager
def grpc_collector(receiver: OtlpReceiver) -> Iterator[str]:
    """Hand what comes by gRPC to the receiver that decodes it."""

    def service(base: type[Any], path: str, answer: type[Any]) -> Any:
        class Service(base):
            def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
                receiver.take(path, request.SerializeToString())
                return answer()

        return Service()

    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(
        service(
            trace_service_pb2_grpc.TraceServiceServicer, "/v1/traces", ExportTraceServiceResponse
        ),
        server,
    )
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(
        service(logs_service_pb2_grpc.LogsServiceServicer, "/v1/logs", ExportLogsServiceResponse),
        server,
    )
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(
        service(
            metrics_service_pb2_grpc.MetricsServiceServicer,
            "/v1/metrics",
            ExportMetricsServiceResponse,
        ),
        server,
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize("signal", ["traces", "logs", "metrics"])
def test_each_signal_can_have_an_endpoint_of_its_own(tmp_path: Path, signal: str) -> None:
    """OTEL_EXPORTER_OTLP_<SIGNAL>_ENDPOINT alone sends that signal and no other."""
    with OtlpReceiver() as receiver:
        environment = {
            f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT": f"{receiver.endpoint}/v1/{signal}"
        }
        with ServiceProcess(
            TARGET, log_file=tmp_path / "out.log", environment=environment, ready_path="/health"
        ) as process:
            get(f"{process.url}/work/7")
            process.stop()
        arrived = {
            "traces": bool(receiver.spans),
            "logs": bool(receiver.logs),
            "metrics": bool(receiver.metrics),
        }
        assert arrived == {name: name == signal for name in arrived}


@pytest.mark.parametrize("variable", ["GLAM_TELEMETRY__ENDPOINT", "PLAIN_TELEMETRY__ENDPOINT"])
def test_an_endpoint_from_any_source_is_where_telemetry_goes(tmp_path: Path, variable: str) -> None:
    """What ``glam config`` shows is what is used, not only the standard variable."""
    with OtlpReceiver() as receiver:
        with ServiceProcess(
            TARGET,
            log_file=tmp_path / "out.log",
            environment={variable: receiver.endpoint},
            ready_path="/health",
        ) as process:
            get(f"{process.url}/work/7")
            process.stop()
        assert_everything_arrived(receiver)
