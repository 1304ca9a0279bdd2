"""Publish events as dictionaries: the class-based face that services were written against.

It is the same runtime as :class:`~glam_sdk.messaging.Publisher`; new code publishes typed events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel

from glam_sdk.errors import MessageBusError
from glam_sdk.events import Envelope, EventContext, answer_metadata, get_stream_from_subject
from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.publisher import Publisher

Payload = Mapping[str, Any] | BaseModel


class DomainEventPublisher:
    """Publish the events of one domain, all of them in one stream.

    ::

        class CatalogPublisher(DomainEventPublisher):
            domain_stream = "CATALOG"

    Args:
        nats: Connection to use.
        service_name: Goes into ``metadata.source_service``.
        domain_stream: Stream of the domain, where the class does not state it.

    Raises:
        ValueError: No stream was stated.
    """

    domain_stream: ClassVar[str] = ""

    def __init__(self, nats: Nats, service_name: str, *, domain_stream: str | None = None) -> None:
        self.service_name = service_name
        self._stream = domain_stream or self.domain_stream
        if not self._stream:
            raise ValueError(
                f"{type(self).__name__} has no stream. State it in the class: "
                'domain_stream = "CATALOG".'
            )
        self._publisher = Publisher(nats, service_name)

    async def publish_event(
        self,
        subject: str,
        payload: Payload,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Publish an event and return its id once the stream has it.

        A copy that the stream dropped is reported in log and span, and is no error.

        Raises:
            MessageBusError: The subject belongs to another stream and nothing was sent, or no
                stream acknowledged it in time.
        """
        self._check(subject)
        context = EventContext.create(
            subject,
            source_service=self.service_name,
            correlation_id=correlation_id,
            idempotency_key=idempotency_key,
            metadata=metadata,
        )
        return await self._publish(context.envelope(_plain(payload)))

    async def publish_command(
        self,
        subject: str,
        payload: Payload,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Publish a command; ``cmd.`` is put before the subject where it is missing."""
        return await self.publish_event(
            _prefixed("cmd.", subject), payload, correlation_id, idempotency_key, metadata
        )

    async def publish_event_response(
        self,
        subject: str,
        payload: Payload,
        original_event: Mapping[str, Any] | Envelope,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Publish the answer to an event; ``evt.`` is put before the subject where it is missing.

        The answer names the event it answers and keeps its correlation id.
        """
        asked = EventContext.from_event(original_event)
        answer = answer_metadata(asked.envelope({}))
        return await self.publish_event(
            _prefixed("evt.", subject),
            payload,
            correlation_id=asked.correlation_id,
            metadata={**answer, **(metadata or {})},
        )

    async def _publish(self, envelope: Envelope) -> str:
        await self._publisher.publish(envelope)
        return envelope.event_id

    def _check(self, subject: str) -> None:
        try:
            found = get_stream_from_subject(subject)
        except ValueError as exc:
            raise self._refusal(subject, str(exc)) from exc
        if found != self._stream:
            raise self._refusal(subject, f"It belongs to stream {found}.")

    def _refusal(self, subject: str, reason: str) -> MessageBusError:
        return MessageBusError(
            f"{subject} is not published to stream {self._stream}. {reason}",
            operation="publish",
            stream=self._stream,
            subject=subject,
            retryable=False,
        )


def _plain(payload: Payload) -> Mapping[str, Any]:
    return payload.model_dump(by_alias=True) if isinstance(payload, BaseModel) else payload


def _prefixed(prefix: str, subject: str) -> str:
    return subject if subject.startswith(prefix) else prefix + subject
