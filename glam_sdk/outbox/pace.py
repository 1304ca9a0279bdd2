"""Say what a relay sends with, and at what pace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, runtime_checkable

from glam_sdk.messaging import BatchReport, Outgoing


class RawPublisher(Protocol):
    """Send bytes and wait for the stream's acknowledgement."""

    async def publish_raw(
        self,
        subject: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout: timedelta,  # noqa: ASYNC109 - covers the publisher's own retries
    ) -> bool:
        """Send one message; return whether the stream had it already, raise if it has it not."""
        ...


@runtime_checkable
class BatchPublisher(Protocol):
    """Send many messages at once; a relay makes use of it where a publisher can."""

    async def publish_batch(
        self,
        messages: Sequence[Outgoing],
        *,
        timeout: timedelta,  # noqa: ASYNC109 - covers the publisher's own retries
    ) -> BatchReport:
        """Send messages, those of one lane in order; say what became of each, raise for none."""
        ...


@dataclass(frozen=True, slots=True)
class RelayPace:
    """Set how often the relay looks and how much it sends."""

    poll: timedelta = timedelta(seconds=1)
    """Look at least this often; a commit in this process wakes the relay at once."""
    batch: int = 500
    """How many messages are read at a time."""
    publish_timeout: timedelta = timedelta(seconds=5)
    """How long one message may take to be acknowledged."""
    first_backoff: timedelta = timedelta(milliseconds=200)
    """Wait after a failure; doubled after each further one."""
    max_backoff: timedelta = timedelta(seconds=30)
    """Longest wait between attempts."""
    drain: timedelta = timedelta(seconds=5)
    """How long stopping may go on sending."""
    keep_sent: timedelta = timedelta(0)
    """How long sent messages are kept in the table; by default they are deleted at once."""
    keep_inbox: timedelta = timedelta(days=14)
    """How long the inbox remembers; longer than any stream keeps a message."""
    observe_every: timedelta = timedelta(seconds=10)
    """How often the gauges of waiting messages and their age are set."""
    clean_every: timedelta = timedelta(hours=1)
    """How often what is old is deleted."""
