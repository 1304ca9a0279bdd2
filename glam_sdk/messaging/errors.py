"""Translate what the NATS client raises, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import nats.errors
from nats.js import errors as js_errors

from glam_sdk.errors import MessageBusError

_STORE_FAILED: Final = 10077
_STORE_NOT_MADE: Final = 10049


class MessageTooLargeError(MessageBusError):
    """Refuse a message before sending: its headers or its whole exceed what a server takes."""

    code = "MESSAGE_TOO_LARGE"
    status = 413
    retryable = False
    size_bytes: int
    max_size_bytes: int = 0
    """0 where the server does not say."""


class StreamFullError(MessageBusError):
    """A stream has reached its limit and takes no more messages until somebody makes room."""

    code = "STREAM_FULL"
    status = 507
    retryable = False


def bus_error(
    exc: BaseException, *, operation: str, stream: str = "", subject: str = ""
) -> MessageBusError:
    """Return our error for one of the client's; the caller raises it ``from`` the original."""
    if isinstance(exc, js_errors.APIError) and exc.err_code == _STORE_FAILED:
        return StreamFullError(
            f"The stream of {subject or stream} is full: {describe(exc)}. Raise its limits, or "
            "purge what nobody needs.",
            operation=operation,
            stream=exc.stream or stream or None,
            subject=subject or None,
        )
    what = f"{operation} {subject or stream}".strip()
    return MessageBusError(
        f"NATS could not {what}: {describe(exc)}.",
        operation=operation,
        stream=stream or None,
        subject=subject or None,
        retryable=is_temporary(exc),
    )


@contextmanager
def translated(operation: str, *, stream: str = "", subject: str = "") -> Iterator[None]:
    """Raise the client's errors of a block as :class:`~glam_sdk.errors.MessageBusError`."""
    try:
        yield
    except (nats.errors.Error, TimeoutError, OSError) as exc:
        raise bus_error(exc, operation=operation, stream=stream, subject=subject) from exc


def is_temporary(exc: BaseException) -> bool:
    """Tell whether the same call may succeed later without anybody changing anything."""
    if isinstance(exc, js_errors.APIError):
        # A stream that was just deleted may still have its directory when it is made again.
        is_being_removed = exc.err_code == _STORE_NOT_MADE
        return is_being_removed or isinstance(exc, js_errors.ServiceUnavailableError)
    return not isinstance(exc, _PERMANENT)


def describe(exc: BaseException) -> str:
    """Return the client's error in a few words, without its ``nats:`` prefix."""
    if isinstance(exc, js_errors.APIError) and exc.description:
        return exc.description.rstrip(".")
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return str(exc).removeprefix("nats: ").rstrip(".") or type(exc).__name__


_PERMANENT = (
    nats.errors.MaxPayloadError,
    nats.errors.BadSubjectError,
    nats.errors.BadHeaderError,
    nats.errors.AuthorizationError,
    nats.errors.InvalidUserCredentialsError,
)
