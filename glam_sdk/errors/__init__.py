"""Name what went wrong: a stable code, an HTTP status, a message and typed details."""

from glam_sdk.errors.base import GlamBaseError, registered_errors
from glam_sdk.errors.classify import classify_http_error, is_retryable_error, parse_retry_after
from glam_sdk.errors.declare import detail
from glam_sdk.errors.generic import (
    ConflictError,
    DomainError,
    ForbiddenError,
    InternalError,
    NotFoundError,
    RateLimitedError,
    UnauthorizedError,
    ValidationError,
)
from glam_sdk.errors.infrastructure import (
    CircuitOpenError,
    ConfigurationError,
    DatabaseError,
    InfrastructureError,
    MessageBusError,
    RedisError,
    RequestTimeoutError,
    S3Error,
    ServiceUnavailableError,
    UpstreamServiceError,
)
from glam_sdk.errors.mapping import with_error_mapping, wrap_external_error

__all__ = [
    "CircuitOpenError",
    "ConfigurationError",
    "ConflictError",
    "DatabaseError",
    "DomainError",
    "ForbiddenError",
    "GlamBaseError",
    "InfrastructureError",
    "InternalError",
    "MessageBusError",
    "NotFoundError",
    "RateLimitedError",
    "RedisError",
    "RequestTimeoutError",
    "S3Error",
    "ServiceUnavailableError",
    "UnauthorizedError",
    "UpstreamServiceError",
    "ValidationError",
    "classify_http_error",
    "detail",
    "is_retryable_error",
    "parse_retry_after",
    "registered_errors",
    "with_error_mapping",
    "wrap_external_error",
]
