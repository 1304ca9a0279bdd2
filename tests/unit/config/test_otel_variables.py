"""Prove that OTEL_* variables mean what the OpenTelemetry specification says."""

from __future__ import annotations

import os

import pytest

from glam_sdk.config import TelemetrySettings, export_otel_variables


@pytest.mark.parametrize(
    ("text", "disabled"), [("true", True), ("TRUE", True), ("false", False), ("1", False)]
)
def test_only_true_is_true(root, text, disabled) -> None:
    """Any other word is false, as the specification has it for booleans."""
    assert root.load({"OTEL_SDK_DISABLED": text}).telemetry.disabled is disabled


def test_exporters_are_lists_of_words_in_any_case(root) -> None:
    """Several exporters may be named, and `prometheus` is there anyway."""
    telemetry = root.load(
        {
            "OTEL_TRACES_EXPORTER": "OTLP, console",
            "OTEL_METRICS_EXPORTER": "prometheus",
            "OTEL_LOGS_EXPORTER": "none",
        }
    ).telemetry
    assert telemetry.traces_exporter == ("otlp", "console")
    assert telemetry.exporters_for("traces") == {"otlp", "console"}
    assert telemetry.metrics_exporter == ("prometheus",)
    assert telemetry.exporters_for("metrics") == telemetry.exporters_for("logs") == frozenset()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_EXPORTER", "otlp,prometheus"),
        ("OTEL_METRICS_EXPORTER", "statsd"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "udp"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http//collector"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1m"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
    ],
)
def test_what_cannot_be_served_is_an_error_that_names_the_variable(root, name, text) -> None:
    """A service that was told to export somewhere does not start as if it did."""
    assert f"{text!r} from environment variable {name}; expected " in root.refused({name: text})


def test_the_export_interval_is_in_milliseconds(root) -> None:
    """Our own name for it is in seconds."""
    assert (
        root.load({"OTEL_METRIC_EXPORT_INTERVAL": "1500"}).telemetry.metric_export_interval_s == 1.5
    )
    environ = {"ORDERS_TELEMETRY__METRIC_EXPORT_INTERVAL_S": "2"}
    assert root.load(environ).telemetry.metric_export_interval_s == 2


def test_resource_attributes_and_service_name_beat_code(root) -> None:
    """Whoever deploys the service has the last word on what it is called; other names stay."""
    root.write(".env", "OTEL_SERVICE_NAME=from-dotenv")
    telemetry = root.load(
        {"OTEL_RESOURCE_ATTRIBUTES": "team=env%2Cops,region=eu"},
        {
            "telemetry": {
                "resource_attributes": {"team": "code", "tier": "1"},
                "otel_service_name": "code",
            }
        },
    ).telemetry
    assert telemetry.resource_attributes == {"team": "env,ops", "region": "eu", "tier": "1"}
    assert telemetry.otel_service_name == "from-dotenv"


def test_other_variables_do_not_beat_code(root) -> None:
    """An explicit argument wins over OTEL_* as over any variable."""
    settings = root.load(
        {"OTEL_TRACES_EXPORTER": "none"}, {"telemetry": {"traces_exporter": ["console"]}}
    )
    assert settings.telemetry.traces_exporter == ("console",)


def test_each_signal_has_the_general_endpoint_with_its_path_or_one_of_its_own() -> None:
    """The general endpoint is a base, a signal's own is used as it stands."""
    telemetry = TelemetrySettings(
        endpoint="http://c:4318/base/", traces_endpoint="http://t/x", logs_protocol="grpc"
    )
    assert telemetry.endpoint_for("traces") == "http://t/x"
    assert telemetry.endpoint_for("metrics") == "http://c:4318/base/v1/metrics"
    assert telemetry.endpoint_for("logs") == "http://c:4318/base/"
    assert telemetry.protocol_for("logs") == "grpc"
    assert telemetry.protocol_for("traces") == "http/protobuf"


def test_an_address_without_scheme_is_for_grpc_alone(root) -> None:
    """GRPC's own form of an address is accepted where gRPC is spoken."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert root.load(environ).telemetry.endpoint_for("traces") == "c:4317"


def test_variables_in_dotenv_count_for_the_opentelemetry_sdk_too(
    root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the SDK reads from the environment by itself is put there, and nothing is replaced."""
    root.write(
        ".env",
        "OTEL_TRACES_EXPORTER=console\nOTEL_EXPORTER_OTLP_HEADERS=a=s3cret\n"
        "OTEL_BSP_SCHEDULE_DELAY=1\nORDERS_DB_PORT=1\n",
    )
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_HEADERS", "ORDERS_DB_PORT"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "2")
    settings = root.load(dict(os.environ))
    assert settings.telemetry.traces_exporter == ("console",)
    assert "s3cret" not in repr(settings) + repr(settings.loaded)
    export_otel_variables(settings)
    assert os.environ["OTEL_EXPORTER_OTLP_HEADERS"] == "a=s3cret"
    assert os.environ["OTEL_BSP_SCHEDULE_DELAY"] == "2"
    assert os.environ["ORDERS_DB_PORT"] == ""
