"""Run one attempt at a message under its CONSUMER span, and tell of it when nobody waits.

What failed is told at once, as its settlement follows from it. The line about what went well is
written at the end of the event loop's turn, for all that were handled in it in a row; to measure it
costs less than to put that off.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, time_ns
from types import TracebackType
from typing import TYPE_CHECKING

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import get_current_span

from glam_sdk._internal.guard import guarded, report
from glam_sdk.context import SPAN_KEY
from glam_sdk.telemetry.tracing import Span, span

if TYPE_CHECKING:
    from glam_sdk.messaging.process_telemetry import ProcessTelemetry
    from glam_sdk.messaging.work import Work

Note = Callable[["Work", float, int], None]
"""Takes an attempt that went well, the seconds it took, and when it ended (Unix time, ns)."""


class Processing(span):
    """Be one attempt, under its span and in the sender's context from now to its end.

    Where its span cannot start, it goes on below the sender's.

    Args:
        observed: Makes the span and takes the measurements.
        work: The message and what is known about it.
        note: Called inside the span for an attempt that went well, when it is told; None where
            nobody wants to know.
    """

    __slots__ = ("_duration_s", "_ended_ns", "_note", "_observed", "_started", "_work")
    _duration_s: float
    _ended_ns: int

    def __init__(self, observed: ProcessTelemetry, work: Work, note: Note | None) -> None:
        self._observed = observed
        self._work = work
        self._note = note
        try:
            current = observed.start_span(work)
        except Exception as failure:  # noqa: BLE001 - somebody's processor or sampler
            report("messaging.start_span", failure)
            current = get_current_span(work.context)
        self._span = current
        self._token = attach(Context({**work.context, SPAN_KEY: current}))
        self._started = perf_counter()

    @property
    def elapsed_s(self) -> float:
        """How long it has taken so far."""
        return perf_counter() - self._started

    def __enter__(self) -> Span:
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is None:
            self.succeed()
            return
        with guarded("messaging.measure"):
            self._observed.measure_failed(perf_counter() - self._started, exc)
        super().__exit__(kind, exc, tb)

    def succeed(self) -> None:
        """End an attempt that went well; raises nothing."""
        self._duration_s = perf_counter() - self._started
        self._ended_ns = time_ns()
        try:
            self._observed.measure(self._duration_s)
        except Exception as failure:  # noqa: BLE001 - the guard decides
            report("messaging.measure", failure)
        if self._note is not None:
            self._observed.tell_later(self)  # here, where it sees what the handler put on its lines
        detach(self._token)
        try:
            self._span.end(self._ended_ns)
        except Exception as failure:  # noqa: BLE001 - somebody's processor
            report("messaging.end", failure)

    def tell(self) -> None:
        """Note what went well; raises nothing."""
        try:
            if self._note is not None:
                self._note(self._work, self._duration_s, self._ended_ns)
        except Exception as failure:  # noqa: BLE001 - telemetry never breaks the message
            report("messaging.note", failure)
