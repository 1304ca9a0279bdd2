"""OpenTelemetry's variables about the push of metrics do what they say."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from glam_sdk.config import load_settings
from glam_sdk.telemetry.metrics import counter
from glam_sdk.telemetry.pipeline.exporters import metric_exporter
from glam_sdk.testing import OtlpReceiver, capture_telemetry

_PUSH = {"telemetry": {"metrics_exporter": ["otlp"], "traces_exporter": ["none"]}}
_OTLP = "OTEL_EXPORTER_OTLP_METRICS_"


@pytest.fixture
def receiver(monkeypatch) -> Iterator[OtlpReceiver]:
    """Listen, and name the address for metrics alone."""
    with OtlpReceiver() as found:
        monkeypatch.setenv(f"{_OTLP}ENDPOINT", f"{found.endpoint}/v1/metrics")
        yield found


def test_the_interval_is_that_of_the_variable(receiver, monkeypatch) -> None:
    """In milliseconds, as the specification has it."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    with capture_telemetry("shop", overrides=_PUSH):
        counter("push.interval").add(1)
        assert receiver.wait_for(lambda got: len(got.metrics) >= 3)
        assert receiver.wait_for(lambda got: "push.interval" in got.metric_names())


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_headers_and_compression_are_those_of_the_variables(
    receiver, monkeypatch, encoding: str
) -> None:
    """Those for metrics win over those for all signals; values are percent-decoded."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=everybody")
    monkeypatch.setenv(f"{_OTLP}HEADERS", "x-tenant=shop,authorization=Bearer%20abc")
    monkeypatch.setenv(f"{_OTLP}COMPRESSION", encoding)
    with capture_telemetry("shop", overrides=_PUSH) as telemetry:
        counter("push.headers").add(1)
        assert not telemetry.service._pipeline.flush(10)
        assert "abc" not in str(telemetry.service._pipeline.watch.details())
    headers = receiver.headers[0]
    assert (headers["x-tenant"], headers["authorization"]) == ("shop", "Bearer abc")
    assert headers["content-encoding"] == encoding
    assert "push.headers" in receiver.metric_names()


@pytest.mark.parametrize("variable", ["OTEL_METRIC_EXPORT_TIMEOUT", f"{_OTLP}TIMEOUT"])
def test_a_push_takes_no_longer_than_the_variable_says(monkeypatch, variable: str) -> None:
    """A collector that takes the connection and never answers holds nobody up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv(f"{_OTLP}ENDPOINT", f"http://127.0.0.1:{port}/v1/metrics")
        monkeypatch.setenv(variable, "200" if variable.endswith("EXPORT_TIMEOUT") else "0.2")
        with capture_telemetry("shop", overrides=_PUSH) as telemetry:
            pipeline = telemetry.service._pipeline
            counter("push.timeout").add(1)
            started = time.monotonic()
            assert not pipeline.flush(8)
            assert time.monotonic() - started < 5
            details = pipeline.watch.details()
            assert details["metrics_failed"] == 1
            assert "Timeout" in str(details["metrics_last_error"])


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_shorter_timeout_holds_for_both_protocols(monkeypatch, protocol: str) -> None:
    """OTEL_EXPORTER_OTLP_TIMEOUT may say less than OTEL_METRIC_EXPORT_TIMEOUT, and the reverse."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "7")
    for millis, seconds in (("3000", 3), ("9000", 7)):
        environ = {
            "OTEL_METRIC_EXPORT_TIMEOUT": millis,
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        }
        exporter = metric_exporter(load_settings("shop", environ=environ))
        holder = exporter if protocol == "grpc" else exporter._client
        assert holder._timeout == seconds
        exporter.shutdown()


@pytest.mark.parametrize("address", ["http://u:s3@cret@127.0.0.1:1", "http://127.0.0.1:1"])
def test_credentials_in_an_address_of_grpc_are_not_looked_up(address: str) -> None:
    """They would be a part of the host's name, in an error that is logged."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    exporter = metric_exporter(load_settings("shop", environ=environ))
    assert exporter._endpoint == "127.0.0.1:1"
    exporter.shutdown()


def test_what_is_pushed_is_cumulative_whatever_was_asked_for(receiver, monkeypatch) -> None:
    """One reader serves the scrape too."""
    monkeypatch.setenv(f"{_OTLP}TEMPORALITY_PREFERENCE", "delta")
    with capture_telemetry("shop", overrides=_PUSH) as telemetry:
        for amount in (1, 2):
            counter("push.temporality").add(amount)
            assert not telemetry.service._pipeline.flush(10)
    sums = [
        metric.sum
        for request in receiver.metrics
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "push.temporality"
    ]
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    assert {each.aggregation_temporality for each in sums} == {cumulative}
    assert [each.data_points[0].as_int for each in sums][:2] == [1, 3]


@pytest.mark.parametrize(("preference", "warnings"), [("delta", 1), ("lowmemory", 1), ("", 0)])
def test_another_temporality_is_one_warning(receiver, monkeypatch, caplog, preference, warnings):
    """The warning names the variable."""
    variable = f"{_OTLP}TEMPORALITY_PREFERENCE"
    monkeypatch.setenv(variable, preference or "cumulative")
    with capture_telemetry("shop", overrides=_PUSH):
        pass
    found = [r for r in caplog.records if r.message == "metrics.temporality_not_honoured"]
    assert [record.variable for record in found] == [variable] * warnings


def test_the_certificate_is_that_of_the_variable(monkeypatch, tmp_path) -> None:
    """Over TLS; without the variable an unknown authority is refused."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    _make_certificate(key, certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with OtlpReceiver() as receiver:
        server = receiver._server
        server.socket = context.wrap_socket(server.socket, server_side=True)
        address = receiver.endpoint.replace("http:", "https:")
        monkeypatch.setenv(f"{_OTLP}ENDPOINT", f"{address}/v1/metrics")
        for theirs in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # requests prefers them
            monkeypatch.delenv(theirs, raising=False)
        for trusted in (False, True):
            # What is refused is tried again until its time is up.
            monkeypatch.setenv("OTEL_METRIC_EXPORT_TIMEOUT", "10000" if trusted else "500")
            if trusted:
                monkeypatch.setenv(f"{_OTLP}CERTIFICATE", str(certificate))
            with capture_telemetry("shop", overrides=_PUSH) as telemetry:
                counter("push.tls").add(1)
                telemetry.service._pipeline.flush(10)
                details = telemetry.service._pipeline.watch.details()
                assert bool(details["metrics_succeeded"]) == trusted, details
        assert "push.tls" in receiver.metric_names()


def _make_certificate(key: Path, certificate: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    command = [
        *(openssl, "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"),
        *("ec_paramgen_curve:prime256v1", "-days", "1", "-subj", "/CN=127.0.0.1"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
