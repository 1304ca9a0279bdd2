"""Serve the work with glam_sdk.

``/db`` reads through the same plain engine as every peer, with our statement telemetry on it;
``BENCH_UNIT_OF_WORK=1`` reads in a read-only unit of work of the service's database instead.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

import glam_sdk
from benchmarks.apps.work import Sessions, add_routes, database_url, make_engine, plain_sessions
from glam_sdk.database.telemetry import DatabaseTelemetry


def traced_sessions() -> Sessions:
    """Return plain sessions on a plain engine whose statements are traced and measured."""
    engine = make_engine()
    DatabaseTelemetry().observe(engine.sync_engine)
    return plain_sessions(engine)


def sessions_of_units_of_work() -> Sessions:
    """Return the sessions of units of work."""
    database = service.use_database()

    @asynccontextmanager
    async def sessions() -> AsyncIterator[AsyncSession]:
        async with database.unit_of_work(read_only=True) as uow:
            yield uow.session

    return sessions


service = glam_sdk.init(
    "orders",
    version="1.0.0",
    overrides={"database": {"url": database_url(), "pool_size": 16, "max_overflow": 0}},
)
app = service.install(FastAPI())
log = glam_sdk.get_logger("orders")


def log_item(item_id: int) -> None:
    """Write the line of ``/items``."""
    log.info("item.fetched", item_id=item_id)


with_unit_of_work = os.environ.get("BENCH_UNIT_OF_WORK") == "1"
add_routes(app, sessions_of_units_of_work() if with_unit_of_work else traced_sessions(), log_item)
