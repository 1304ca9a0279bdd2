"""Prove the table of generic and infrastructure errors that services rely on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from glam_sdk import errors as e
from glam_sdk.errors import GlamBaseError

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
UNTIL = datetime(2026, 1, 15, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a class and what it states."""

    cls: type[GlamBaseError]
    base: type[BaseException]
    code: str
    status: int
    message: str = ""
    always: dict[str, object] = field(default_factory=dict)
    """Details that are there without a keyword."""
    keywords: dict[str, tuple[object, dict[str, object]]] = field(default_factory=dict)
    """Keyword → value given and the details it makes."""


def plain(**values: object) -> dict[str, tuple[object, dict[str, object]]]:
    return {name: (value, {name: value}) for name, value in values.items()}


BASE, INFRA, DOMAIN = e.GlamBaseError, e.InfrastructureError, e.DomainError
RETRY: dict[str, object] = {"retryable": True}

ROWS = [
    Row(BASE, Exception, "INTERNAL_ERROR", 500),
    Row(INFRA, BASE, "INFRASTRUCTURE_ERROR", 503, "", RETRY, plain(service="x", retryable=False)),
    Row(DOMAIN, BASE, "DOMAIN_ERROR", 400),
    Row(
        e.ValidationError,
        DOMAIN,
        "VALIDATION_ERROR",
        422,
        keywords={**plain(field="price"), "value": (-1, {"value": "-1"})},
    ),
    Row(
        e.NotFoundError,
        DOMAIN,
        "NOT_FOUND",
        404,
        keywords={**plain(resource="order"), "resource_id": (ID, {"resource_id": str(ID)})},
    ),
    Row(
        e.ConflictError,
        DOMAIN,
        "CONFLICT",
        409,
        keywords=plain(conflicting_resource="order", current_state="closed"),
    ),
    Row(
        e.UnauthorizedError,
        DOMAIN,
        "UNAUTHORIZED",
        401,
        "Authentication required",
        keywords=plain(auth_type="bearer"),
    ),
    Row(
        e.ForbiddenError,
        DOMAIN,
        "FORBIDDEN",
        403,
        "Insufficient permissions",
        keywords=plain(required_permission="orders:write", resource="order"),
    ),
    Row(
        e.RateLimitedError,
        DOMAIN,
        "RATE_LIMITED",
        429,
        "Rate limit exceeded",
        keywords=plain(limit=100, window=60, retry_after=0),
    ),
    Row(e.ServiceUnavailableError, INFRA, "SERVICE_UNAVAILABLE", 503, "", RETRY),
    Row(
        e.RequestTimeoutError,
        INFRA,
        "TIMEOUT",
        504,
        "",
        RETRY,
        plain(timeout_seconds=2.5, operation="charge"),
    ),
    Row(
        e.InternalError,
        BASE,
        "INTERNAL_ERROR",
        500,
        "An unexpected error occurred",
        keywords=plain(error_id="e-1"),
    ),
    Row(
        e.DatabaseError,
        INFRA,
        "DATABASE_ERROR",
        503,
        "",
        {"service": "database", **RETRY},
        plain(operation="insert", table="orders", error_code="40001"),
    ),
    Row(
        e.RedisError,
        INFRA,
        "REDIS_ERROR",
        503,
        "",
        {"service": "redis", **RETRY},
        plain(operation="get", key="k"),
    ),
    Row(
        e.S3Error,
        INFRA,
        "S3_ERROR",
        503,
        "",
        {"service": "s3", **RETRY},
        plain(operation="put", bucket="b", key="k", error_code="NoSuchKey"),
    ),
    Row(
        e.UpstreamServiceError,
        INFRA,
        "UPSTREAM_SERVICE_ERROR",
        503,
        "",
        RETRY,
        {
            "upstream_service": ("billing", {"upstream_service": "billing", "service": "billing"}),
            **plain(upstream_status=502, upstream_error="502", endpoint="/charge"),
        },
    ),
    Row(
        e.CircuitOpenError,
        INFRA,
        "CIRCUIT_OPEN",
        503,
        "",
        {"retryable": False},
        {
            "service_name": ("billing", {"service": "billing"}),
            **plain(failure_count=5, open_until=UNTIL),
        },
    ),
    Row(
        e.MessageBusError,
        INFRA,
        "MESSAGE_BUS_ERROR",
        503,
        "",
        {"service": "nats", **RETRY},
        plain(operation="publish", stream="CATALOG", subject="evt.catalog.sync_started"),
    ),
    Row(e.ConfigurationError, BASE, "CONFIGURATION_ERROR", 500),
]

each_row = pytest.mark.parametrize("row", ROWS, ids=[row.cls.__name__ for row in ROWS])


@each_row
def test_a_class_has_the_base_code_status_and_message_of_the_table(row: Row) -> None:
    """Codes and statuses are on the wire; other services compare them."""
    assert row.cls.__mro__[1].__name__ in {row.base.__name__, "_DeclaredError"}
    assert issubclass(row.cls, row.base)
    assert (row.cls.code, row.cls.status, row.cls.message) == (row.code, row.status, row.message)
    error = row.cls("Given.")
    assert (error.code, error.status, str(error)) == (row.code, row.status, "Given.")


@each_row
def test_a_class_without_keywords_has_only_what_it_always_says(row: Row) -> None:
    """Keywords that are not given, or None, leave no trace in the details."""
    nothing = dict.fromkeys(row.keywords)
    assert row.cls("Given.").details == row.cls("Given.", **nothing).details == row.always


@each_row
def test_each_keyword_lands_in_details_alone_and_with_the_others(row: Row) -> None:
    """The keys in details are what old consumers read."""
    together = dict(row.always)
    for name, (value, details) in row.keywords.items():
        alone = row.cls("Given.", **{name: value})
        assert alone.details == row.always | details
        assert getattr(alone, name) == next(iter(details.values()))
        together |= details
    given = {name: value for name, (value, _) in row.keywords.items()}
    assert row.cls("Given.", **given).details == together


@each_row
def test_to_dict_is_code_message_and_details_when_there_are_any(row: Row) -> None:
    """The error part of the response envelope."""
    details = {"details": row.always} if row.always else {}
    assert row.cls("Given.").to_dict() == {"code": row.code, "message": "Given.", **details}


@each_row
def test_code_status_details_and_cause_can_be_given_to_one_instance(row: Row) -> None:
    """An override is the instance's own; the class and its cause stay as they are."""
    cause = KeyError("k")
    error = row.cls("Given.", code="OTHER", status=418, details={"a": 1}, cause=cause)
    assert (error.code, error.status) == ("OTHER", 418)
    assert error.details == row.always | {"a": 1}
    assert error.__cause__ is error.cause is cause
    assert (row.cls.code, row.cls.status) == (row.code, row.status)


def test_the_message_is_the_default_one_when_none_is_given() -> None:
    """A class with a default message needs none from its caller."""
    assert str(e.UnauthorizedError()) == "Authentication required"
    assert str(e.InternalError()) == "An unexpected error occurred"
    assert e.RateLimitedError(retry_after=3).to_dict() == {
        "code": "RATE_LIMITED",
        "message": "Rate limit exceeded",
        "details": {"retry_after": 3},
    }
