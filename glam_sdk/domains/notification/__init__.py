"""Hold the errors of notifications."""

from glam_sdk.domains.notification.errors import (
    EmailProviderError,
    InvalidRecipientError,
    NotificationNotFoundError,
    PreferencesNotFoundError,
    TemplateNotFoundError,
    TemplateRenderError,
    UnsubscribedError,
)
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
