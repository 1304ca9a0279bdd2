"""Take one message through everything between its bytes and its settlement.

Flow: steps 11 to 14: extract, CONSUMER span, scope (inbox), handler, settle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import timedelta
from time import perf_counter
from typing import Final

import nats.errors
from opentelemetry import context as otel
from opentelemetry.context import Context

from glam_sdk.context import correlation_id, is_valid_id, with_correlation_id
from glam_sdk.events import Envelope, MalformedEventError, decode
from glam_sdk.messaging.delivery import (
    AlreadyHandled,
    ConsumerPolicy,
    Delivery,
    HandlerScope,
    Incoming,
)
from glam_sdk.messaging.errors import describe
from glam_sdk.messaging.handlers import BoundHandler
from glam_sdk.messaging.telemetry import MessagingTelemetry
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.propagation import extract
from glam_sdk.telemetry.tracing import Span, error_type

_HANDLED: Final = "handled"
_DUPLICATE: Final = "duplicate"
_log = get_logger(__name__)


class Pipeline:
    """Process messages of one durable consumer.

    What succeeded is acked. Everything else is handed back, to be delivered again after a delay:
    a failed handler by the policy's backoff; a message that cannot be read, or that failed
    ``max_attempts`` times, after the longest delay, for as long as the stream keeps it. So nothing
    is lost, and the log says at level error what needs a human.

    Args:
        durable: Name of the consumer.
        handlers: Handlers by subject.
        scope: Opened around each call.
        policy: Delays and attempts.
        telemetry: Where spans and measurements go.
    """

    def __init__(
        self,
        *,
        durable: str,
        handlers: Mapping[str, BoundHandler],
        scope: HandlerScope,
        policy: ConsumerPolicy,
        telemetry: MessagingTelemetry,
    ) -> None:
        self._durable = durable
        self._handlers = handlers
        self._scope = scope
        self._policy = policy
        self._telemetry = telemetry

    async def process(self, message: Incoming) -> None:
        """Handle and settle one message; raises nothing but a cancellation.

        Run it in a task of its own: contexts are attached here and detached at the end, and a task
        keeps what a handler does to context variables from the next message.
        """
        decoded = _decoded(message)
        token = otel.attach(_context_of(message.headers, decoded))
        try:
            try:
                await self._handle(message, decoded)
            except Exception as exc:  # noqa: BLE001 - whatever a handler raises is settled here
                await _settle(message, message.nak(self._delay(message, exc)))
            except asyncio.CancelledError:
                await _settle(message, message.nak())
                raise
            else:
                await _settle(message, message.ack())
        finally:
            otel.detach(token)

    async def _handle(self, message: Incoming, decoded: Envelope | MalformedEventError) -> None:
        started = perf_counter()
        fields = self._fields(message, decoded)
        with self._telemetry.processing(
            message.subject,
            durable=self._durable,
            attempt=message.attempt,
            envelope=decoded if isinstance(decoded, Envelope) else None,
            size_bytes=len(message.body),
        ) as span:
            try:
                outcome = await self._call(message, decoded)
            except Exception as exc:
                self._log_failure(message, fields, exc)
                raise
            _note_success(span, outcome, started, fields)

    async def _call(self, message: Incoming, envelope: Envelope | MalformedEventError) -> str:
        if isinstance(envelope, MalformedEventError):
            raise envelope
        handler = self._handlers.get(message.subject)
        if handler is None:
            raise MalformedEventError(
                f"{self._durable} has no handler for {message.subject}; other events come to it "
                "through the filter of its consumer."
            )
        event = handler.spec.event.from_envelope(envelope)
        delivery = Delivery(
            envelope=envelope,
            headers=message.headers,
            stream=message.stream,
            durable=self._durable,
            sequence=message.sequence,
            attempt=message.attempt,
        )
        try:
            async with self._scope(handler.spec, delivery) as provided:
                await handler(event, delivery, provided)
        except AlreadyHandled:
            return _DUPLICATE
        return _HANDLED

    def _delay(self, message: Incoming, exc: Exception) -> timedelta:
        if isinstance(exc, MalformedEventError):
            return max(self._policy.backoff)
        return self._policy.delay_after(message.attempt)

    def _log_failure(
        self, message: Incoming, fields: Mapping[str, str | int], exc: Exception
    ) -> None:
        malformed = isinstance(exc, MalformedEventError)
        hopeless = malformed or message.attempt >= self._policy.max_attempts
        (_log.error if hopeless else _log.warning)(
            "message.failed",
            **fields,
            reason="malformed" if malformed else "handler",
            error_type=error_type(exc),
            retry_in_s=self._delay(message, exc).total_seconds(),
            exc_info=exc,
        )

    def _fields(
        self, message: Incoming, decoded: Envelope | MalformedEventError
    ) -> dict[str, str | int]:
        fields: dict[str, str | int] = {
            "subject": message.subject,
            "durable": self._durable,
            "stream": message.stream,
            "sequence": message.sequence,
            "attempt": message.attempt,
        }
        if isinstance(decoded, Envelope):
            fields["event_id"] = decoded.event_id
        return fields


def _note_success(
    span: Span, outcome: str, started: float, fields: Mapping[str, str | int]
) -> None:
    if outcome != _HANDLED:
        span.set_attribute(conv.GLAM_OUTCOME, outcome)
    duration_ms = round((perf_counter() - started) * 1000, 3)
    _log.info("message.handled", outcome=outcome, duration_ms=duration_ms, **fields)


def _decoded(message: Incoming) -> Envelope | MalformedEventError:
    try:
        return decode(message.body)
    except MalformedEventError as exc:
        return exc


def _context_of(headers: Mapping[str, str], decoded: Envelope | MalformedEventError) -> Context:
    """Return the sender's context, and the correlation id also of one that sent no baggage."""
    context = extract(headers, Context())
    if correlation_id(context) is None and isinstance(decoded, Envelope):
        known = decoded.correlation_id
        if known is not None and is_valid_id(known):
            context = with_correlation_id(known, context)
    return context


async def _settle(message: Incoming, settlement: Awaitable[None]) -> None:
    try:
        await settlement
    except (nats.errors.Error, OSError) as exc:
        # Not settled means delivered again after ack_wait.
        _log.warning(
            "message.settle_failed",
            subject=message.subject,
            sequence=message.sequence,
            reason=describe(exc),
        )
