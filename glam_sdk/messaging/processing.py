"""Run one attempt at a message under its CONSUMER span, and tell of it when nobody waits.

What failed is told at once, as its settlement follows from it. What went well is measured, and its
line and its span are written, at the end of the event loop's turn, for all that were handled in it
in a row. Where somebody sees its span end, that and the measurement are not put off, nor is the
measurement where no span is recorded: it alone costs less than to put it off.
"""

from __future__ import annotations

import contextvars
from contextvars import copy_context
from time import perf_counter, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.trace import get_current_span

from glam_sdk._internal.current_context import attach, detach
from glam_sdk._internal.guard import guarded, report
from glam_sdk.context import SPAN_KEY
from glam_sdk.messaging.handled_lines import are_wanted
from glam_sdk.telemetry.tracing import NOTHING, Span, Tell, span, stop

if TYPE_CHECKING:
    from glam_sdk.messaging.process_telemetry import ProcessTelemetry
    from glam_sdk.messaging.work import Work

_set: Final = dict.__setitem__


class Processing(span):
    """Be one attempt, under its span and in the sender's context from now to its end.

    Where its span cannot start, it goes on below the sender's.

    Args:
        observed: Makes the span, takes the measurements and writes the line.
        work: The message and what is known about it.
    """

    __slots__ = (
        "_context",
        "_duration_s",
        "_ended_ns",
        "_line_context",
        "_observed",
        "_started",
        "_tell_span",
        "_work",
    )
    _context: Context
    _duration_s: float
    _ended_ns: int
    _line_context: contextvars.Context | None
    """What its line is written in; None where none is wanted."""
    _tell_span: Tell | None

    def __init__(self, observed: ProcessTelemetry, work: Work) -> None:
        self._observed = observed
        self._work = work
        try:
            current = observed.start_span(work)
        except Exception as failure:  # noqa: BLE001 - somebody's processor or sampler
            report("messaging.start_span", failure)
            current = get_current_span(work.context)
        self._span = current
        self._context = context = Context(work.carried)
        _set(context, SPAN_KEY, current)  # a context refuses it; nobody has seen this one yet
        self._token = attach(context)
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
        self._ended_ns = ended_ns = time_ns()
        current, tell = self._span, None
        try:
            if current.is_recording():
                tell = stop(current, ended_ns)
            if tell is None:
                self._observed.measure(self._duration_s)
        except Exception as failure:  # noqa: BLE001 - the guard decides
            report("messaging.measure", failure)
        self._tell_span = tell
        # With the fields that the handler put on its line; what such a line says costs more than to
        # ask whether it is wanted.
        self._line_context = copy_context() if are_wanted() else None
        detach(self._token)
        if tell is not None or self._line_context is not None:
            self._observed.tell_later(self)
        if tell is None:
            try:
                current.end(ended_ns)
            except Exception as failure:  # noqa: BLE001 - somebody's processor
                report("messaging.end", failure)

    def tell(self) -> None:
        """Tell what is left to tell of what went well; raises nothing."""
        if self._tell_span is not None:
            try:
                self._observed.measure(self._duration_s, self._context)
            except Exception as failure:  # noqa: BLE001 - telemetry never breaks the message
                report("messaging.measure", failure)
        if self._line_context is not None:
            try:
                note = self._observed.note
                self._line_context.run(note, self._work, self._duration_s, self._ended_ns)
            except Exception as failure:  # noqa: BLE001 - as above
                report("messaging.note", failure)
        if self._tell_span is not None:
            try:
                self._tell_span(None, NOTHING)
            except Exception as failure:  # noqa: BLE001 - as above
                report("messaging.end", failure)
