"""Answer every error with the envelope, and tell the exchange what went wrong."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from glam_sdk.api.exchange import current_exchange
from glam_sdk.api.responses import error_response
from glam_sdk.errors import GlamBaseError

_NO_BODY = frozenset({204, 304})


def add_exception_handlers(app: FastAPI) -> None:
    """Register our handlers; one the application has for the same class already is kept."""
    ours: dict[Any, Any] = {
        GlamBaseError: glam_error,
        RequestValidationError: validation_error,
        HTTPException: http_exception,
        Exception: unexpected_error,
    }
    for kind, handler in ours.items():
        existing = app.exception_handlers.get(kind)
        if existing is None or getattr(existing, "__module__", "").startswith("fastapi."):
            app.add_exception_handler(kind, handler)


async def glam_error(request: Request, exc: Exception) -> Response:
    """Answer one of our errors with its own status, code, message and details."""
    if not isinstance(exc, GlamBaseError):
        raise exc
    _remember(request, exc)
    headers: dict[str, str] = {}
    retry_after = exc.details.get("retry_after")
    if isinstance(retry_after, int | float):
        headers["Retry-After"] = str(max(0, round(retry_after)))
    if exc.status == 401:
        headers["WWW-Authenticate"] = str(exc.details.get("auth_type", "Bearer"))
    return error_response(
        status=exc.status,
        code=exc.code,
        message=exc.message,
        details=exc.details,
        headers=headers,
    )


async def validation_error(_: Request, exc: Exception) -> Response:
    """Answer an invalid request with 422 and the fields that are wrong, without their values."""
    if not isinstance(exc, RequestValidationError):
        raise exc
    errors = [
        {
            "field": ".".join(str(part) for part in error["loc"]),
            "message": error["msg"],
            "type": error["type"],
        }
        for error in exc.errors()
    ]
    return error_response(
        status=422,
        code="VALIDATION_ERROR",
        message="Request validation failed",
        details={"validation_errors": errors},
    )


async def http_exception(_: Request, exc: Exception) -> Response:
    """Answer an ``HTTPException``, also the router's 404 and 405, keeping its headers."""
    if not isinstance(exc, HTTPException):
        raise exc
    if exc.status_code in _NO_BODY or exc.status_code < 200:
        return Response(status_code=exc.status_code, headers=exc.headers)
    message, details = _message(exc.detail)
    return error_response(
        status=exc.status_code,
        code=f"HTTP_{exc.status_code}",
        message=message,
        details=details,
        headers=exc.headers,
    )


def _message(detail: Any) -> tuple[str, dict[str, Any] | None]:
    """Split an exception's detail, which may be any JSON, into message and details."""
    if isinstance(detail, str):
        return detail, None
    return "Request failed", {"detail": detail}


async def unexpected_error(request: Request, exc: Exception) -> Response:
    """Answer anything else with 500 and no internals; the log has the traceback."""
    _remember(request, exc)
    return error_response(status=500, code="INTERNAL_ERROR", message="An unexpected error occurred")


def _remember(request: Request, exc: Exception) -> None:
    exchange = current_exchange(request.scope)
    if exchange is not None and exchange.error is None:
        exchange.error = exc
