"""Connect a service to its database: settings become an engine that starts and stops with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final
from uuid import UUID

from opentelemetry.trace import Tracer
from sqlalchemy import MetaData, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker

from glam_sdk.config import DatabaseSettings, default_prefix
from glam_sdk.database import sqlite
from glam_sdk.database.engine import build_engine
from glam_sdk.database.errors import translate, unreachable
from glam_sdk.database.operations import TRACER
from glam_sdk.database.plans import common_attributes
from glam_sdk.database.scope import ScopedSession
from glam_sdk.database.session import ReadOnlySession, close_shielded
from glam_sdk.database.telemetry import UNTRACED, DatabaseTelemetry
from glam_sdk.database.transactions import TransactionObserver, TransactionTelemetry
from glam_sdk.database.unit_of_work import (
    EventWriter,
    Isolation,
    TransactionOptions,
    UnitOfWork,
)
from glam_sdk.errors import ConfigurationError, DatabaseError
from glam_sdk.lifecycle import Check
from glam_sdk.telemetry.logs import get_logger

_log = get_logger("glam_sdk.database")

_CHECK_TIMEOUT_S: Final = 2.0
_CREATE_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 5.0
_CREATE_LOCK: Final = 0x676C616D_64646C  # "glam" "ddl": one instance at a time creates tables
_CREATE_OPTIONS: Final = {UNTRACED: True, sqlite.BEGIN: sqlite.WRITING}
_SUSPECTS: Final = {"28": ("user", "password"), "3D": ("name",)}  # by class of SQLSTATE


class Database:
    """Own the engine of one database and open units of work on it.

    Args:
        settings: Where the database is and how its connections are pooled.
        service_name: How connections introduce themselves to PostgreSQL, and whose environment
            variables an error names.
        metadata: Tables to create at start where they are missing. Leave it out where migrations
            own the schema.
        event_writer: What ``UnitOfWork.emit`` writes with, such as an ``OutboxWriter``.
        telemetry: That of the global providers by default.
    """

    name: Final = "database"

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        service_name: str | None = None,
        metadata: MetaData | None = None,
        event_writer: EventWriter | None = None,
        telemetry: DatabaseTelemetry | None = None,
    ) -> None:
        self._settings = settings
        self._event_writer = event_writer
        self._metadata: list[MetaData] = [] if metadata is None else [metadata]
        self._creates_tables = metadata is not None
        self._on_events: list[Callable[[], None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._open: set[AsyncSession] = set()
        self._none_open = asyncio.Event()
        self._service_name = service_name
        telemetry = telemetry or DatabaseTelemetry()
        self._engine = build_engine(settings, service_name or "glam_sdk", telemetry)
        wanted = settings.internal_spans
        self._tracer = telemetry.tracer if "operation" in wanted else None
        self._transactions = TransactionObserver(
            telemetry.tracer if "transaction" in wanted else None,
            common_attributes(self._engine.url, self._engine.dialect.name),
            counting=settings.repeated_query_limit > 0,
        )
        self._sessions: dict[tuple[bool, Isolation | None], async_sessionmaker[AsyncSession]] = {}

    @property
    def engine(self) -> AsyncEngine:
        """The SQLAlchemy engine, for what a unit of work does not offer."""
        return self._engine

    @property
    def event_writer(self) -> EventWriter | None:
        """What writes emitted events, if anything."""
        return self._event_writer

    @event_writer.setter
    def event_writer(self, writer: EventWriter) -> None:
        self._event_writer = writer

    def unit_of_work(
        self,
        *,
        read_only: bool = False,
        isolation: Isolation | None = None,
        merchant_id: UUID | None = None,
    ) -> UnitOfWork:
        """Return a transaction to enter with ``async with``.

        Args:
            read_only: Refuse writes; on SQLite, don't wait for whoever is writing.
            isolation: PostgreSQL's default otherwise; SQLite is always SERIALIZABLE.
            merchant_id: The one merchant whose rows it may touch.
        """
        return UnitOfWork(self, TransactionOptions(read_only, isolation, merchant_id))

    def add_metadata(self, metadata: MetaData) -> None:
        """Let more tables be created together with the service's own."""
        if metadata not in self._metadata:
            self._metadata.append(metadata)

    def on_events_committed(self, callback: Callable[[], None]) -> None:
        """Call back whenever a unit of work that emitted events has committed."""
        self._on_events.append(callback)

    async def start(self) -> None:
        """Connect once, and create missing tables if the database was given ``metadata``.

        A database that the settings switch off is left alone.

        Raises:
            DatabaseError: If the database does not answer; it says which setting to look at.
        """
        if not self._settings.enabled:
            return
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await self._ping()
        except (DatabaseError, TimeoutError) as error:
            await self._engine.dispose()
            raise self._cannot_start(error) from None  # said in full by the new one
        if self._creates_tables:
            await self.create_all()

    async def create_all(self) -> None:
        """Create the tables that are missing; several instances may do so at once."""
        try:
            async with (
                asyncio.timeout(_CREATE_TIMEOUT_S),
                self._engine.execution_options(**_CREATE_OPTIONS).begin() as connection,
            ):
                await _create(connection, self._metadata)
        except exc.SQLAlchemyError as error:
            raise translate(error) from None  # the cause says the same at more length

    async def check(self) -> Check:
        """Ask the database for a sign of life."""
        if not self._settings.enabled:
            return Check(healthy=True, detail="switched off")
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await self._ping()
        except TimeoutError:
            return Check(healthy=False, detail=f"no answer within {_CHECK_TIMEOUT_S:g} s")
        except DatabaseError as error:
            return Check(healthy=False, detail=error.message)
        return Check(healthy=True)

    async def stop(self) -> None:
        """Let transactions under way end, for a while, and close every connection."""
        if self._open:
            _, late = await asyncio.wait(
                [asyncio.ensure_future(self._all_closed())], timeout=_STOP_TIMEOUT_S
            )
            for waiting in late:
                waiting.cancel()
                _log.warning("database.stopped_in_transaction", transactions=len(self._open))
        if self._closing:
            await asyncio.wait(self._closing, timeout=_STOP_TIMEOUT_S)
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await self._engine.dispose()

    def begin_telemetry(self, options: TransactionOptions) -> TransactionTelemetry | None:
        """Open the span and the counts of a transaction, where there is a span to be under."""
        return self._transactions.begin(read_only=options.read_only)

    def open_session(self, options: TransactionOptions) -> AsyncSession:
        """Return a new session for a unit of work; it connects when first used.

        Raises:
            ConfigurationError: When the settings switch the database off.
        """
        if not self._settings.enabled:
            raise ConfigurationError(f"The database is switched off. {self._advice(('enabled',))}")
        key = (options.read_only, options.isolation)
        make = self._sessions.get(key)
        if make is None:
            make = self._sessions[key] = _sessions(self._engine, options, self._tracer)
        session = make()
        self._open.add(session)
        return session

    async def close_session(self, session: AsyncSession) -> None:
        """Roll back what is open and give the connection back, also when cancelled."""
        try:
            await close_shielded(session, self._closing)
        finally:
            self._open.discard(session)
            if not self._open:
                self._none_open.set()

    async def _all_closed(self) -> None:
        while self._open:
            self._none_open.clear()
            await self._none_open.wait()

    def events_committed(self) -> None:
        """Tell whoever asked that there are new events."""
        for callback in self._on_events:
            callback()

    async def _ping(self) -> None:
        try:
            async with self._engine.connect() as connection:
                await connection.execute(text("SELECT 1"), execution_options={UNTRACED: True})
        except exc.SQLAlchemyError as error:
            raise translate(error) from None  # the cause says the same at more length

    def _cannot_start(self, error: DatabaseError | TimeoutError) -> DatabaseError:
        where = self._settings.safe_url()
        found = unreachable(where, error) if isinstance(error, TimeoutError) else error
        said = found.message if where in found.message else f"Database {where}: {found.message}"
        code = str(found.details.get("error_code") or "")
        suspects = ("url", "sqlite_path") if where.startswith("sqlite") else ("url", "host", "port")
        return DatabaseError(
            f"{said} {self._advice(_SUSPECTS.get(code[:2], suspects))}",
            operation="connect",
            error_code=code or None,
        )

    def _advice(self, fields: Iterable[str]) -> str:
        settings = ", ".join(f"database.{field}" for field in fields)
        if self._service_name is None:
            return f"Check {settings}."
        prefix = default_prefix(self._service_name)
        variables = ", ".join(f"{prefix}DATABASE__{field.upper()}" for field in fields)
        return f"Check {settings} (in the environment: {variables})."


def _sessions(
    engine: AsyncEngine, options: TransactionOptions, tracer: Tracer | None
) -> async_sessionmaker[AsyncSession]:
    execution: dict[str, Any] = {}
    if engine.dialect.name == "postgresql":
        execution = {"postgresql_readonly": True} if options.read_only else {}
        if options.isolation is not None:
            execution["isolation_level"] = options.isolation
    elif options.read_only:
        execution = {sqlite.QUERY_ONLY: True}
    else:
        execution = {sqlite.BEGIN: sqlite.WRITING}
    return async_sessionmaker(
        engine,
        # Not the engine's: it would get a listener, for which each statement pays.
        execution_options=execution,
        expire_on_commit=False,
        close_resets_only=False,  # who still holds it would begin a transaction nobody ends
        info={} if tracer is None else {TRACER: tracer},
        sync_session_class=ReadOnlySession if options.read_only else ScopedSession,
    )


async def _create(connection: AsyncConnection, metadata: Iterable[MetaData]) -> None:
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATE_LOCK})
    for tables in metadata:
        await connection.run_sync(tables.create_all)
