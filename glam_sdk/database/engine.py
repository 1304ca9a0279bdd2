"""Build a SQLAlchemy engine from settings, with our telemetry and without connecting."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from glam_sdk.config import DatabaseSettings
from glam_sdk.database import sqlite
from glam_sdk.database.endings import watch_endings
from glam_sdk.database.errors import translate_driver_errors
from glam_sdk.database.plans import common_attributes
from glam_sdk.database.pool import PoolWatch
from glam_sdk.database.telemetry import DatabaseTelemetry
from glam_sdk.telemetry import conventions as conv


def build_engine(
    settings: DatabaseSettings, service_name: str, telemetry: DatabaseTelemetry
) -> AsyncEngine:
    """Return an engine for the settings, with our telemetry and without connecting.

    Args:
        settings: Where the database is and how its connections are pooled.
        service_name: ``application_name`` on PostgreSQL.
        telemetry: What observes its statements.
    """
    url = make_url(settings.sqlalchemy_url())
    common = common_attributes(url, url.get_backend_name())
    watch = PoolWatch(telemetry.pools, f"{service_name}/{common.get(conv.DB_NAMESPACE, '')}")
    options: dict[str, Any] = {
        "poolclass": watch.pool_class(),
        "pool_size": settings.pool_size,
        "max_overflow": settings.max_overflow,
        "pool_timeout": settings.pool_timeout_s,
        "pool_pre_ping": settings.pool_pre_ping,
        "pool_recycle": settings.pool_recycle,
    }
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite:
        options = sqlite.engine_options(url, options)
    else:
        options["connect_args"] = _connect_args(url, settings, service_name)
    # Parameters are a user's data; errors and logs show the statement only.
    engine = create_async_engine(url, echo=settings.echo, hide_parameters=True, **options)
    if is_sqlite:
        sqlite.prepare(engine.sync_engine)
    elif url.get_backend_name() == "postgresql":
        watch_endings(engine.sync_engine)
    translate_driver_errors(engine.sync_engine, settings.safe_url())
    telemetry.observe(
        engine.sync_engine,
        slow_query_s=settings.slow_query_s,
        repeated_query_limit=settings.repeated_query_limit,
        pool=watch,
    )
    return engine


def _connect_args(url: URL, settings: DatabaseSettings, service_name: str) -> dict[str, Any]:
    if url.get_driver_name() == "psycopg":
        seconds = max(1, round(settings.connect_timeout_s))
        milliseconds = round(settings.statement_timeout_s * 1000)
        return {
            "connect_timeout": seconds,
            "application_name": service_name,
            "options": f"-c statement_timeout={milliseconds}",
        }
    if url.get_driver_name() != "asyncpg":
        return {}
    server_settings = {"application_name": service_name}
    if settings.statement_timeout_s:
        server_settings["statement_timeout"] = str(round(settings.statement_timeout_s * 1000))
    return {"timeout": settings.connect_timeout_s, "server_settings": server_settings}
