"""Hold a consumer for a time, and let it go on (NATS 2.11)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.errors import translated


async def pause_consumer(nats: Nats, stream: str, durable: str, duration: timedelta) -> datetime:
    """Let a durable consumer deliver nothing for a time, in all processes; return until when.

    What was delivered already is finished and acknowledged.

    Raises:
        MessageBusError: There is no such consumer, or the server could not be asked.
    """
    until = datetime.now(UTC) + duration
    with translated("pause consumer of", stream=stream):
        await nats.jetstream.pause_consumer(
            stream, durable, until.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        )
    return until


async def resume_consumer(nats: Nats, stream: str, durable: str) -> None:
    """Let a paused consumer deliver again.

    Raises:
        MessageBusError: There is no such consumer, or the server could not be asked.
    """
    with translated("resume consumer of", stream=stream):
        await nats.jetstream.resume_consumer(stream, durable)
