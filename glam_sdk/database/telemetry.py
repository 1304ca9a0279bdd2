"""Give each SQL statement a CLIENT span and a duration, through SQLAlchemy's own events.

BEGIN, COMMIT and the like get none, nor does a statement or connection with the execution option
``glam_untraced``. What a statement is called is worked out once per SQL text.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import PurePath
from time import perf_counter
from typing import Any, Final, NamedTuple

from opentelemetry.trace import Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, ExceptionContext

from glam_sdk._internal.guard import guarded
from glam_sdk.database.errors import driver_error, status_code
from glam_sdk.database.statements import describe
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.metrics import Meter, duration_histogram, get_meter
from glam_sdk.telemetry.tracing import Span, SpanKind, error_type, get_tracer

UNTRACED: Final = "glam_untraced"
"""Execution option of a statement or connection that is not to be seen in telemetry."""

_SCOPE: Final = "glam_sdk.database"
_STATEMENTS_KEPT: Final = 1024
_TRANSACTION_WORDS: Final = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
_STATE: Final = "_glam_telemetry"


class _Plan(NamedTuple):
    """What is the same for every execution of one SQL text."""

    name: str
    span_attributes: dict[str, AttributeValue]
    metric_attributes: dict[str, AttributeValue]


class _Running(NamedTuple):
    span: Span
    plan: _Plan
    started: float


class DatabaseTelemetry:
    """Hold the tracer and the instruments of this area.

    Args:
        tracer: The global provider's by default.
        meter: The global provider's by default.
    """

    def __init__(self, *, tracer: Tracer | None = None, meter: Meter | None = None) -> None:
        self.tracer = tracer or get_tracer(_SCOPE)
        self.duration = duration_histogram(
            meter or get_meter(_SCOPE),
            conv.DB_CLIENT_OPERATION_DURATION,
            description="Duration of database client operations.",
            buckets=conv.DB_DURATION_BUCKETS,
        )

    def observe(self, engine: Engine) -> None:
        """Measure and trace every statement of an engine from now on."""
        statements = _Statements(self, engine)
        event.listen(engine, "before_cursor_execute", statements.before)
        event.listen(engine, "after_cursor_execute", statements.after)
        event.listen(engine, "handle_error", statements.failed)


class _Statements:
    def __init__(self, telemetry: DatabaseTelemetry, engine: Engine) -> None:
        self._common = common_attributes(engine.url, engine.dialect.name)
        self._system = engine.dialect.name
        self._plan = lru_cache(maxsize=_STATEMENTS_KEPT)(self._new_plan)
        self._tracer = telemetry.tracer
        self._duration = telemetry.duration

    def _new_plan(self, sql: str) -> _Plan | None:
        statement = describe(sql)
        if sql.lstrip().upper().startswith(_TRANSACTION_WORDS):
            return None
        labels = dict(self._common)
        if statement.operation:
            labels[conv.DB_OPERATION_NAME] = statement.operation
        if statement.collection:
            labels[conv.DB_COLLECTION_NAME] = statement.collection
        attributes = {**labels, conv.DB_QUERY_TEXT: statement.text}
        if statement.summary:
            attributes[conv.DB_QUERY_SUMMARY] = statement.summary
        return _Plan(statement.summary or self._system, attributes, labels)

    def before(
        self,
        _connection: Connection,
        _cursor: object,
        sql: str,
        parameters: Any,
        context: Any,
        executemany: bool,  # noqa: FBT001 - the signature of SQLAlchemy's event
    ) -> None:
        with guarded("database.telemetry.before"):
            plan = self._plan(sql)
            if plan is None or context.execution_options.get(UNTRACED):
                return
            attributes = plan.span_attributes
            if executemany and len(parameters) > 1:
                attributes = {**attributes, conv.DB_OPERATION_BATCH_SIZE: len(parameters)}
            span = self._tracer.start_span(plan.name, kind=SpanKind.CLIENT, attributes=attributes)
            setattr(context, _STATE, _Running(span, plan, perf_counter()))

    def after(
        self,
        _connection: Connection,
        _cursor: object,
        _sql: str,
        _parameters: Any,
        context: Any,
        _executemany: bool,  # noqa: FBT001 - the signature of SQLAlchemy's event
    ) -> None:
        running: _Running | None = context.__dict__.pop(_STATE, None)
        if running is not None:
            with guarded("database.telemetry.after"):
                self._duration.record(
                    perf_counter() - running.started, running.plan.metric_attributes
                )
                running.span.end()

    def failed(self, failure: ExceptionContext) -> None:
        context = failure.execution_context
        running: _Running | None = None if context is None else context.__dict__.pop(_STATE, None)
        if running is None:
            return
        with guarded("database.telemetry.failed"):
            original = driver_error(failure.original_exception)
            outcome: dict[str, AttributeValue] = {conv.ERROR_TYPE: error_type(original)}
            code = status_code(original)
            if code is not None:
                outcome[conv.DB_RESPONSE_STATUS_CODE] = code
            self._duration.record(
                perf_counter() - running.started, {**running.plan.metric_attributes, **outcome}
            )
            # Not the exception itself: its text may hold the values of a row.
            running.span.set_attributes(outcome)
            running.span.set_status(Status(StatusCode.ERROR, type(original).__name__))
            running.span.end()


def common_attributes(url: URL, dialect: str) -> dict[str, AttributeValue]:
    """Return the attributes every span and measurement of one database has."""
    name = url.database or ""
    if dialect == "sqlite":
        return {conv.DB_SYSTEM_NAME: "sqlite", conv.DB_NAMESPACE: PurePath(name).name or ":memory:"}
    attributes: dict[str, AttributeValue] = {conv.DB_SYSTEM_NAME: dialect}
    if name:
        attributes[conv.DB_NAMESPACE] = name
    host = url.host or url.query.get("host")
    if isinstance(host, str):
        attributes[conv.SERVER_ADDRESS] = host
        if not host.startswith("/"):
            attributes[conv.SERVER_PORT] = url.port or 5432
    return attributes
