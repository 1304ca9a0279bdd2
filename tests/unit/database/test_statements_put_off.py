"""In an event loop that serves, a statement is told of at the end of the turn, as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import time_ns
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import Engine, StaticPool, create_engine, text
from sqlalchemy.exc import OperationalError

from glam_sdk._internal.afterwards import serving, settle
from glam_sdk.database import DatabaseTelemetry


class Seen:
    def __init__(self, **options: Any) -> None:
        self.engine: Engine = create_engine("sqlite://", poolclass=StaticPool)
        with self.engine.begin() as connection:
            for table in ("apples", "pears"):
                connection.execute(text(f"CREATE TABLE {table} (id INTEGER)"))
        self.spans = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.tracer = tracers.get_tracer("t")
        self.reader = InMemoryMetricReader()
        meter = MeterProvider(metric_readers=[self.reader]).get_meter("t")
        DatabaseTelemetry(tracer=self.tracer, meter=meter).observe(self.engine, **options)

    def ask(self, sql: str) -> None:
        with self.engine.connect() as connection:
            connection.execute(text(sql))

    def names(self) -> list[str]:
        return [span.name for span in self.spans.get_finished_spans()]

    def measured(self) -> dict[str, int]:
        """Return the trace of the exemplar that each table's duration has."""
        found: Any = self.reader.get_metrics_data()
        return {
            point.attributes["db.collection.name"]: point.exemplars[0].trace_id
            for resource in found.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "db.client.operation.duration"
            for point in metric.data.data_points
        }


@pytest.fixture
def seen() -> Iterator[Seen]:
    made = Seen()
    yield made
    made.engine.dispose()


async def test_it_is_told_under_its_own_parent_at_its_own_times(seen: Seen) -> None:
    """Whatever is current when it is told; a measurement's exemplar leads to the parent, too."""
    parents: dict[str, int] = {}
    began = time_ns()
    with serving():
        for table in ("apples", "pears"):
            with seen.tracer.start_as_current_span(table) as parent:
                parents[table] = parent.get_span_context().trace_id
                seen.ask(f"SELECT * FROM {table}")
        ended = time_ns()
        assert seen.names() == ["apples", "pears"]
        await asyncio.sleep(0)
    assert seen.names()[2:] == ["SELECT apples", "SELECT pears"]
    for span in seen.spans.get_finished_spans()[2:]:
        assert span.context.trace_id == parents[span.name.removeprefix("SELECT ")]
        assert began <= (span.start_time or 0) < (span.end_time or 0) <= ended
    assert seen.measured() == parents


async def test_it_is_told_before_a_flush(seen: Seen) -> None:
    """Nothing that was put off waits past it."""
    with serving():
        seen.ask("SELECT * FROM apples")
        settle()
        assert seen.names() == ["SELECT apples"]


async def test_one_that_failed_is_told_at_once(seen: Seen) -> None:
    """Who handles the error may look at once."""
    with serving():
        with pytest.raises(OperationalError):
            seen.ask("SELECT * FROM nowhere")
        assert seen.names() == ["SELECT nowhere"]


async def test_a_slow_one_is_told_at_once() -> None:
    """Its line belongs to what was being done, and to the fields that were bound then."""
    seen = Seen(slow_query_s=1e-9)
    with serving():
        seen.ask("SELECT * FROM apples")
        assert seen.names() == ["SELECT apples"]
    seen.engine.dispose()
