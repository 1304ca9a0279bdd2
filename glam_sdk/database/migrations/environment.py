"""Be the body of every service's ``env.py``: connect, lock, and run what Alembic was asked for.

Several instances of a service may upgrade at once: one does the work, the others wait and then
find nothing left to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from alembic import context
from alembic.runtime.migration import RevisionStep
from opentelemetry.trace import Tracer
from opentelemetry.util.types import AttributeValue
from sqlalchemy import Connection, MetaData, exc, text
from sqlalchemy.schema import SchemaItem

from glam_sdk.config import DatabaseSettings, load_settings
from glam_sdk.database import sqlite
from glam_sdk.database.engine import build_engine
from glam_sdk.database.errors import translate
from glam_sdk.database.migrations import portable
from glam_sdk.database.telemetry import UNTRACED, DatabaseTelemetry
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.tracing import get_tracer, span

CONNECTION: Final = "glam_connection"
"""Key in the Alembic config's attributes of the connection to use, where there is one."""
URL: Final = "glam_url"
"""The same, of the URL whose dialect offline SQL is written in."""
TRACER: Final = "glam_tracer"
"""The same, of the tracer."""

_LOCK: Final = 0x676C616D_6D6967  # "glam" "mig"
_LOCK_TIMEOUT_MS: Final = 600_000


def run_migrations(*metadata: MetaData, service_name: str) -> None:
    """Do what Alembic was called for; the one line of a service's ``env.py``.

    Args:
        *metadata: Of the service's models, and ``outbox_metadata`` where it is used.
        service_name: Whose settings say where the database is.
    """
    if context.is_offline_mode():
        url: str | None = context.config.attributes.get(URL)
        url = url or load_settings(service_name).database.sqlalchemy_url()
        _configure(metadata, url=url, literal_binds=True, dialect_opts={"paramstyle": "named"})
        with context.begin_transaction():
            context.run_migrations()
        return
    connection: Connection | None = context.config.attributes.get(CONNECTION)
    if connection is not None:
        _run_locked(connection, metadata)
    else:
        asyncio.run(_connect_and_run(load_settings(service_name).database, service_name, metadata))


def migration_settings(settings: DatabaseSettings) -> DatabaseSettings:
    """Return settings for an engine that migrates: one connection, and all the time it needs."""
    return settings.model_copy(
        update={"statement_timeout_s": 0.0, "pool_size": 1, "max_overflow": 0}
    )


async def _connect_and_run(
    settings: DatabaseSettings, service_name: str, metadata: tuple[MetaData, ...]
) -> None:
    engine = build_engine(migration_settings(settings), service_name, DatabaseTelemetry())
    try:
        async with engine.execution_options(**{sqlite.BEGIN: sqlite.WRITING}).connect() as one:
            await one.run_sync(_run_locked, metadata)
    finally:
        await engine.dispose()


def _run_locked(connection: Connection, metadata: tuple[MetaData, ...]) -> None:
    with _alone(connection), sqlite.lenient(connection) as verify:
        _configure(metadata, connection=connection)
        _trace_steps()
        try:
            # On SQLite this takes the write lock (BEGIN IMMEDIATE) before anything is read.
            with context.begin_transaction():
                context.run_migrations()
                verify()
        except exc.SQLAlchemyError as error:
            raise translate(error) from None  # the cause's text may hold the values of a row


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Keep other instances waiting; the lock is the session's, for migrations may commit."""
    if connection.dialect.name != "postgresql":
        sqlite.wait_for_others(connection, _LOCK_TIMEOUT_MS)
        yield
        return
    _quietly(connection, f"SET lock_timeout = {_LOCK_TIMEOUT_MS}")
    _quietly(connection, "SELECT pg_advisory_lock(:key)", key=_LOCK)
    _quietly(connection, "SET lock_timeout = 0")
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.rollback()
            _quietly(connection, "SELECT pg_advisory_unlock(:key)", key=_LOCK)


def _quietly(connection: Connection, sql: str, **parameters: object) -> None:
    connection.execute(text(sql), parameters, execution_options={UNTRACED: True})
    connection.commit()


def _configure(metadata: tuple[MetaData, ...], **how: Any) -> None:
    tables = [table for one in metadata for table in one.tables.values()]
    known = {table.name for table in tables}
    schemas = {table.schema for table in tables if table.schema}

    def is_ours(_: SchemaItem, name: str | None, kind: str, *__: object) -> bool:
        # The SDK's own tables are left alone where the service does not name them.
        return kind != "table" or name in known or not (name or "").startswith(portable.PRIVATE)

    def is_read(name: str | None, kind: str, _: object) -> bool:
        # Schemas that no model names belong to somebody else; None is the default one.
        return kind != "schema" or name is None or name in schemas

    context.configure(
        target_metadata=list(metadata),
        include_object=is_ours,
        include_name=is_read,
        include_schemas=bool(schemas),
        render_item=portable.render,
        process_revision_directives=portable.rewriting(),
        render_as_batch=True,  # SQLite can't alter much of a table: it is copied there
        transactional_ddl=True,
        **how,
    )


def _trace_steps() -> None:
    """Run each migration under a span of its own."""
    migration = context.get_context()
    tracer: Tracer = context.config.attributes.get(TRACER) or get_tracer("glam_sdk.database")
    steps_of: Any = migration._migrations_fn  # noqa: SLF001 - Alembic's hook comes after a step only

    def traced_steps(heads: Any, running: Any) -> Iterable[Any]:
        for step in steps_of(heads, running):
            if isinstance(step, RevisionStep):
                step.migration_fn = _traced(step, tracer)
            yield step

    if steps_of is not None:
        migration._migrations_fn = traced_steps  # noqa: SLF001


def _traced(step: RevisionStep, tracer: Tracer) -> Any:
    run = step.migration_fn

    def migrate(**options: Any) -> None:
        direction = "upgrade" if step.is_upgrade else "downgrade"
        attributes: dict[str, AttributeValue] = {
            conv.GLAM_DB_MIGRATION_REVISION: step.revision.revision,
            conv.GLAM_DB_MIGRATION_DIRECTION: direction,
        }
        with span(tracer, f"migrate {direction}", attributes=attributes):
            run(**options)

    return migrate
