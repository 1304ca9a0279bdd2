"""Declare the errors of any domain: what a caller did, and what the caller may be told."""

from __future__ import annotations

from glam_sdk.errors.base import GlamBaseError
from glam_sdk.errors.declare import detail


class DomainError(GlamBaseError):
    """A request can't be carried out, for a reason that lies in the request or the state."""

    code = "DOMAIN_ERROR"
    status = 400


class ValidationError(DomainError):
    """A value is not acceptable."""

    code = "VALIDATION_ERROR"
    status = 422
    field: str | None = None
    value: object = detail(default=None, as_text=True)


class NotFoundError(DomainError):
    """A resource does not exist, or not for this caller."""

    code = "NOT_FOUND"
    status = 404
    resource: str | None = None
    resource_id: object = detail(default=None, as_text=True)


class ConflictError(DomainError):
    """The state of a resource does not allow the operation."""

    code = "CONFLICT"
    status = 409
    conflicting_resource: str | None = None
    current_state: str | None = None


class UnauthorizedError(DomainError):
    """The caller has not shown who they are."""

    code = "UNAUTHORIZED"
    status = 401
    message = "Authentication required"
    auth_type: str | None = None


class ForbiddenError(DomainError):
    """The caller is known and may not do this."""

    code = "FORBIDDEN"
    status = 403
    message = "Insufficient permissions"
    required_permission: str | None = None
    resource: str | None = None


class RateLimitedError(DomainError):
    """The caller asked too often; ``retry_after`` is in seconds."""

    code = "RATE_LIMITED"
    status = 429
    message = "Rate limit exceeded"
    limit: int | None = None
    window: int | float | str | None = None
    retry_after: int | float | None = None


class InternalError(GlamBaseError):
    """Something failed that no caller can help; ``error_id`` leads support to the log."""

    code = "INTERNAL_ERROR"
    message = "An unexpected error occurred"
    error_id: str | None = None
