"""Tell what a failed HTTP call means, and whether trying again may help.

httpx is not imported: its exceptions are known by their class names, so that this module works
where httpx is not installed. A message names a URL without user, password, query and fragment.
"""

from __future__ import annotations

import errno
import math
import re
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import urlsplit

from glam_sdk.errors.base import GlamBaseError
from glam_sdk.errors.generic import RateLimitedError
from glam_sdk.errors.infrastructure import (
    InfrastructureError,
    RequestTimeoutError,
    ServiceUnavailableError,
    UpstreamServiceError,
)

MAX_RETRY_AFTER_S: Final = 86_400
"""A longer ``Retry-After`` counts as one day, so that no answer can silence a client for good."""

_MAX_DATE_LENGTH: Final = 64
_MAX_ENDPOINT_LENGTH: Final = 256
_DIGITS: Final = re.compile(r"[0-9]+\Z")

_TIMEOUT: Final = "TimeoutException"
_UNREACHABLE: Final = frozenset({"NetworkError", "RemoteProtocolError", "ProxyError"})
_BAD_ANSWER: Final = frozenset({"DecodingError", "TooManyRedirects"})
_UNREACHABLE_ERRNO: Final = frozenset(
    {errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)
_TIMEOUT_PHASES: Final = {
    "ConnectTimeout": "connect",
    "ReadTimeout": "read",
    "WriteTimeout": "write",
    "PoolTimeout": "pool",
}


def classify_http_error(
    error: Exception, *, service_name: str, now: datetime | None = None
) -> GlamBaseError:
    """Return our error for an exception of an HTTP call, with that exception as its cause.

    An error of ours comes back unchanged.

    Args:
        error: What httpx raised; ``response.raise_for_status()`` included.
        service_name: The service that was called.
        now: Clock for a ``Retry-After`` that is a date; the current time by default.
    """
    if isinstance(error, GlamBaseError):
        return error
    names = _httpx_names(error)
    if "HTTPStatusError" in names:
        return _of_status(error, service_name, now)
    where = _endpoint(error)
    to = f" to {where}" if where else ""
    if _TIMEOUT in names or isinstance(error, TimeoutError):
        return RequestTimeoutError(
            f"{service_name} did not answer{to} in time.",
            service=service_name,
            operation=where,
            timeout_seconds=_timeout_s(error, names),
            cause=error,
        )
    if names & _BAD_ANSWER:
        return UpstreamServiceError(
            f"{service_name} gave an answer{to} that can't be used ({type(error).__name__}).",
            upstream_service=service_name,
            upstream_error=type(error).__name__,
            endpoint=where,
            retryable=False,
            cause=error,
        )
    return InfrastructureError(
        f"The request{to} did not reach {service_name} ({type(error).__name__}).",
        service=service_name,
        retryable=_is_unreachable(error, names),
        cause=error,
    )


def is_retryable_error(exc: BaseException) -> bool:
    """Tell whether doing the same again may succeed.

    An ``InfrastructureError`` says so itself; timeouts and failed connections are worth another
    try, whatever else is not.
    """
    if isinstance(exc, InfrastructureError):
        return bool(exc.retryable)
    if isinstance(exc, GlamBaseError):
        return False
    names = _httpx_names(exc)
    return _TIMEOUT in names or isinstance(exc, TimeoutError) or _is_unreachable(exc, names)


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> int | None:
    """Return the seconds a ``Retry-After`` header asks to wait, or None when it can't be read.

    Seconds and HTTP dates are read (RFC 9110, section 10.2.3). A date in the past is 0, and no
    wait is longer than ``MAX_RETRY_AFTER_S``.

    Args:
        value: The header as received.
        now: Clock for a date; the current time by default.
    """
    text = (value or "").strip(" \t")
    if _DIGITS.match(text):
        digits = text.lstrip("0")
        return MAX_RETRY_AFTER_S if len(digits) > 9 else min(int(digits or 0), MAX_RETRY_AFTER_S)
    if not text or len(text) > _MAX_DATE_LENGTH:
        return None
    try:
        date = parsedate_to_datetime(text)
        aware = date if date.tzinfo else date.replace(tzinfo=UTC)
        wait_s = (aware - (now or datetime.now(UTC))).total_seconds()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0, min(math.ceil(wait_s), MAX_RETRY_AFTER_S))


def _of_status(error: Exception, service_name: str, now: datetime | None) -> GlamBaseError:
    response = getattr(error, "response", None)
    status = int(getattr(response, "status_code", 0))
    headers: Mapping[str, str] = getattr(response, "headers", {})
    retry_after = parse_retry_after(headers.get("retry-after"), now=now)
    where = _endpoint(error)
    answer = _status_text(status)
    message = f"{service_name} answered {answer}{f' to {where}' if where else ''}."
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimitedError(message, retry_after=retry_after, cause=error)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        wait = {} if retry_after is None else {"retry_after": retry_after}
        return ServiceUnavailableError(message, service=service_name, details=wait, cause=error)
    return UpstreamServiceError(
        message,
        upstream_service=service_name,
        upstream_status=status,
        upstream_error=answer,
        endpoint=where,
        retryable=status >= 500,
        cause=error,
    )


def _httpx_names(exc: BaseException) -> frozenset[str]:
    """Return the names of an exception's classes that httpx defines."""
    return frozenset(
        cls.__name__ for cls in type(exc).__mro__ if cls.__module__.partition(".")[0] == "httpx"
    )


def _is_unreachable(exc: BaseException, names: frozenset[str]) -> bool:
    if names & _UNREACHABLE or isinstance(exc, ConnectionError):
        return True
    return isinstance(exc, socket.gaierror) or (
        isinstance(exc, OSError) and exc.errno in _UNREACHABLE_ERRNO
    )


def _status_text(status: int) -> str:
    """Name a status by the standard; the server's own reason phrase is not repeated."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _request(error: Exception) -> object:
    try:
        return getattr(error, "request", None)
    except RuntimeError:  # httpx: the exception was made without a request
        return None


def _endpoint(error: Exception) -> str | None:
    """Return ``GET https://host/path`` of the failed request."""
    request = _request(error)
    url = getattr(request, "url", None)
    if url is None:
        return None
    try:
        parts = urlsplit(str(url))
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2]
    text = f"{getattr(request, 'method', '')} {parts.scheme}://{host}{parts.path}".strip()
    return text[:_MAX_ENDPOINT_LENGTH]


def _timeout_s(error: Exception, names: frozenset[str]) -> float | None:
    """Return the limit that was exceeded, where the request says it."""
    extensions: Mapping[str, object] = getattr(_request(error), "extensions", {})
    limits = extensions.get("timeout")
    phase = next((_TIMEOUT_PHASES[name] for name in names if name in _TIMEOUT_PHASES), None)
    if phase is None or not isinstance(limits, Mapping):
        return None
    value = cast("Mapping[str, object]", limits).get(phase)
    return value if isinstance(value, int | float) else None
