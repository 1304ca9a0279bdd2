"""Give each SQL statement a CLIENT span and a duration, where SQLAlchemy's dialect sends it.

BEGIN, COMMIT and the like get none, nor does a statement or connection with the execution option
``glam_untraced``. Works for every engine, synchronous ones included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Token
from time import perf_counter, time_ns
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue
from sqlalchemy.engine import Engine
from sqlalchemy.engine.interfaces import ExecuteStyle

from glam_sdk._internal.guard import guarded, report
from glam_sdk.database import contrib
from glam_sdk.database.plans import Plan, common_attributes, known_by, planner
from glam_sdk.database.pool import LAST_STATEMENT, PoolInstruments, PoolWatch
from glam_sdk.database.redaction import driver_error, status_code
from glam_sdk.database.transactions import Counts, counts_in
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.metrics import Meter, duration_histogram, get_meter
from glam_sdk.telemetry.series import SeriesOf
from glam_sdk.telemetry.telling import is_seen, tell
from glam_sdk.telemetry.tracing import (
    OwnAttributes,
    Span,
    SpanKind,
    begun,
    error_type,
    get_tracer,
)

UNTRACED: Final = "glam_untraced"
"""Execution option of a statement or connection that is not to be seen in telemetry."""

_SCOPE: Final = "glam_sdk.database"
_SENDS: Final = "glam_sends"
"""Name in a dialect's observed call of the call that it observes."""
_ONE: Final = ExecuteStyle.EXECUTE
_log = get_logger("glam_sdk.database")


class _Running(NamedTuple):
    plan: Plan
    here: Context
    own: OwnAttributes
    open: _Open | None
    """Its span, where somebody may look at it; else one is told of when the statement is over."""
    began: int
    started: float


class _Open(NamedTuple):
    span: Span
    is_ours: bool
    token: Token[Context] | None


