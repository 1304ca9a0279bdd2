"""Build the envelope around what an endpoint returns.

Flow: step 7, after the unit of work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from glam_sdk.api.envelope import ApiResponse, ErrorDetail, Meta, Pagination
from glam_sdk.api.pagination import page_links
from glam_sdk.api.problem import PROBLEM_JSON, problem, wants_problem
from glam_sdk.telemetry.log_encoding import plain

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
    request: HTTPConnection | None = None,
) -> Response:
    """Return a finished HTTP response with ``{"error": …, "meta": …}``.

    Args:
        status: HTTP status.
        code: What a client can rely on, such as ``NOT_FOUND``.
        message: One sentence for people.
        details: More facts; what is no JSON is written as text.
        headers: Added to the response.
        request: Whose ``Accept`` may ask for ``application/problem+json`` instead.
    """
    body, media_type = _error_body(status, code, message, details, request)
    return Response(body, status_code=status, headers=dict(headers or {}), media_type=media_type)


def _error_body(
    status: int,
    code: str,
    message: str,
    details: Mapping[str, Any] | None,
    request: HTTPConnection | None,
) -> tuple[bytes, str]:
    meta = Meta.current()
    is_problem = request is not None and wants_problem(request.headers.get("accept", ""))

    def encoded(code: str, message: str, details: dict[str, Any] | None) -> bytes:
        error = ErrorDetail(code=code, message=message, details=details)
        body: BaseModel = ApiResponse[None](error=error, meta=meta)
        if is_problem:
            body = problem(status, error, meta)
        return body.model_dump_json(by_alias=True, fallback=str).encode()

    try:
        encoded_body = encoded(code, message, dict(details) if details else None)
    except Exception:  # noqa: BLE001 - keys that are no text, a failing __str__, cycles, surrogates
        legible = plain({str(key): value for key, value in (details or {}).items()})
        if not isinstance(legible, dict):
            legible = {"details": legible}
        encoded_body = encoded(code, plain(message), legible)
    return encoded_body, PROBLEM_JSON if is_problem else "application/json"
