"""Answer every error with the envelope, and tell the exchange what went wrong."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketState

from glam_sdk.api.exchange import current_exchange
from glam_sdk.api.responses import error_response
from glam_sdk.errors import GlamBaseError

_NO_BODY: Final = frozenset({204, 205, 304})
_UNEXPECTED: Final[dict[str, Any]] = {
    "status": 500,
    "code": "INTERNAL_ERROR",
    "message": "An unexpected error occurred",
}
_SCHEME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")


def add_exception_handlers(app: Starlette) -> None:
    """Register our handlers; one the application has for the same class already is kept."""
    ours: dict[Any, Any] = {
        GlamBaseError: glam_error,
        RequestValidationError: validation_error,
        HTTPException: http_exception,
        ClientDisconnect: caller_left,
        ExceptionGroup: exception_group,
        Exception: unexpected_error,
    }
    for kind, handler in ours.items():
        existing = app.exception_handlers.get(kind)
        if existing is None or getattr(existing, "__module__", "").startswith("fastapi."):
            app.add_exception_handler(kind, handler)


async def glam_error(request: Request | WebSocket, exc: Exception) -> Response | None:
    """Answer one of our errors with its own status, code, message and details.

    An open WebSocket has no answer any more: it is closed, with the code as the reason.
    """
    if not isinstance(exc, GlamBaseError):
        raise exc
    if isinstance(request, WebSocket):
        return await _close(request, exc)
    headers: dict[str, str] = {}
    retry_after = exc.details.get("retry_after")
    if isinstance(retry_after, str) and retry_after.isascii() and retry_after.isdecimal():
        retry_after = int(retry_after[:9])
    if isinstance(retry_after, int | float) and math.isfinite(retry_after):
        headers["Retry-After"] = str(max(0, math.ceil(retry_after)))
    if exc.status == 401:
        scheme = str(exc.details.get("auth_type", ""))
        headers["WWW-Authenticate"] = scheme if _SCHEME.match(scheme) else "Bearer"
    return _answer(
        request,
        status=exc.status,
        code=exc.code,
        message=exc.message,
        details=exc.details,
        headers=headers,
    )


async def validation_error(request: Request, exc: Exception) -> Response:
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
    return _answer(
        request,
        status=422,
        code="VALIDATION_ERROR",
        message="Request validation failed",
        details={"validation_errors": errors},
    )


async def http_exception(request: Request, exc: Exception) -> Response:
    """Answer an ``HTTPException``, also the router's 404 and 405, keeping its headers."""
    if not isinstance(exc, HTTPException):
        raise exc
    if exc.status_code in _NO_BODY or exc.status_code < 200:
        return Response(status_code=exc.status_code, headers=exc.headers)
    # The detail may be any JSON.
    is_text = isinstance(exc.detail, str)
    return _answer(
        request,
        status=exc.status_code,
        code=f"HTTP_{exc.status_code}",
        message=exc.detail if is_text else "Request failed",
        details=None if is_text else {"detail": exc.detail},
        headers=dict(exc.headers or {}),
    )


async def caller_left(request: Request, exc: Exception) -> Response:
    """Answer a caller who left while the body was read; nobody reads it, but it is no failure."""
    return _answer(
        request, status=400, code="CLIENT_DISCONNECTED", message=str(exc) or "The caller left."
    )


async def exception_group(request: Request | WebSocket, exc: Exception) -> Response | None:
    """Answer a task group's errors with the gravest of them, if all are meant for the caller.

    Any other group is unexpected, and so is a single foreign exception in one.
    """
    found = _leaves(exc)
    answers = [error for error in found if isinstance(error, GlamBaseError | HTTPException)]
    if len(answers) < len(found):
        raise exc
    gravest = max(answers, key=_status)
    exchange = current_exchange(request.scope)
    if exchange is not None and (len(found) == 1 or _status(gravest) < 500):
        exchange.remember(gravest)
    if isinstance(gravest, GlamBaseError):
        return await glam_error(request, gravest)
    if isinstance(request, WebSocket):
        raise gravest
    return await http_exception(request, gravest)


async def unexpected_error(request: Request, exc: Exception) -> Response:  # noqa: ARG001
    """Answer anything else with 500 and no internals; the log has the traceback."""
    return _answer(request, **_UNEXPECTED)


def unexpected_answer() -> Response:
    """Return the answer to what no handler sees."""
    return error_response(**_UNEXPECTED)


async def _close(websocket: WebSocket, exc: GlamBaseError) -> Response | None:
    """Close an open WebSocket (RFC 6455: 1011 our fault, 1008 the caller's); refuse any other."""
    if websocket.application_state is not WebSocketState.CONNECTED:
        return error_response(status=exc.status, code=exc.code, message=exc.message)
    exchange = current_exchange(websocket.scope)
    if exchange is not None and exc.status >= 500:
        exchange.fail(exc)
    await websocket.close(1011 if exc.status >= 500 else 1008, reason=exc.code)
    return None


def _answer(request: Request, *, status: int, code: str, message: str, **more: Any) -> Response:
    exchange = current_exchange(request.scope)
    # What fails after the answer has begun shows no code to anybody.
    if exchange is not None and not exchange.is_finished and exchange.status is None:
        exchange.code = code
    return error_response(status=status, code=code, message=message, request=request, **more)


def _status(error: GlamBaseError | HTTPException) -> int:
    return error.status if isinstance(error, GlamBaseError) else error.status_code


def _leaves(exc: BaseException) -> list[BaseException]:
    if not isinstance(exc, BaseExceptionGroup):
        return [exc]
    return [leaf for inner in exc.exceptions for leaf in _leaves(inner)]
