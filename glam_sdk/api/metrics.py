"""Serve the Prometheus scrape."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Final

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from glam_sdk.api.routes import OwnRoute

Scrape = Callable[[str], tuple[bytes, str]]
_WORTH_ZIPPING: Final = 1024


def create_metrics_router(scrape: Scrape, path: str) -> APIRouter:
    """Return the endpoint, which is not in the OpenAPI schema.

    Args:
        scrape: Renders all metrics for an ``Accept`` header; run in a thread, off the event loop.
        path: Where it is served.
    """
    router = APIRouter(route_class=OwnRoute)

    @router.api_route(path, methods=["GET", "HEAD"], include_in_schema=False)
    async def metrics(request: Request) -> Response:
        accept = ",".join(request.headers.getlist("accept"))
        zipped = _accepts_gzip(request.headers.get("accept-encoding", ""))
        body, headers = await run_in_threadpool(_answer, scrape, accept, zipped=zipped)
        return Response(body, headers=headers)

    return router


def _answer(scrape: Scrape, accept: str, *, zipped: bool) -> tuple[bytes, dict[str, str]]:
    body, content_type = scrape(accept)
    headers = {"content-type": content_type, "vary": "accept, accept-encoding"}
    if zipped and len(body) >= _WORTH_ZIPPING:
        headers["content-encoding"] = "gzip"
        # Level 1 is four times as fast as 9 and leaves a tenth of the size all the same.
        body = gzip.compress(body, 1, mtime=0)
    return body, headers


def _accepts_gzip(accept_encoding: str) -> bool:
    for coding in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in coding.split(";"))
        if name in {"gzip", "*"}:
            weight = next((p.partition("=")[2] for p in parameters if p.startswith("q")), "1")
            return weight.strip() not in {"0", "0.0", "0.00", "0.000"}
    return False
