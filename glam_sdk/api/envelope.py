"""Model the JSON every endpoint answers with; keys whose value is null are left out."""

from __future__ import annotations

from datetime import UTC, datetime
from math import ceil
from typing import Any, Generic, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from glam_sdk import context

T = TypeVar("T")


def _is_null(value: object) -> bool:
    return value is None


class _Envelope(BaseModel):
    """Be immutable; fields marked with ``exclude_if`` are left out when they are null."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class Meta(_Envelope):
    """Say which request an answer belongs to, so that a support ticket leads to its trace."""

    request_id: str
    correlation_id: str | None = Field(None, exclude_if=_is_null)
    trace_id: str | None = Field(
        None, exclude_if=_is_null, description="OpenTelemetry trace id, 32 hex digits."
    )
    timestamp: AwareDatetime = Field(description="UTC, ISO 8601.")

    @classmethod
    def current(cls) -> Self:
        """Return the ids of the request being handled."""
        return cls(
            request_id=context.request_id() or "",
            correlation_id=context.correlation_id(),
            trace_id=context.trace_id(),
            timestamp=datetime.now(UTC),
        )


class ErrorDetail(_Envelope):
    """Tell a client what went wrong, by a code it can rely on."""

    code: str
    message: str
    details: dict[str, Any] | None = Field(None, exclude_if=_is_null)


class Pagination(_Envelope):
    """Tell where a page lies in the whole list."""

    page: int = Field(ge=1)
    limit: int = Field(ge=1, le=1000)
    total: int = Field(ge=0)
    pages: int = Field(ge=0)
    has_next: bool
    has_previous: bool

    @classmethod
    def of(cls, *, page: int, limit: int, total: int) -> Self:
        """Return the pagination of a list of ``total`` items."""
        pages = ceil(total / limit)
        return cls(
            page=page,
            limit=limit,
            total=total,
            pages=pages,
            has_next=page < pages,
            has_previous=page > 1 and pages > 0,
        )


class Links(_Envelope):
    """Link a page to its neighbours; the request's own query parameters are kept."""

    self_: str = Field(alias="self", serialization_alias="self")
    next: str | None = Field(None, exclude_if=_is_null)
    previous: str | None = Field(None, exclude_if=_is_null)
    first: str | None = Field(None, exclude_if=_is_null)
    last: str | None = Field(None, exclude_if=_is_null)


class ApiResponse(_Envelope, Generic[T]):
    """Wrap what an endpoint returns: ``data`` and ``meta``, or ``error`` and ``meta``."""

    data: T | None = Field(None, exclude_if=_is_null)
    error: ErrorDetail | None = Field(None, exclude_if=_is_null)
    meta: Meta
    pagination: Pagination | None = Field(None, exclude_if=_is_null)
    links: Links | None = Field(None, exclude_if=_is_null)
