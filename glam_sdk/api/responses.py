"""Build the envelope around what an endpoint returns.

Flow: step 7, after the unit of work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from glam_sdk.api.envelope import ApiResponse, ErrorDetail, Meta, Pagination
from glam_sdk.api.pagination import page_links

T = TypeVar("T")


def success_response(data: T) -> ApiResponse[T]:
    """Return ``{"data": …, "meta": …}`` for the request being handled."""
    return ApiResponse(data=data, meta=Meta.current())


def paginated_response(
    items: Sequence[T], *, request: Request, page: int, limit: int, total: int
) -> ApiResponse[list[T]]:
    """Return a page of a list, with ``pagination`` and ``links``.

    Args:
        items: The items of this page.
        request: Its URL, query parameters included, is what the links are made of.
        page: Number of the page, from 1.
        limit: Items a page, 1 to 1000.
        total: Items in the whole list.
    """
    pagination = Pagination.of(page=page, limit=limit, total=total)
    return ApiResponse(
        data=list(items),
        meta=Meta.current(),
        pagination=pagination,
        links=page_links(request, pagination),
    )


def create_response(data: T | None = None, *, error: ErrorDetail | None = None) -> ApiResponse[T]:
    """Return an envelope with data or an error."""
    return ApiResponse(data=data, error=error, meta=Meta.current())


def error_response(
    *,
    status: int,
    code: str,
    message: str,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a finished HTTP response with ``{"error": …, "meta": …}``."""
    error = ErrorDetail(code=code, message=message, details=dict(details) if details else None)
    body = ApiResponse[None](error=error, meta=Meta.current())
    return Response(
        body.model_dump_json(by_alias=True, fallback=str),
        status_code=status,
        headers=dict(headers) if headers else None,
        media_type="application/json",
    )
