"""Answer the questions of load balancers and orchestrators: alive, ready, healthy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Depends, Response
from pydantic import AwareDatetime, BaseModel

from glam_sdk.api.envelope import ApiResponse
from glam_sdk.api.responses import success_response
from glam_sdk.api.routes import OwnRoute

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
    router = APIRouter(
        prefix=f"{prefix.rstrip('/')}/health",
        tags=["health"],
        dependencies=[Depends(_uncached)],
        route_class=OwnRoute,
    )

    @router.get("", summary="Envelope with the service's state")
    async def health() -> ApiResponse[Health]:
        return success_response(
            Health(status="healthy", service=service_name, timestamp=datetime.now(UTC))
        )

    @router.get("/live", summary="200 while the process answers")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    paths: dict[str, Callable[..., Any]] = {"": health, "/live": live}
    if readiness is not None:
        check = readiness

        @router.get("/ready", summary="200 when requests can be handled, else 503", responses=_503)
        async def ready(response: Response) -> dict[str, Any]:
            is_ready, report = await check()
            response.status_code = 200 if is_ready else 503
            return report

        paths["/ready"] = ready
    for path, probe in paths.items():
        router.add_api_route(path, probe, methods=["HEAD"], include_in_schema=False)
    return router


_503: Final[dict[int | str, dict[str, Any]]] = {
    503: {"description": "Requests can't be handled now", "model": dict[str, Any]}
}


async def _uncached(response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"
