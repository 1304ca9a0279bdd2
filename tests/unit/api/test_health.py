"""Alive, ready, healthy."""

from __future__ import annotations

from datetime import datetime

from fastapi import FastAPI

from glam_sdk.api import create_health_router
from glam_sdk.lifecycle import Check


class Part:
    def __init__(self, name, check):
        self.name = name
        self._check = check

    async def start(self): ...

    async def check(self):
        return self._check

    async def stop(self): ...


def test_health_is_an_envelope(app, serve):
    """Contract 1: ``data = {status: "healthy", service, timestamp}``."""
    with serve(app) as client:
        body = client.get("/health").json()
    assert {k: body["data"][k] for k in ("status", "service")} == {
        "status": "healthy",
        "service": "test",
    }
    assert datetime.fromisoformat(body["data"]["timestamp"]).utcoffset() is not None
    assert body["meta"]["request_id"]


def test_the_router_can_be_used_alone(serve):
    """``create_health_router(service_name)`` needs nothing else; without a check, no readiness."""
    app = FastAPI()
    app.include_router(create_health_router("orders", prefix="/api/"))
    with serve(app) as client:
        assert client.get("/api/health").json()["data"]["service"] == "orders"
        assert client.get("/api/health/live").json() == {"status": "alive"}
        assert client.get("/api/health/ready").status_code == 404


def test_readiness_tells_the_state_of_every_component(app, serve, telemetry):
    """503 when a critical component fails; one that is not critical only degrades."""
    telemetry.service.add(Part("database", Check(healthy=True)))
    telemetry.service.add(Part("cache", Check(healthy=False, detail="cold", critical=False)))
    with serve(app) as client:
        degraded = client.get("/health/ready")
    assert degraded.status_code == 200
    assert degraded.json()["status"] == "degraded"
    assert degraded.json()["checks"]["cache"] == {"healthy": False, "detail": "cold"}
    assert degraded.headers["cache-control"] == "no-store"


def test_a_failing_component_makes_the_service_not_ready(app, serve, telemetry):
    """Liveness and health do not follow: restarting would not help."""
    telemetry.service.add(Part("database", Check(healthy=False, detail="No answer.")))
    with serve(app) as client:
        ready = client.get("/health/ready")
        assert client.get("/health/live").status_code == 200
        assert client.get("/health").status_code == 200
    assert ready.status_code == 503
    assert ready.json()["status"] == "not_ready"
    assert telemetry.logs("http.request") == []


def test_a_probe_may_use_head(app, serve):
    """Load balancers that ask with HEAD get the same status."""
    with serve(app) as client:
        for path in ("/health", "/health/live", "/health/ready"):
            answer = client.head(path)
            assert (answer.status_code, answer.content) == (200, b"")
