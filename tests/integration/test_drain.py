"""On SIGTERM readiness fails first; requests are answered until the server stops."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from glam_sdk.testing import ServiceProcess


def status(url: str) -> tuple[int, dict[str, object]]:
    """Ask once and return status and body."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)


def test_readiness_fails_before_the_server_stops(tmp_path: Path) -> None:
    """Load balancers have ``drain_delay_s`` to look elsewhere; then the process ends by itself."""
    with ServiceProcess(
        "tests.integration.apps.plain:app",
        log_file=tmp_path / "out.log",
        environment={"GLAM_HTTP__DRAIN_DELAY_S": "4"},  # Room for four requests on a busy machine.
    ) as process:
        os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 3
        ready = status(f"{process.url}/health/ready")
        while ready[0] == 200 and time.monotonic() < deadline:
            ready = status(f"{process.url}/health/ready")
        assert ready[0] == 503
        assert ready[1]["status"] == "draining"
        assert status(f"{process.url}/work/1")[0] == 200
        assert status(f"{process.url}/health/live")[0] == 200
        process.wait()
        with pytest.raises(urllib.error.URLError):
            status(f"{process.url}/work/1")
    assert "service.draining" in process.log_text()


def test_a_dead_collector_degrades_readiness_and_no_more(tmp_path: Path) -> None:
    """Nobody listens at the endpoint: still ready, the report names the signal that fails."""
    with ServiceProcess(
        "tests.integration.apps.plain:app",
        log_file=tmp_path / "out.log",
        environment={
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRIC_EXPORT_INTERVAL": "50",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "0.1",
            "GLAM_TELEMETRY__SHUTDOWN_TIMEOUT_S": "1",
        },
    ) as process:
        assert status(f"{process.url}/work/1")[0] == 200  # something to push
        deadline = time.monotonic() + 15
        code, report = status(f"{process.url}/health/ready")
        while report["status"] == "ready" and time.monotonic() < deadline:
            code, report = status(f"{process.url}/health/ready")
        assert (code, report["status"]) == (200, "degraded")
        assert "metrics" in json.dumps(report)
