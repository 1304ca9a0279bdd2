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

__all__ = [
    "EmailProviderError",
    "InvalidRecipientError",
    "NotificationNotFoundError",
    "PreferencesNotFoundError",
    "TemplateNotFoundError",
    "TemplateRenderError",
    "UnsubscribedError",
]
