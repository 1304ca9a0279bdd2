"""Answer the questions of load balancers and orchestrators: alive, ready, healthy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel
from starlette.responses import JSONResponse, Response

from glam_sdk.api.envelope import ApiResponse
from glam_sdk.api.responses import success_response

Readiness = Callable[[], Awaitable[tuple[bool, dict[str, Any]]]]


class Health(BaseModel):
    """Tell that the service answers."""

    status: str
    service: str
    timestamp: AwareDatetime


def create_health_router(
    service_name: str, *, prefix: str = "", readiness: Readiness | None = None
) -> APIRouter:
    """Return ``<prefix>/health``, ``/health/live`` and, with a check, ``/health/ready``.

    Args:
        service_name: Given back as ``data.service``.
        prefix: Path before ``/health``.
        readiness: Tells whether the service can work now, and the state of each component.
    """
    router = APIRouter(prefix=f"{prefix.rstrip('/')}/health", tags=["health"])

    @router.get("", summary="Envelope with the service's state")
    async def health() -> ApiResponse[Health]:
        return success_response(
            Health(status="healthy", service=service_name, timestamp=datetime.now(UTC))
        )

    @router.get("/live", summary="200 while the process answers")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    if readiness is not None:
        check = readiness

        @router.get("/ready", summary="200 when requests can be handled, else 503")
        async def ready() -> Response:
            is_ready, report = await check()
            return JSONResponse(report, status_code=200 if is_ready else 503)

    return router
