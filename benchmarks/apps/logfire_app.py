"""Serve the work with Pydantic Logfire, which exports by OTLP instead of to its own service."""

from __future__ import annotations

import logfire
from fastapi import FastAPI

from benchmarks.apps.work import add_routes, make_engine, plain_sessions

logfire.configure(
    service_name="orders", send_to_logfire=False, console=False, inspect_arguments=False
)
app = FastAPI()


def log_item(item_id: int) -> None:
    """Write the line of ``/items``, which in Logfire is a span."""
    logfire.info("item fetched", item_id=item_id)


add_routes(app, plain_sessions(make_engine()), log_item)
logfire.instrument_fastapi(app)
