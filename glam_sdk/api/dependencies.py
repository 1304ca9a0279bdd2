"""Offer the request's ids, page and client address as FastAPI dependencies.

Flow: step 2, between middleware and handler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Query
from starlette.requests import HTTPConnection

from glam_sdk import context


@dataclass(frozen=True, slots=True)
class PaginationParams:
    """Hold which page of a list is asked for."""

    page: int
    limit: int

    @property
    def offset(self) -> int:
        """How many items come before this page."""
        return (self.page - 1) * self.limit


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Hold what identifies the request being handled."""

    request_id: str
    trace_id: str | None
    correlation_id: str | None
    method: str
    path: str


# They are coroutines because FastAPI runs any other function in a thread.
MAX_PAGE: Final = 9_000_000_000_000_000
"""With 1000 items a page, the offset still fits a database's 64-bit integer."""


async def _pagination(
    page: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Number of the page, from 1.")] = 1,
    limit: Annotated[int, Query(ge=1, le=1000, description="Items a page.")] = 50,
) -> PaginationParams:
    return PaginationParams(page=page, limit=limit)


async def _request_context(connection: HTTPConnection) -> RequestContext:
    return RequestContext(
        request_id=context.request_id() or "",
        trace_id=context.trace_id(),
        correlation_id=context.correlation_id(),
        method=connection.scope.get("method", "GET"),  # a WebSocket begins with a GET (RFC 6455)
        path=connection.url.path,
    )


async def _request_id() -> str:
    return context.request_id() or ""


async def _correlation_id() -> str | None:
    return context.correlation_id()


async def _client_ip(connection: HTTPConnection) -> str | None:
    return connection.client.host if connection.client else None


PaginationDep = Annotated[PaginationParams, Depends(_pagination)]
RequestContextDep = Annotated[RequestContext, Depends(_request_context)]
RequestIdDep = Annotated[str, Depends(_request_id)]
CorrelationIdDep = Annotated[str | None, Depends(_correlation_id)]
ClientIpDep = Annotated[str | None, Depends(_client_ip)]
