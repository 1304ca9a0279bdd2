"""Serve the work with Litestar and its OpenTelemetry plugin; ``BENCH_BARE=1``: without."""

from __future__ import annotations

import os

from litestar import Litestar, get
from litestar.plugins.opentelemetry import OpenTelemetryConfig, OpenTelemetryPlugin

from benchmarks.apps.otel import set_up_logging, set_up_providers
from benchmarks.apps.work import Item, fetch, make_engine, plain_sessions

IS_BARE = os.environ.get("BENCH_BARE") == "1"
sessions = plain_sessions(make_engine())


async def ping() -> dict[str, bool]:
    """Answer a constant."""
    return {"ok": True}


async def get_item(item_id: int) -> Item:
    """Log a line and answer."""
    if not IS_BARE:
        log_item(item_id)
    return Item(id=item_id, name="lipstick", price=9.5, tags=["red", "matte"])


async def get_row(item_id: int) -> Item:
    """Answer with a row."""
    return await fetch(sessions, item_id)


if not IS_BARE:
    set_up_providers()
    log_item = set_up_logging()
app = Litestar(
    [get("/ping")(ping), get("/items/{item_id:int}")(get_item), get("/db/{item_id:int}")(get_row)],
    plugins=[] if IS_BARE else [OpenTelemetryPlugin(OpenTelemetryConfig())],
    openapi_config=None,
    logging_config=None,
)
