"""Tie messages to transactions: an outbox for what is sent, an inbox for what is received."""

from glam_sdk.outbox.inbox import inbox_scope
from glam_sdk.outbox.models import InboxRow, OutboxRow, outbox_metadata
from glam_sdk.outbox.pace import BatchPublisher, RawPublisher, RelayPace
from glam_sdk.outbox.relay import Relay
from glam_sdk.outbox.writer import OutboxWriter

__all__ = [
    "BatchPublisher",
    "InboxRow",
    "OutboxRow",
    "OutboxWriter",
    "RawPublisher",
    "Relay",
    "RelayPace",
    "inbox_scope",
    "outbox_metadata",
]
