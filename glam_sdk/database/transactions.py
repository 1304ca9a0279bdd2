"""Observe one transaction: its INTERNAL span, and how often it asks the same thing.

The span is opened under an open span only: alone it would explain nothing, and whoever polls the
database in the background would fill the traces with it.
"""

from __future__ import annotations

from collections import OrderedDict
from contextvars import Token
from typing import Final, cast

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Tracer
from opentelemetry.util.types import AttributeValue

from glam_sdk._internal.guard import guarded
from glam_sdk.context import request_id
from glam_sdk.database.operations import mark_failed
from glam_sdk.telemetry import conventions as conv

_COUNTS: Final = otel.create_key("glam.database.counts")
_REQUESTS_KEPT: Final = 512

Counts = dict[str, int]


class TransactionTelemetry:
    """Be the span and the counts of one transaction, current until it is closed."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span | None, token: Token[Context]) -> None:
        self._span = span
        self._token = token

    def close(self, error: BaseException | None) -> None:
        """End it.

        Args:
            error: What the transaction was rolled back for; None when it committed.
        """
        with guarded("database.transaction"):
            otel.detach(self._token)
            if self._span is None:
                return
            outcome = "committed" if error is None else "rolled_back"
            self._span.set_attribute(conv.GLAM_DB_TRANSACTION_OUTCOME, outcome)
            if error is not None:
                mark_failed(self._span, error)
            self._span.end()


class TransactionObserver:
    """Open the telemetry of transactions.

    Args:
        tracer: Of the transaction spans; None for no such spans.
        attributes: Of every such span.
        counting: Whether statements are counted.
    """

    def __init__(
        self, tracer: Tracer | None, attributes: dict[str, AttributeValue], *, counting: bool
    ) -> None:
        self._tracer = tracer
        self._attributes = {
            read_only: {**attributes, conv.GLAM_DB_TRANSACTION_READ_ONLY: read_only}
            for read_only in (False, True)
        }
        self._counting = counting
        self._of_requests: OrderedDict[str, Counts] = OrderedDict()

    def begin(self, *, read_only: bool) -> TransactionTelemetry | None:
        """Open a span and make it current, and the counts with it; None without an open span."""
        if not trace.get_current_span().is_recording():
            return None
        span: Span | None = None
        here = otel.get_current()
        if self._tracer is not None:
            span = self._tracer.start_span("transaction", attributes=self._attributes[read_only])
            here = trace.set_span_in_context(span, here)
        if self._counting and counts_in(here) is None:
            here = otel.set_value(_COUNTS, self._counts_of_request(), here)
        return TransactionTelemetry(span, otel.attach(here))

    def _counts_of_request(self) -> Counts:
        """Return the counts of the request, which may use several transactions."""
        request = request_id()
        if request is None:
            return {}
        counts = self._of_requests.setdefault(request, {})
        while len(self._of_requests) > _REQUESTS_KEPT:
            self._of_requests.popitem(last=False)
        return counts


def counts_in(context: Context) -> Counts | None:
    """Return how often the work in a context has executed each statement, by summary."""
    return cast("Counts | None", context.get(_COUNTS))
