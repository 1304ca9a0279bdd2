"""The old start-up call still gives a service everything."""

from __future__ import annotations

import httpx
from fastapi import FastAPI

from glam_sdk.runtime import setup_middleware
from glam_sdk.testing import AppServer, CapturedTelemetry


def test_the_old_call_installs_the_whole_edge(telemetry: CapturedTelemetry) -> None:
    """Ids, span and scrape are there; a second call changes nothing."""
    app = FastAPI()
    service = setup_middleware(app, service_name="test")
    assert service is setup_middleware(app, service_name="test") is telemetry.service
    with AppServer(app) as server:
        answer = httpx.get(f"{server.url}/nowhere")
        assert httpx.get(f"{server.url}/metrics").status_code == 200
    assert answer.headers["x-service-name"] == "test"
    assert [span.name for span in telemetry.spans] == ["GET"]
