"""Run one attempt at a message under its CONSUMER span, and tell of it when nobody waits.

What failed is told at once, as its settlement follows from it. What went well is told at the end of
the event loop's turn, for all that were handled in it in a row.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, time_ns
from types import TracebackType
from typing import TYPE_CHECKING

from opentelemetry.context import Context, attach, detach, get_current

from glam_sdk._internal.guard import guarded, report
from glam_sdk.context import SPAN_KEY
from glam_sdk.telemetry.tracing import Span, span

if TYPE_CHECKING:
    from glam_sdk.messaging.process_telemetry import ProcessTelemetry
    from glam_sdk.messaging.work import Work

Note = Callable[["Work", float, int], None]
"""Takes an attempt that went well, the seconds it took, and when it ended (Unix time, ns)."""


class Processing(span):
    """Run a block under the span of one attempt, in the sender's context.

    Args:
        observed: Makes the span and takes the measurements.
        work: The message and what is known about it.
        note: Called inside the span for an attempt that went well, when it is told.
    """

    __slots__ = ("_context", "_duration_s", "_ended_ns", "_note", "_observed", "_started", "_work")
    _context: Context
    _duration_s: float
    _ended_ns: int

    def __init__(self, observed: ProcessTelemetry, work: Work, note: Note) -> None:
        self._observed = observed
        self._work = work
        self._note = note

    def __enter__(self) -> Span:
        work = self._work
        current = self._span = self._observed.start_span(work)
        self._token = attach(Context({**work.origin.context, SPAN_KEY: current}))
        self._started = perf_counter()
        return current

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._duration_s = perf_counter() - self._started
        if exc is None:
            self._ended_ns = time_ns()
            self._context = get_current()  # with what the handler has put on its lines
            detach(self._token)
            self._end()
            self._observed.tell_later(self)
            return
        self._measure(exc)
        super().__exit__(kind, exc, tb)

    def tell(self) -> None:
        """Measure and note what went well; raises nothing."""
        token = attach(self._context)
        try:
            self._measure(None)
            self._note(self._work, self._duration_s, self._ended_ns)
        except Exception as failure:  # noqa: BLE001 - telemetry never breaks the message
            report("messaging.note", failure)
        finally:
            detach(token)

    def _end(self) -> None:
        try:
            self._span.end(self._ended_ns)
        except Exception as failure:  # noqa: BLE001 - somebody's processor
            report("messaging.end", failure)

    def _measure(self, exc: BaseException | None) -> None:
        try:
            self._observed.measure(self._duration_s, exc)
        except Exception:  # the guard decides, and costs nothing when all is well
            with guarded("messaging.measure"):
                raise
