"""Declare what the notification service is told and what it tells."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from glam_sdk.events import Envelope, Event, envelope_of, format_timestamp


class Recipient(BaseModel):
    """Say who gets a mail, and what is special in theirs."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    merchant_id: UUID
    merchant_domain: str
    email: str
    unsubscribe_token: str
    dynamic_content: dict[str, Any] = Field(default_factory=dict)


class SendEmail(Event, subject="cmd.notification.send_email"):
    """Send one mail."""

    notification_type: str
    recipient: Recipient


class BulkSend(Event, subject="cmd.notification.bulk_send"):
    """Send one mail to each of many."""

    notification_type: str
    recipients: list[Recipient]


class EmailSent(Event, subject="evt.notification.email.sent"):
    """A mail was accepted by the provider."""

    notification_id: UUID | str
    merchant_id: UUID
    notification_type: str
    provider: str
    provider_message_id: str
    sent_at: datetime
    metadata: dict[str, Any] = Field(default_factory=dict)


class EmailFailed(Event, subject="evt.notification.email.failed"):
    """A mail could not be sent."""

    notification_id: UUID | str
    merchant_id: UUID
    notification_type: str
    error: str
    error_code: str
    retry_count: int
    will_retry: bool
    failed_at: datetime


class BulkSendCompleted(Event, subject="evt.notification.bulk_send.completed"):
    """Every mail of a bulk send was tried."""

    bulk_job_id: UUID | str
    notification_type: str
    total_recipients: int
    total_sent: int
    total_failed: int
    total_skipped: int
    duration_seconds: float
    completed_at: datetime


def create_send_email_command(
    notification_type: str,
    recipient: Recipient,
    *,
    source_service: str,
    idempotency_key: str | None = None,
    correlation_id: str | None = None,
    now: datetime | None = None,
) -> Envelope:
    """Return the command for one mail, ready to publish or to emit.

    Args:
        notification_type: What the mail is about.
        recipient: Who gets it.
        source_service: Name of the service that asks for it.
        idempotency_key: By default one for merchant, type, address and hour (UTC): no second mail
            of a kind within the same hour.
        correlation_id: That of the work being done by default.
        now: The present moment by default.
    """
    hour = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y%m%d%H")
    what = f"{recipient.merchant_id}:{notification_type}:{recipient.email}:{hour}"
    return envelope_of(
        SendEmail(notification_type=notification_type, recipient=recipient),
        source_service=source_service,
        idempotency_key=idempotency_key or _key("send", what),
        correlation_id=correlation_id,
    )


def create_bulk_email_command(
    notification_type: str,
    recipients: Sequence[Recipient],
    *,
    source_service: str,
    idempotency_key: str | None = None,
    correlation_id: str | None = None,
    now: datetime | None = None,
) -> Envelope:
    """Return the command for a bulk send, ready to publish or to emit.

    Args:
        notification_type: What the mails are about.
        recipients: Who gets one.
        source_service: Name of the service that asks for it.
        idempotency_key: By default one for type, number of recipients and moment.
        correlation_id: That of the work being done by default.
        now: The present moment by default.
    """
    moment = format_timestamp(now or datetime.now(UTC))
    return envelope_of(
        BulkSend(notification_type=notification_type, recipients=list(recipients)),
        source_service=source_service,
        idempotency_key=idempotency_key
        or _key("bulk", f"{notification_type}:{len(recipients)}:{moment}"),
        correlation_id=correlation_id,
    )


def _key(prefix: str, what: str) -> str:
    return f"{prefix}_{hashlib.sha256(what.encode()).hexdigest()[:16]}"
