"""Give each SQL statement a CLIENT span and a duration, through SQLAlchemy's own events.

BEGIN, COMMIT and the like get none, nor does a statement or connection with the execution option
``glam_untraced``. Works for every engine, synchronous ones included.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Token
from time import perf_counter
from typing import Any, Final, NamedTuple

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.engine.interfaces import ExecuteStyle

from glam_sdk._internal.guard import guarded
from glam_sdk.database import contrib
from glam_sdk.database.plans import Plan, common_attributes, planner
from glam_sdk.database.pool import LAST_STATEMENT, PoolInstruments, PoolWatch
from glam_sdk.database.redaction import driver_error, status_code
from glam_sdk.database.transactions import current_counts
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.metrics import Meter, duration_histogram, get_meter
from glam_sdk.telemetry.series import SeriesOf
from glam_sdk.telemetry.tracing import Span, SpanKind, error_type, get_tracer

UNTRACED: Final = "glam_untraced"
"""Execution option of a statement or connection that is not to be seen in telemetry."""

_SCOPE: Final = "glam_sdk.database"
_STATE: Final = "_glam_telemetry"
_log = get_logger("glam_sdk.database")


class _Running(NamedTuple):
    span: Span
    is_ours: bool
    plan: Plan
    started: float
    token: Token[Context] | None


class DatabaseTelemetry:
    """Hold the tracer and the instruments of this area.

    Args:
        tracer: The global provider's by default.
        meter: The global provider's by default.
    """

    def __init__(self, *, tracer: Tracer | None = None, meter: Meter | None = None) -> None:
        self.tracer = tracer or get_tracer(_SCOPE)
        measuring = meter or get_meter(_SCOPE)
        self.duration = duration_histogram(
            measuring,
            conv.DB_CLIENT_OPERATION_DURATION,
            description="Duration of database client operations.",
            buckets=conv.DB_DURATION_BUCKETS,
        )
        self.pools = PoolInstruments.of(measuring, is_default=meter is None)

    def observe(
        self,
        engine: Engine,
        *,
        slow_query_s: float = 0.5,
        repeated_query_limit: int = 10,
        pool: PoolWatch | None = None,
    ) -> None:
        """Measure and trace every statement of an engine from now on.

        Args:
            engine: Of SQLAlchemy; ``engine.sync_engine`` of an asynchronous one.
            slow_query_s: Seconds from which a statement is logged as slow; 0 for never.
            repeated_query_limit: Equal statements a request may send before a hint; 0 for any.
            pool: Watches the engine's pool; made here when the engine was not built with one.
        """
        statements = _Statements(self, engine, slow_query_s, repeated_query_limit)
        watch = pool or PoolWatch(self.pools, statements.pool_name)
        watch.watch(engine)
        event.listen(engine, "before_cursor_execute", statements.before)
        event.listen(engine, "after_cursor_execute", statements.after)
        event.listen(engine, "handle_error", statements.failed)
        event.listen(engine, "checkout", statements.taken)


class _Statements:
    def __init__(
        self, telemetry: DatabaseTelemetry, engine: Engine, slow_s: float, repeated_limit: int
    ) -> None:
        common = common_attributes(engine.url, engine.dialect.name)
        self.pool_name = (
            f"{common.get(conv.SERVER_ADDRESS, '')}/{common.get(conv.DB_NAMESPACE, '')}"
        )
        self._plan = planner(common, engine.dialect.name)
        self._tracer = telemetry.tracer
        self._duration = telemetry.duration
        self._durations = SeriesOf(telemetry.duration)
        self._slow_s = slow_s or float("inf")
        self._repeated_limit = repeated_limit
        self._is_beside_contrib = False

    def taken(self, *_: object) -> None:
        """Look whether another instrumentation watches the same driver."""
        self._is_beside_contrib = contrib.is_active()

    def before(
        self,
        connection: Connection,
        _cursor: object,
        sql: str,
        parameters: Any,
        context: Any,
        executemany: bool,  # noqa: FBT001 - the signature of SQLAlchemy's event
    ) -> None:
        with guarded("database.telemetry.before"):
            rows = _rows_of_insert(context, parameters) if executemany else None
            # Its text differs by the number of rows; what it was made from is always the same.
            plan = self._plan(sql if rows is None else context.statement)
            if plan is None or context.execution_options.get(UNTRACED):
                return
            connection.info[LAST_STATEMENT] = plan.name
            attributes = plan.span_attributes
            if executemany and (size := rows or len(parameters)) > 1:
                attributes = {**attributes, conv.DB_OPERATION_BATCH_SIZE: size}
            if self._repeated_limit and (repeated := self._count(plan)):
                attributes = {**attributes, conv.GLAM_DB_REPEATED_QUERY_COUNT: repeated}
            token = None
            span = contrib.span_of(context) if self._is_beside_contrib else None
            is_ours = span is None
            if span is None:
                span = self._tracer.start_span(
                    plan.name, kind=SpanKind.CLIENT, attributes=attributes
                )
            else:
                contrib.join(span, plan.name, attributes)
            if self._is_beside_contrib:
                token = contrib.silence()
            setattr(context, _STATE, _Running(span, is_ours, plan, perf_counter(), token))

    def _count(self, plan: Plan) -> int | None:
        """Count a statement; return how many it were once they are too many."""
        counts = current_counts()
        if counts is None:
            return None
        count = counts[plan.name] = counts.get(plan.name, 0) + 1
        if count <= self._repeated_limit:
            return None
        if count == self._repeated_limit + 1:
            trace.get_current_span().set_attribute(conv.GLAM_DB_REPEATED_QUERY, plan.name)
            _log.warning(
                "database.repeated_query",
                summary=plan.name,
                count=count,
                hint="Load what belongs together at once, for example with selectinload().",
            )
        return count

    def after(
        self,
        _connection: Connection,
        cursor: object,
        _sql: str,
        _parameters: Any,
        context: Any,
        _executemany: bool,  # noqa: FBT001 - the signature of SQLAlchemy's event
    ) -> None:
        running: _Running | None = context.__dict__.pop(_STATE, None)
        if running is None:
            return
        with guarded("database.telemetry.after"):
            self._finish(running, {})
            if running.token is not None:
                contrib.quieten(cursor)

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
            # Not the exception itself: its text may hold the values of a row.
            running.span.set_attributes(outcome)
            running.span.set_status(Status(StatusCode.ERROR, type(original).__name__))
            self._finish(running, outcome)

    def _finish(self, running: _Running, outcome: dict[str, AttributeValue]) -> None:
        taken_s = perf_counter() - running.started
        if running.token is not None:
            otel.detach(running.token)
        plan = running.plan
        if outcome:
            self._duration.record(taken_s, {**plan.metric_attributes, **outcome})
        else:
            series = self._durations
            (series.get(plan.series) or series.add(plan.series, plan.metric_attributes))(taken_s)
        if taken_s >= self._slow_s:
            _log_slow(running, taken_s)
        if running.is_ours:
            running.span.end()


def _rows_of_insert(context: Any, parameters: Sequence[object]) -> int | None:
    """Count the INSERTs that SQLAlchemy sends as one statement; None for any other execution."""
    if context.execute_style is not ExecuteStyle.INSERTMANYVALUES:
        return None
    made = context.compiled._insertmanyvalues  # noqa: SLF001 - no event tells of it
    of_one = sum(len(names) for *_, names in made.insert_crud_params)
    more = len(parameters) - len(context.parameters[0])
    return 1 + more // of_one if of_one else 1


def _log_slow(running: _Running, taken_s: float) -> None:
    running.span.set_attribute(conv.GLAM_DB_SLOW_QUERY, True)
    # Under the statement's own span, so that the line's ids lead to it.
    with trace.use_span(running.span, record_exception=False, set_status_on_exception=False):
        _log.warning(
            "database.slow_query",
            duration_ms=round(taken_s * 1000, 1),
            summary=running.plan.name,
            query=running.plan.span_attributes[conv.DB_QUERY_TEXT],
        )
