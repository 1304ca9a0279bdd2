"""Carry events over NATS JetStream: publish, subscribe, and keep the connection."""

from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.dead_letter_box import DeadLetterBox, StoredLetter
from glam_sdk.messaging.delivery import (
    AlreadyHandled,
    ConsumerPolicy,
    Delivery,
    HandlerScope,
    HandlerSpec,
)
from glam_sdk.messaging.domain_publisher import DomainEventPublisher
from glam_sdk.messaging.domain_subscriber import DomainEventSubscriber, EventContextManager
from glam_sdk.messaging.errors import MessageTooLargeError, StreamFullError
from glam_sdk.messaging.handlers import handles
from glam_sdk.messaging.outgoing import BatchReport, Outgoing
from glam_sdk.messaging.pace import Pacing
from glam_sdk.messaging.pause import pause_consumer, resume_consumer
from glam_sdk.messaging.publisher import MAX_HEADER_BYTES, Publisher
from glam_sdk.messaging.retry import Backoff, Permanent, Retry
from glam_sdk.messaging.subscriber import Subscriber
from glam_sdk.messaging.telemetry import MessagingTelemetry
from glam_sdk.messaging.topology import StreamPlan, StreamTopology, ensure_stream, plan_stream
from glam_sdk.messaging.wrapper import JetStreamWrapper

__all__ = [
    "MAX_HEADER_BYTES",
    "AlreadyHandled",
    "Backoff",
    "BatchReport",
    "ConsumerPolicy",
    "DeadLetterBox",
    "Delivery",
    "DomainEventPublisher",
    "DomainEventSubscriber",
    "EventContextManager",
    "HandlerScope",
    "HandlerSpec",
    "JetStreamWrapper",
    "MessageTooLargeError",
    "MessagingTelemetry",
    "Nats",
    "Outgoing",
    "Pacing",
    "Permanent",
    "Publisher",
    "Retry",
    "StoredLetter",
    "StreamFullError",
    "StreamPlan",
    "StreamTopology",
    "Subscriber",
    "ensure_stream",
    "handles",
    "pause_consumer",
    "plan_stream",
    "resume_consumer",
]
