"""Carry events over NATS JetStream: publish, subscribe, and keep the connection."""

from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.delivery import (
    AlreadyHandled,
    ConsumerPolicy,
    Delivery,
    HandlerScope,
    HandlerSpec,
)
from glam_sdk.messaging.errors import MessageTooLargeError
from glam_sdk.messaging.handlers import handles
from glam_sdk.messaging.publisher import MAX_HEADER_BYTES, Publisher
from glam_sdk.messaging.subscriber import Subscriber
from glam_sdk.messaging.telemetry import MessagingTelemetry
from glam_sdk.messaging.topology import StreamTopology, ensure_stream

__all__ = [
    "MAX_HEADER_BYTES",
    "AlreadyHandled",
    "ConsumerPolicy",
    "Delivery",
    "HandlerScope",
    "HandlerSpec",
    "MessageTooLargeError",
    "MessagingTelemetry",
    "Nats",
    "Publisher",
    "StreamTopology",
    "Subscriber",
    "ensure_stream",
    "handles",
]
