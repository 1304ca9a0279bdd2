"""``init``: idempotent, clear when misused, honest about its environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI
from opentelemetry import metrics, trace

import glam_sdk
from glam_sdk.errors import ConfigurationError
from glam_sdk.testing import CapturedTelemetry, capture_telemetry

HEAVY = ("fastapi", "starlette", "sqlalchemy", "nats", "httpx", "opentelemetry.sdk", "pydantic")
UNUSED = ("requests", "grpc", "yaml", "difflib", "alembic", "sqlalchemy.dialects.postgresql")
"""What a service without files, on SQLite, exporting by HTTP, has no use for: 20 MB together."""


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter; OTEL_* of this process do not reach it."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "PYTEST"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, **environment},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_importing_the_package_imports_no_framework() -> None:
    """``import glam_sdk`` stays cheap: frameworks and the SDK come with their first use."""
    code = f"import sys, glam_sdk; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"


def test_a_service_imports_only_what_it_uses() -> None:
    """Whoever keeps to the defaults pays no memory and no start-up time for the rest."""
    code = f"""
import os, sys, fastapi, glam_sdk
service = glam_sdk.init("orders")
service.use_database()
service.install(fastapi.FastAPI())
print([m for m in {UNUSED!r} if m in sys.modules], flush=True)
os._exit(0)  # nobody listens where it would export to
"""
    done = run_python(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert done.stdout.strip() == "[]", done.stderr


def test_every_name_of_the_front_door_can_be_imported() -> None:
    """What ``__all__`` promises is there."""
    assert {name: getattr(glam_sdk, name) is not None for name in glam_sdk.__all__}


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy door refuses like any module."""
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = glam_sdk.nonsense  # type: ignore[attr-defined]


def test_a_second_init_with_the_same_name_returns_the_same_service(
    telemetry: CapturedTelemetry,
) -> None:
    """``init`` is idempotent."""
    assert glam_sdk.init("test") is telemetry.service


def test_a_second_init_with_another_name_is_refused(telemetry: CapturedTelemetry) -> None:
    """One process is one service; the error says both names and what to do."""
    with pytest.raises(ConfigurationError, match=r"already runs as 'test'.*init\('other'\)"):
        glam_sdk.init("other")


def test_install_works_before_and_after_the_application_has_routes(
    telemetry: CapturedTelemetry,
) -> None:
    """The order of ``FastAPI()``, routes and ``install`` does not matter; twice is once."""
    app = FastAPI()
    assert telemetry.service.install(app) is app
    before = len(app.routes)
    telemetry.service.install(app)
    assert len(app.routes) == before


def test_the_environment_beats_code_in_the_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over ``init``'s arguments."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-env")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.version=9.9,team=a%20b")
    with capture_telemetry("code", overrides={"service": {"version": "1.0"}}) as captured:
        with glam_sdk.span("work"):
            pass
        attributes = captured.span("work").resource.attributes
    assert attributes["service.name"] == "from-env"
    assert attributes["service.version"] == "9.9"
    assert attributes["team"] == "a b"


def test_the_resource_says_what_runs_where(telemetry: CapturedTelemetry) -> None:
    """Name, version, instance, environment and distro are on every span."""
    with glam_sdk.span("work"):
        pass
    attributes = telemetry.span("work").resource.attributes
    assert attributes["service.name"] == "test"
    assert attributes["deployment.environment.name"] == "dev"
    assert attributes["telemetry.distro.name"] == "glam_sdk"
    assert attributes["telemetry.distro.version"] == glam_sdk.__version__
    assert len(str(attributes["service.instance.id"])) == 36


def test_a_disabled_sdk_records_nothing_and_still_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED=true: no spans, no providers; log lines and the scrape go on."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with capture_telemetry("quiet") as captured:
        with glam_sdk.span("work"):
            glam_sdk.get_logger("app").info("work.done")
        assert captured.spans == ()
        assert type(trace.get_tracer_provider()).__module__.startswith("opentelemetry.trace")
        assert type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics")
        assert captured.logs("work.done")
        assert "target_info" in captured.scrape()


def test_without_an_endpoint_nothing_is_sent_and_nothing_complains() -> None:
    """No endpoint configured: no exporter threads, no connection attempts, no log lines."""
    code = """
import logging, threading, glam_sdk
glam_sdk.init("quiet")
with glam_sdk.span("work"): pass
print(sorted(t.name for t in threading.enumerate()))
print(glam_sdk.shutdown())
"""
    done = run_python(code)
    assert done.stdout.splitlines() == ["['MainThread']", "[]"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("ORDERS_DATABASE__POOL_SIZE", "many", "pool_size"),
        ("GLAM_LOG__LEVLE", "INFO", "GLAM_LOG__LEVLE"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318:x", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("ORDERS_DB_URL", "postgres//user:hunter2@db/orders", "ORDERS_DB_URL"),
        ("OTEL_TRACES_EXPORTER", "jaeger", "OTEL_TRACES_EXPORTER"),
    ],
)
def test_a_bad_setting_ends_the_process_with_one_clear_message(
    variable: str, value: str, named: str
) -> None:
    """Non-zero exit, the variable's name, no traceback, never the password."""
    done = run_python("import glam_sdk; glam_sdk.init('orders')", **{variable: value})
    assert done.returncode != 0
    assert variable in done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_init_after_shutdown_is_refused() -> None:
    """OpenTelemetry's providers cannot be set twice: a clear error beats a service that is deaf."""
    done = run_python("import glam_sdk as g; g.init('a'); g.shutdown(); g.init('b')")
    assert done.returncode != 0
    assert "after shutdown()" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_PROPAGATORS", "nonsense"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "99999"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-3"),
    ],
)
def test_what_opentelemetry_refuses_is_one_sentence_that_names_the_variable(
    variable: str, value: str
) -> None:
    """The SDK's own ValueError does not always say which variable it read."""
    endpoint = "http://127.0.0.1:9"
    done = run_python(
        "import glam_sdk; glam_sdk.init('a')",
        **{variable: value, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
    )
    assert done.returncode != 0
    assert variable in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_sdk_says_while_it_is_built_goes_through_the_chain() -> None:
    """Log lines are JSON from the first one on."""
    done = run_python("import glam_sdk; glam_sdk.init('a')", OTEL_TRACES_SAMPLER="bogus")
    assert done.stderr == ""
    assert [json.loads(line)["level"] for line in done.stdout.splitlines()] == ["warning"]


def test_one_deadline_serves_the_stop_and_the_end_of_the_process() -> None:
    """A flush that ran into the deadline is not followed by a second wait at exit."""
    code = """
import asyncio, glam_sdk, socket, time
silent = socket.create_server(("127.0.0.1", 0))
port = silent.getsockname()[1]
service = glam_sdk.init("a", overrides={"telemetry": {
    "endpoint": f"http://127.0.0.1:{port}", "shutdown_timeout_s": 1.0}})
async def main():
    async with service:
        with glam_sdk.span("work"): pass
asyncio.run(main())
started = time.monotonic()
print(glam_sdk.shutdown(), time.monotonic() - started < 0.9)
"""
    last = run_python(code).stdout.splitlines()[-1]
    assert last.startswith("['")
    assert "traces" in last
    assert last.endswith("True")
