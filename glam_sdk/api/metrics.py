"""Serve the Prometheus scrape."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

Scrape = Callable[[str], tuple[bytes, str]]


def create_metrics_router(scrape: Scrape, path: str) -> APIRouter:
    """Return the endpoint, which is not in the OpenAPI schema.

    Args:
        scrape: Renders all metrics for an ``Accept`` header; run in a thread, off the event loop.
        path: Where it is served.
    """
    router = APIRouter()

    @router.get(path, include_in_schema=False)
    async def metrics(request: Request) -> Response:
        body, content_type = await run_in_threadpool(scrape, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return router
