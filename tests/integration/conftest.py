"""Share one PostgreSQL between all integration tests that need one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer
from pydantic import SecretStr
from sqlalchemy import MetaData

from glam_sdk.config import DatabaseSettings
from glam_sdk.database import Database, DatabaseTelemetry
from glam_sdk.testing.postgres import PostgresServer
from tests.conftest import new_tracers


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Run one server for the whole session; each test leaves its databases empty."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a real database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'test.sqlite3'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url


@dataclass
class Observed:
    """One database with everything it told OpenTelemetry."""

    db: Database
    tracer: Tracer
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """Return the finished spans, or those of one name."""
        return [s for s in self.exporter.get_finished_spans() if name in (None, s.name)]

    def names(self) -> list[str]:
        """Return the names of the finished spans in the order they ended."""
        return [span.name for span in self.spans()]

    def metric(self, name: str) -> list[Any]:
        """Return the data points of one metric."""
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


OpenDatabase = Callable[..., Awaitable[Observed]]


@pytest.fixture
async def open_database() -> AsyncIterator[OpenDatabase]:
    """Give a function that starts a database on a URL and removes its tables in the end."""
    async with AsyncExitStack() as stack:

        async def make(url: str, metadata: MetaData | None = None, **settings: object) -> Observed:
            exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
            tracers, meters = new_tracers(), MeterProvider([reader])
            tracers.add_span_processor(SimpleSpanProcessor(exporter))
            stack.callback(tracers.shutdown)
            stack.callback(meters.shutdown)
            tracer = tracers.get_tracer("t")
            db = Database(
                DatabaseSettings.model_validate({"url": SecretStr(url), **settings}),
                service_name="tests",
                metadata=metadata,
                telemetry=DatabaseTelemetry(tracer=tracer, meter=meters.get_meter("t")),
            )
            await db.start()
            stack.push_async_callback(db.stop)
            if metadata is not None:
                stack.push_async_callback(_drop, db, metadata)
            return Observed(db, tracer, exporter, reader)

        yield make


async def _drop(db: Database, metadata: MetaData) -> None:
    async with db.engine.begin() as connection:
        await connection.run_sync(metadata.drop_all)
