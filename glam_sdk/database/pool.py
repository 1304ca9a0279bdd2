"""Measure a connection pool, and know who holds its connections when it has none left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from operator import itemgetter
from time import perf_counter
from typing import TYPE_CHECKING, Final
from weakref import ReferenceType, WeakKeyDictionary, WeakSet, ref

from opentelemetry import metrics, trace
from opentelemetry.context import Context, get_current
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.util.types import AttributeValue
from sqlalchemy import event, exc
from sqlalchemy.engine import Engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from glam_sdk.errors import DatabaseError
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.metrics import Meter, duration_histogram
from glam_sdk.telemetry.series import SeriesOf

if TYPE_CHECKING:
    from sqlalchemy.pool import ConnectionPoolEntry

LAST_STATEMENT: Final = "glam_last_statement"
"""Key in a pool entry's ``record_info`` of the summary of what its holder executed last."""

_HOLDERS_SHOWN: Final = 5
_log = get_logger("glam_sdk.database")


_Holder = tuple[float, "ReferenceType[asyncio.Task[object]] | None", Context, "ConnectionPoolEntry"]
"""Since when, by whom, in which context and what is held; put into words when it matters."""


class PoolWatch:
    """Know how one engine's pool is.

    Args:
        instruments: Where waiting is recorded.
        name: Of the pool, in metrics.
    """

    def __init__(self, instruments: PoolInstruments, name: str) -> None:
        self.attributes: dict[str, AttributeValue] = {conv.DB_CLIENT_CONNECTION_POOL_NAME: name}
        self.waiting = 0
        self._name = name
        self.engine: Engine | None = None
        self._instruments = instruments
        self._holders: dict[int, _Holder] = {}
        self._is_told = False

    def pool_class(self) -> type[AsyncAdaptedQueuePool]:
        """Return a pool class that tells this watch who waits, how long, in vain, and who holds."""
        watch = self
        self._is_told = True

        class Pool(AsyncAdaptedQueuePool):
            # SQLAlchemy's levels go by its names, and this one's lines are below the usual.
            _sqla_logger_namespace = "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"

            def _do_get(self) -> ConnectionPoolEntry:
                started = perf_counter()
                watch.waiting += 1
                try:
                    record = super()._do_get()
                except exc.TimeoutError:
                    raise watch.exhausted(perf_counter() - started) from None  # says less
                finally:
                    watch.waiting -= 1
                    watch.waited(perf_counter() - started)
                watch.taken(None, record)
                return record

            def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
                watch.given_back(None, record)
                super()._do_return_conn(record)

        return Pool

    def watch(self, engine: Engine) -> None:
        """Learn of each connection that is taken and given back."""
        self.engine = engine
        self._instruments.pools.add(self)
        if not self._is_told:
            event.listen(engine, "checkout", self.taken)
            event.listen(engine, "checkin", self.given_back)

    def waited(self, seconds: float) -> None:
        """Record how long somebody waited for a connection."""
        waits = self._instruments.waits
        (waits.get(self._name) or waits.add(self._name, self.attributes))(seconds)

    def exhausted(self, waited_s: float) -> DatabaseError:
        """Log who holds the connections and return the error for who got none."""
        self._instruments.timeouts.add(1, self.attributes)
        holders = sorted(self._holders.values(), key=itemgetter(0))
        shown = [_told(holder) for holder in holders[:_HOLDERS_SHOWN]]
        _log.warning(
            "database.pool_exhausted",
            waited_s=round(waited_s, 3),
            in_use=len(holders),
            held_by=shown,
        )
        error = DatabaseError(
            f"No database connection became free within {waited_s:.1f} s: all {len(holders)} are "
            "in use. Raise database.pool_size or shorten the transactions.",
            operation="connect",
        )
        # A note, not a detail: clients see details.
        error.add_note("Held longest by: " + "; ".join(shown))
        return error

    def taken(
        self, _connection: object, record: ConnectionPoolEntry, _proxy: object = None
    ) -> None:
        """Note who has a connection from now on; as SQLAlchemy calls a listener."""
        if (info := record.record_info) is not None:
            info[LAST_STATEMENT] = None
        self._holders[id(record)] = (perf_counter(), _current_task(), get_current(), record)

    def given_back(self, _connection: object, record: ConnectionPoolEntry) -> None:
        """Forget who had it."""
        self._holders.pop(id(record), None)