# The constructor of a NamedTuple is a function of its own, which costs more than the tuple.
_new: Final = cast("Callable[[type[_Running], tuple[object, ...]], _Running]", tuple.__new__)


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

        A connection that is in use meanwhile is observed from when it is taken the next time; an
        engine that is observed already is observed by this one instead.

        Args:
            engine: Of SQLAlchemy; ``engine.sync_engine`` of an asynchronous one.
            slow_query_s: Seconds from which a statement is logged as slow; 0 for never.
            repeated_query_limit: Equal statements a request may send before a hint; 0 for any.
            pool: Watches the engine's pool; made here when the engine was not built with one.
        """
        statements = _Statements(self, engine, slow_query_s, repeated_query_limit)
        watch = pool or PoolWatch(self.pools, statements.pool_name)
        watch.watch(engine)
        # Not by the engine's events: listeners of those, though they do nothing, cost each of its
        # connections a set of joined dispatchers.
        for call in ("do_execute", "do_executemany", "do_execute_no_params"):
            send = getattr(engine.dialect, call)
            send = getattr(send, _SENDS, send)  # observed already: a statement is one span
            setattr(engine.dialect, call, statements.observed(send))


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

    def observed(self, send: Callable[..., None]) -> Callable[..., None]:
        """Return a dialect's way to send a statement, observed.

        Args:
            send: Its last argument is the execution's context.
        """

        def execute(cursor: object, sql: str, *rest: Any) -> None:
            running = self._begin(sql, rest)
            if running is None:
                send(cursor, sql, *rest)
                return
            try:
                send(cursor, sql, *rest)
            except BaseException as error:
                self._fail(running, error)
                raise
            self._succeed(running, cursor)

        setattr(execute, _SENDS, send)
        return execute

    def _begin(self, sql: str, rest: tuple[Any, ...]) -> _Running | None:
        try:
            context = rest[-1]
            if getattr(context, "statement", None) is sql and context.execute_style is _ONE:
                text, size = sql, 1  # as nearly all are
            else:
                text, size = known_by(sql, rest[0], context)
            plan = self._plan(text)
            if plan is None or context.execution_options.get(UNTRACED):
                return None
            info = context.root_connection.connection.record_info
            if info is not None:  # of a detached connection it is
                if LAST_STATEMENT not in info:
                    return None  # nobody has taken it yet: SQLAlchemy asks what the server can do
                info[LAST_STATEMENT] = plan.name
            here = otel.get_current()
            own: OwnAttributes = {}
            if size > 1:
                own[conv.DB_OPERATION_BATCH_SIZE] = size
            if (
                self._repeated_limit
                and (counts := counts_in(here)) is not None
                and (repeated := self._count(plan, counts))
            ):
                own[conv.GLAM_DB_REPEATED_QUERY_COUNT] = repeated
            opened = None
            if contrib.is_active():
                opened = self._open_beside_contrib(plan, own, context)
            elif is_seen(self._tracer):
                opened = _Open(self._start(plan, own, here), True, None)
            return _new(_Running, (plan, here, own, opened, time_ns(), perf_counter()))
        except Exception as exc:  # noqa: BLE001 - as guarded, which costs more than a look-up
            report("database.telemetry.before", exc)
            return None

    def _start(
        self, plan: Plan, own: OwnAttributes, here: Context, began: int | None = None
    ) -> Span:
        attributes = begun(self._tracer, plan.span_attributes, own)
        return self._tracer.start_span(
            plan.name, here, SpanKind.CLIENT, attributes, start_time=began
        )

    def _open_beside_contrib(self, plan: Plan, own: OwnAttributes, context: object) -> _Open:
        theirs = contrib.span_of(context)
        if theirs is None:
            span = self._start(plan, own, otel.get_current())
        else:
            span = contrib.join(theirs, plan.name, {**plan.span_attributes, **own})
        return _Open(span, theirs is None, contrib.silence())

    def _count(self, plan: Plan, counts: Counts) -> int | None:
        """Count a statement; return how many it were once they are too many."""
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

    def _succeed(self, running: _Running, cursor: object) -> None:
        try:
            plan, here, own, opened, began, started = running
            taken_s = perf_counter() - started
            if opened is not None and opened.token is not None:
                otel.detach(opened.token)
                contrib.quieten(cursor)
            series = self._durations
            (series.get(plan.series) or series.add(plan.series, plan.metric_attributes))(taken_s)
            if opened is None and taken_s < self._slow_s:
                tell(self._tracer, plan.form, here, own, (began, began + int(taken_s * 1e9)))
            else:
                self._end(running, taken_s)
        except Exception as exc:  # noqa: BLE001 - as above
            report("database.telemetry.after", exc)

    def _fail(self, running: _Running, error: BaseException) -> None:
        with guarded("database.telemetry.failed"):
            taken_s = perf_counter() - running.started
            if running.open is not None and running.open.token is not None:
                otel.detach(running.open.token)
            original = driver_error(error)
            outcome: dict[str, AttributeValue] = {conv.ERROR_TYPE: error_type(original)}
            code = status_code(original)
            if code is not None:
                outcome[conv.DB_RESPONSE_STATUS_CODE] = code
            self._duration.record(taken_s, {**running.plan.metric_attributes, **outcome})
            self._end(running, taken_s, original, outcome)

    def _end(
        self,
        running: _Running,
        taken_s: float,
        error: BaseException | None = None,
        outcome: Mapping[str, AttributeValue] = MappingProxyType({}),
    ) -> None:
        """Say on a span what is not usual, and end it."""
        plan, here, own, opened, began, _ = running
        span = self._start(plan, own, here, began) if opened is None else opened.span
        if error is not None:
            # Not the exception itself: its text may hold the values of a row.
            span.set_attributes(outcome)
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        if taken_s >= self._slow_s:
            _log_slow(span, plan, taken_s)
        if opened is None or opened.is_ours:
            span.end()


def _log_slow(span: Span, plan: Plan, taken_s: float) -> None:
    span.set_attribute(conv.GLAM_DB_SLOW_QUERY, True)
    # Under the statement's own span, so that the line's ids lead to it.
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        _log.warning(
            "database.slow_query",
            duration_ms=round(taken_s * 1000, 1),
            summary=plan.name,
            query=plan.span_attributes[conv.DB_QUERY_TEXT],
        )
