"""Declare what goes wrong with notifications."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from glam_sdk.errors import (
    ConflictError,
    InfrastructureError,
    NotFoundError,
    ValidationError,
    detail,
)


class NotificationNotFoundError(NotFoundError):
    """A notification does not exist, or not for this merchant."""

    code = "NOTIFICATION_NOT_FOUND"
    resource = "notification"
    notification_id: object = detail(default=None, into="resource_id", as_text=True)
    merchant_id: object = None


class TemplateNotFoundError(NotFoundError):
    """A message template does not exist."""

    code = "TEMPLATE_NOT_FOUND"
    resource = "template"
    template_name: str | None = detail(default=None, into="resource_id", as_text=True)
    template_type: str | None = None


class TemplateRenderError(ValidationError):
    """A template and the values given for it make no message."""

    code = "TEMPLATE_RENDER_ERROR"
    template_name: str | None = None
    missing_variables: Sequence[str] | None = None
    render_error: str | None = None


class InvalidRecipientError(ValidationError):
    """A recipient is no address that mail can be sent to."""

    code = "INVALID_RECIPIENT"
    field = "recipient"
    recipient: object = detail(default=None, into="value", as_text=True)
    reason: str | None = None


class PreferencesNotFoundError(NotFoundError):
    """A user has stated no notification preferences."""

    code = "PREFERENCES_NOT_FOUND"
    resource = "notification_preferences"
    user_id: object = detail(default=None, into="resource_id", as_text=True)


class EmailProviderError(InfrastructureError):
    """The e-mail provider refused a message or could not be reached."""

    code = "EMAIL_PROVIDER_ERROR"
    provider: str | None = detail(default=None, into="service")
    provider_error_code: str | None = None
    provider_message: str | None = None


class UnsubscribedError(ConflictError):
    """The recipient does not want this kind of notification."""

    code = "UNSUBSCRIBED"
    message = "Recipient has unsubscribed from notifications"
    user_id: object = None
    notification_type: str | None = None
    unsubscribed_at: datetime | str | None = None