class PoolInstruments:
    """Hold the instruments of all pools that one meter measures; get it with :meth:`of`."""

    _made: Final[WeakKeyDictionary[object, PoolInstruments]] = WeakKeyDictionary()

    def __init__(self, meter: Meter) -> None:
        self.pools: WeakSet[PoolWatch] = WeakSet()
        self.waits = SeriesOf(
            duration_histogram(
                meter,
                conv.DB_CLIENT_CONNECTION_WAIT_TIME,
                description="Time it took to get a connection from the pool.",
                buckets=conv.DB_DURATION_BUCKETS,
            )
        )
        self.timeouts = meter.create_counter(
            conv.DB_CLIENT_CONNECTION_TIMEOUTS,
            unit="{timeout}",
            description="Requests for a connection that got none in time.",
        )
        for name, unit, description, read in _GAUGES:
            meter.create_observable_up_down_counter(
                name, [self._observer(read)], unit=unit, description=description
            )

    @classmethod
    def of(cls, meter: Meter, *, is_default: bool) -> PoolInstruments:
        """Return the instruments of a meter; made once, for callbacks can't be added later.

        Args:
            meter: What measures.
            is_default: Whether it is the global provider's, of which there are many copies.
        """
        key = metrics.get_meter_provider() if is_default else meter
        made = cls._made.get(key)
        if made is None:
            made = cls._made[key] = cls(meter)
        return made

    def _observer(self, read: _Read) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            found: list[Observation] = []
            for watch in list(self.pools):
                pool = watch.engine.pool if watch.engine is not None else None
                if isinstance(pool, QueuePool):
                    for value, labels in read(watch, pool):
                        found.append(Observation(value, {**watch.attributes, **labels}))
            return found

        return observe


_Read = Callable[[PoolWatch, QueuePool], list[tuple[int, dict[str, AttributeValue]]]]


def _count(_: PoolWatch, pool: QueuePool) -> list[tuple[int, dict[str, AttributeValue]]]:
    state = conv.DB_CLIENT_CONNECTION_STATE
    return [(pool.checkedin(), {state: "idle"}), (pool.checkedout(), {state: "used"})]


def _max(_: PoolWatch, pool: QueuePool) -> list[tuple[int, dict[str, AttributeValue]]]:
    return [] if pool._max_overflow < 0 else [(pool.size() + pool._max_overflow, {})]  # noqa: SLF001 - no public name


_GAUGES: Final[tuple[tuple[str, str, str, _Read], ...]] = (
    (
        conv.DB_CLIENT_CONNECTION_COUNT,
        "{connection}",
        "Connections that are currently in the state.",
        _count,
    ),
    (
        conv.DB_CLIENT_CONNECTION_MAX,
        "{connection}",
        "Connections that may be open at once.",
        _max,
    ),
    (
        conv.DB_CLIENT_CONNECTION_IDLE_MAX,
        "{connection}",
        "Idle connections that are kept at most.",
        lambda _, pool: [(pool.size(), {})],
    ),
    (
        conv.DB_CLIENT_CONNECTION_PENDING_REQUESTS,
        "{request}",
        "Requests that wait for a connection.",
        lambda watch, _: [(watch.waiting, {})],
    ),
)


def _current_task() -> ReferenceType[asyncio.Task[object]] | None:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    # A task keeps its result or error, and these may keep the connection: it would never come back.
    return None if task is None else ref(task)


def _told(holder: _Holder) -> str:
    since, of_task, opened_in, record = holder
    name = "no task"
    if of_task is not None:
        task = of_task()
        name = "a task that is gone" if task is None else task.get_name()
    of = trace.get_current_span(opened_in).get_span_context()
    trace_id = f" of trace {of.trace_id:032x}" if of.is_valid else ""
    doing = (record.record_info or {}).get(LAST_STATEMENT)
    last = f", last {doing}" if doing else ""
    return f"{name}{trace_id} for {perf_counter() - since:.1f} s{last}"
