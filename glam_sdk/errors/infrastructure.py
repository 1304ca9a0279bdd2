"""Declare the errors of what a service stands on: databases, brokers, other services, settings."""

from __future__ import annotations

from datetime import datetime

from glam_sdk.errors.base import GlamBaseError
from glam_sdk.errors.declare import detail


class InfrastructureError(GlamBaseError):
    """Something the service depends on failed; ``retryable`` says whether trying again may help."""

    code = "INFRASTRUCTURE_ERROR"
    status = 503
    service: str | None = None
    retryable: bool = True


class ServiceUnavailableError(InfrastructureError):
    """A service says that it can't answer now."""

    code = "SERVICE_UNAVAILABLE"


class RequestTimeoutError(InfrastructureError):
    """An answer did not come in time."""

    code = "TIMEOUT"
    status = 504
    timeout_seconds: float | None = None
    operation: str | None = None


class DatabaseError(InfrastructureError):
    """The database failed or could not be reached; ``error_code`` is its own, as SQLSTATE."""

    code = "DATABASE_ERROR"
    service = "database"
    operation: str | None = None
    table: str | None = None
    error_code: str | None = None


class RedisError(InfrastructureError):
    """Redis failed or could not be reached."""

    code = "REDIS_ERROR"
    service = "redis"
    operation: str | None = None
    key: str | None = None


class S3Error(InfrastructureError):
    """The object store failed or could not be reached."""

    code = "S3_ERROR"
    service = "s3"
    operation: str | None = None
    bucket: str | None = None
    key: str | None = None
    error_code: str | None = None


class UpstreamServiceError(InfrastructureError):
    """Another service answered with an error."""

    code = "UPSTREAM_SERVICE_ERROR"
    upstream_service: str | None = detail(default=None, into=("upstream_service", "service"))
    upstream_status: int | None = None
    upstream_error: str | None = None
    endpoint: str | None = None


class CircuitOpenError(InfrastructureError):
    """A service failed so often that it is not asked until ``open_until``."""

    code = "CIRCUIT_OPEN"
    retryable = False
    service_name: str | None = detail(default=None, into="service")
    failure_count: int | None = None
    open_until: datetime | float | str | None = None


class MessageBusError(InfrastructureError):
    """The message broker failed or could not be reached."""

    code = "MESSAGE_BUS_ERROR"
    service = "nats"
    operation: str | None = None
    stream: str | None = None
    subject: str | None = None


class ConfigurationError(GlamBaseError):
    """Settings are missing or wrong; the message lists every problem and where it came from."""

    code = "CONFIGURATION_ERROR"
