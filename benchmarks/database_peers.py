"""Do the same database work in several ways; one process a way, asked over standard input.

A line ``<work> <times>`` is answered with the CPU microseconds of one piece of work: the process's
own, so what PostgreSQL itself needs is not in it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from pydantic import SecretStr
from sqlalchemy import delete, insert, select
from sqlalchemy.ext import asyncio as asyncio_extension
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.config import DatabaseSettings
from glam_sdk.database import Database, Repository
from glam_sdk.telemetry.pipeline.lean import EncodedSpanProcessor, LeanTracerProvider
from glam_sdk.telemetry.pipeline.lean.batching import BatchSettings
from glam_sdk.telemetry.pipeline.metrics import ScrapeAndPushReader, build_meter_provider

ROWS: Final = 10_000


class Base(DeclarativeBase):
    """Hold the benchmark's one table."""


class Item(Base):
    """Map the rows that are read and written."""

    __tablename__ = "bench_items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[float]


Sessions = Callable[..., AbstractAsyncContextManager[Any]]
Work = Callable[[Any, int], Awaitable[object]]


class Dropped(SpanExporter):
    """Take finished spans and forget them: exporting costs every peer the same."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Say that all is well."""
        del spans
        return SpanExportResult.SUCCESS


class DroppedBytes:
    """The same for spans that are encoded already."""

    def export(self, batch: Sequence[tuple[bytes, bytes]], /) -> object:
        """Say nothing."""
        del batch
        return None

    def shutdown(self) -> None:
        """Have nothing to end."""


def rows(start: int) -> list[dict[str, object]]:
    """Return the rows of a bulk insert."""
    return [{"id": start + n, "name": f"item {n}", "price": 1.5} for n in range(ROWS)]


class Bare:
    """Work on a session as SQLAlchemy's documentation has it."""

    async def get(self, session: AsyncSession, n: int) -> object:
        """Read one row by its key."""
        return await session.get(Item, n % ROWS + 1)

    async def list(self, session: AsyncSession, _: int) -> object:
        """Read all rows."""
        return (await session.scalars(select(Item).limit(ROWS))).all()

    async def insert(self, session: AsyncSession, n: int) -> object:
        """Write as many rows as there are."""
        return await session.execute(insert(Item), rows((n + 2) * ROWS))


class Glam:
    """Work through the repository of a unit of work."""

    async def get(self, uow: Any, n: int) -> object:
        """Read one row by its key."""
        return await uow.repository(Item).find_by_id(n % ROWS + 1)

    async def list(self, uow: Any, _: int) -> object:
        """Read all rows."""
        repository: Repository[Item] = uow.repository(Item)
        return await repository.find_all(limit=ROWS)

    async def insert(self, uow: Any, n: int) -> object:
        """Write as many rows as there are."""
        return await uow.repository(Item).insert_many(rows((n + 2) * ROWS))


class AdvancedAlchemy:
    """Work through advanced-alchemy's repository, asked for what ours does."""

    def __init__(self) -> None:
        from advanced_alchemy.repository import (  # type: ignore[import-not-found,unused-ignore]  # optional
            SQLAlchemyAsyncRepository,
        )

        self._kind: Any = type("ItemRepository", (SQLAlchemyAsyncRepository,), {"model_type": Item})

    async def get(self, session: AsyncSession, n: int) -> object:
        """Read one row by its key."""
        return await self._kind(session=session).get_one_or_none(id=n % ROWS + 1)

    async def list(self, session: AsyncSession, _: int) -> object:
        """Read all rows."""
        return await self._kind(session=session).list()

    async def insert(self, session: AsyncSession, n: int) -> object:
        """Write as many rows as there are; it takes entities."""
        made = [Item(**row) for row in rows((n + 2) * ROWS)]
        return await self._kind(session=session).add_many(made)


def provide_telemetry() -> None:
    """Set global providers as the SDK has them."""
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(Dropped(), max_queue_size=16_384))
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))


def provide_our_telemetry() -> None:
    """Set global providers as ``glam_sdk.init`` does, with an exporter that drops what it gets."""
    resource = Resource({})
    tracers = LeanTracerProvider(resource=resource, shutdown_on_exit=False)
    settings = BatchSettings(capacity=16_384, batch_size=512, delay_s=5.0)
    tracers.add_span_processor(EncodedSpanProcessor(DroppedBytes(), settings))
    trace.set_tracer_provider(tracers)
    reader = ScrapeAndPushReader(None, interval_s=3600, resource=resource)
    metrics.set_meter_provider(build_meter_provider(reader, resource))


def instrument_with_contrib() -> None:
    """Let OpenTelemetry's own instrumentation watch SQLAlchemy."""
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    SQLAlchemyInstrumentor().instrument(skip_dep_check=True)


def plain_sessions(url: str) -> Sessions:
    """Return sessions that commit when their block ends."""
    # By its module: that is where instrumentations put their own.
    engine = asyncio_extension.create_async_engine(url, pool_size=5)
    make = async_sessionmaker(engine, expire_on_commit=False)

    @asynccontextmanager
    async def session(*, writes: bool) -> AsyncIterator[AsyncSession]:
        async with make.begin() if writes else make() as one:
            yield one

    return session


def glam_sessions(url: str, spans: tuple[str, ...]) -> Sessions:
    """Return units of work with these internal spans besides those of statements."""
    settings = DatabaseSettings.model_validate({
        "url": SecretStr(url), "internal_spans": spans, "pool_pre_ping": False,
        "slow_query_s": 0, "repeated_query_limit": 0 if not spans else 10_000_000,
    })  # fmt: skip
    database = Database(settings, service_name="bench")

    def unit_of_work(*, writes: bool) -> AbstractAsyncContextManager[Any]:
        return database.unit_of_work(read_only=not writes)

    return unit_of_work


def build(peer: str, url: str) -> tuple[Sessions, Any]:
    """Return how a peer opens its sessions, and its works."""
    if peer.startswith("glam"):
        provide_our_telemetry()
        spans = {"glam statements": (), "glam operations": ("operation",)}.get(
            peer, ("operation", "transaction")
        )
        return glam_sessions(url, spans), Glam()
    if "contrib" in peer:
        provide_telemetry()
        instrument_with_contrib()
    works = AdvancedAlchemy() if peer.startswith("advanced") else Bare()
    return plain_sessions(url), works


async def measure(sessions: Sessions, work: Work, times: int, *, writes: bool) -> float:
    """Return the CPU microseconds that one piece of work took."""
    tracer = trace.get_tracer("bench")
    started = time.process_time_ns()
    with tracer.start_as_current_span("request"):
        for n in range(times):
            async with sessions(writes=writes) as session:
                await work(session, n)
    return (time.process_time_ns() - started) / times / 1000


async def clean(sessions: Sessions) -> None:
    """Remove what was inserted."""
    async with sessions(writes=True) as session:
        plain: Any = getattr(session, "session", session)
        await plain.execute(delete(Item).where(Item.id > ROWS))


async def serve(peer: str, url: str) -> None:
    """Answer until standard input ends."""
    sessions, works = build(peer, url)
    for line in sys.stdin:
        name, times = line.split()
        writes = name == "insert"
        cost = await measure(sessions, getattr(works, name), int(times), writes=writes)
        if writes:
            await clean(sessions)
        print(f"{cost:.3f}", flush=True)


async def prepare(url: str) -> None:
    """Make the table and its rows."""
    engine = asyncio_extension.create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(insert(Item), rows(1))
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
