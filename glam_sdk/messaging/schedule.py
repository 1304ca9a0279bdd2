"""Let the server hold a message back until its time has come (NATS 2.12, ADR-51)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nats.js import api

from glam_sdk.events import Envelope, domain_of
from glam_sdk.messaging.outgoing import Outgoing


def scheduled(message: Outgoing, envelope: Envelope, delay: timedelta) -> Outgoing:
    """Return the message that makes the server publish another one after a delay.

    It is stored under a subject of its own, ``cmd.<domain>.glam_schedule.<idempotency key>``, which
    the server empties when it has published the message itself.
    """
    due = datetime.now(UTC) + delay
    key = "".join(c if c.isalnum() or c in "-_" else "_" for c in envelope.idempotency_key)
    headers = {
        **message.headers,
        api.Header.SCHEDULE.value: f"@at {due.strftime('%Y-%m-%dT%H:%M:%S.%fZ')}",
        api.Header.SCHEDULE_TARGET.value: message.subject,
    }
    subject = f"cmd.{domain_of(message.subject)}.glam_schedule.{key}"
    return Outgoing(subject, message.body, headers)
