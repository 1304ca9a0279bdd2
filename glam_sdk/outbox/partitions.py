"""Divide an outbox, so that several relays send at once and what belongs together keeps its order.

A message's partition follows from its event's key, else from the domain of its subject. One relay
at a time has a partition. The number is written with the row: it never changes.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from glam_sdk.events import Envelope, Event, domain_of

PARTITIONS: Final = 64


def partition_of(event: Event | Envelope, subject: str) -> int:
    """Return the partition of an event: the same for all events of one key."""
    name = event.event_key if isinstance(event, Event) else ""
    value = getattr(event, name) if name else None
    return crc32(str(domain_of(subject) if value is None else value).encode()) % PARTITIONS
