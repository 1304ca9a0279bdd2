"""``opentelemetry-instrument`` builds the same pipeline, with and without ``init``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from glam_sdk.testing import OtlpReceiver, free_port

LAUNCHER = Path(sys.executable).with_name("opentelemetry-instrument")


@pytest.mark.parametrize("target", ["bare", "plain"])
def test_the_launcher_gives_one_server_span_per_request(tmp_path: Path, target: str) -> None:
    """A plain FastAPI app and one that calls ``init`` both get exactly one, by our pipeline."""
    port = free_port()
    with OtlpReceiver() as receiver, (tmp_path / "out.log").open("wb") as output:
        process = subprocess.Popen(
            [
                LAUNCHER,
                sys.executable,
                "-m",
                "uvicorn",
                f"tests.integration.apps.{target}:app",
                "--port",
                str(port),
            ],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "OTEL_SERVICE_NAME": "launched",
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "OTEL_BSP_SCHEDULE_DELAY": "100",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            ask(f"http://127.0.0.1:{port}/work/7", tmp_path / "out.log")
            assert receiver.wait_for(lambda r: any(s.kind == "SERVER" for s in r.spans))
        finally:
            process.terminate()
            process.wait(30)
        servers = [span for span in receiver.spans if span.kind == "SERVER"]
    assert [span.name for span in servers] == ["GET /work/{number}"]
    assert servers[0].service == "launched"
    assert servers[0].resource["telemetry.distro.name"] == "glam_sdk"


def ask(url: str, log: Path) -> None:
    """Ask until the server is there."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            if time.monotonic() > deadline:
                raise AssertionError(log.read_text()) from None
        time.sleep(0.05)
