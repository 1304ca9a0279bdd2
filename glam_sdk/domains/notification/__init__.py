"""Hold the errors, events and commands of notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glam_sdk._internal.lazy import lazy_exports
from glam_sdk.domains.notification.errors import (
    EmailProviderError,
    InvalidRecipientError,
    NotificationNotFoundError,
    PreferencesNotFoundError,
    TemplateNotFoundError,
    TemplateRenderError,
    UnsubscribedError,
)

if TYPE_CHECKING:
    from glam_sdk.domains.notification.events import (
        BulkSend,
        BulkSendCompleted,
        EmailFailed,
        EmailSent,
        Recipient,
        SendEmail,
        create_bulk_email_command,
        create_send_email_command,
    )

_EVENTS = (
    "BulkSend",
    "BulkSendCompleted",
    "EmailFailed",
    "EmailSent",
    "Recipient",
    "SendEmail",
    "create_bulk_email_command",
    "create_send_email_command",
)

__all__ = [
    "BulkSend",
    "BulkSendCompleted",
    "EmailFailed",
    "EmailProviderError",
    "EmailSent",
    "InvalidRecipientError",
    "NotificationNotFoundError",
    "PreferencesNotFoundError",
    "Recipient",
    "SendEmail",
    "TemplateNotFoundError",
    "TemplateRenderError",
    "UnsubscribedError",
    "create_bulk_email_command",
    "create_send_email_command",
]

# Errors alone need no pydantic; the events are imported when one is asked for.
__getattr__, _ = lazy_exports(__name__, dict.fromkeys(_EVENTS, f"{__name__}.events"))
