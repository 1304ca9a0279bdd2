"""Bring the standard library's logging, and with it every library, into our chain."""

from __future__ import annotations

import io
import logging
import sys
from dataclasses import dataclass
from typing import Any, Final

from glam_sdk._internal.redact import redact_query
from glam_sdk.telemetry.log_encoding import interpolated, safe_str
from glam_sdk.telemetry.log_levels import levels, set_level
from glam_sdk.telemetry.logs import pipeline

# What every record has, and uvicorn's second, coloured copy of the message.
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}
_LEVEL_METHODS: Final = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)
# They set handlers of their own and do not propagate.
_SERVERS: Final = ("uvicorn", "hypercorn", "gunicorn")
_SERVER_LOGGERS: Final = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.asgi",
    "gunicorn.error",
    "hypercorn.error",
)
# One line a request, which our own access log replaces.
_ACCESS_LOGGERS: Final = ("uvicorn.access", "gunicorn.access", "hypercorn.access")
_LOGGED: Final = "__glam_logged__"


def mark_logged(exc: BaseException) -> None:
    """Say that an exception has its log line, so that the server does not write a second one."""
    try:
        setattr(exc, _LOGGED, True)
    except AttributeError:
        return  # an exception with slots; it is logged twice rather than not at all


class _NoLock:
    """Be what ``logging.Handler`` locks with, under its old calls and its new ones."""

    def acquire(self) -> None: ...
    def release(self) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


class ChainHandler(logging.Handler):
    """Hand each record to the chain that structlog uses."""

    def createLock(self) -> None:  # noqa: N802 - the standard library's name
        """Have no lock: the chain needs none, and a fork could leave one held for ever."""
        self.lock = _NoLock()  # type: ignore[assignment]  # has what the base class calls

    def emit(self, record: logging.LogRecord) -> None:
        """Render and write one record; a fault is reported the standard library's way."""
        try:
            if _is_repeated_by_server(record):
                return
            pipeline().log(
                _method(record.levelno),
                record.name,
                _message(record),
                _fields(record),
                exc=record.exc_info[1] if record.exc_info else None,
                created=record.created,
            )
        except Exception:  # noqa: BLE001 - logging must not break the caller
            self.handleError(record)


def _message(record: logging.LogRecord) -> str:
    message = interpolated(record.msg, record.args)
    # Of a WebSocket the server writes the address as it came, tokens in its query included.
    is_query = "?" in message and record.name.startswith(_SERVERS)
    return redact_query(message) if is_query else message


def _is_repeated_by_server(record: logging.LogRecord) -> bool:
    if not record.exc_info or not record.name.startswith(_SERVERS):
        return False
    return getattr(record.exc_info[1], _LOGGED, False)


def _method(levelno: int) -> str:
    return next((name for level, name in _LEVEL_METHODS if levelno >= level), "debug")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    if _STANDARD.issuperset(record.__dict__) and not record.stack_info:
        return {}  # as a rule; one look at all the names costs a tenth of looking at each
    fields = {
        key if type(key) is str else safe_str(key): value
        for key, value in record.__dict__.items()
        if key not in _STANDARD
    }
    if record.stack_info:
        fields["stack"] = record.stack_info
    return fields


@dataclass(frozen=True, slots=True)
class _Before:
    """Remember how a logger was before it was taken over."""

    logger: logging.Logger
    handlers: tuple[logging.Handler, ...]
    propagate: bool

    def put_back(self) -> None:
        for handler in self.handlers:
            self.logger.addHandler(handler)
        self.logger.propagate = self.propagate


_before: dict[str, _Before] = {}
_levels_before: dict[str, str] = {}


def adopt() -> None:
    """Make our handler the root logger's, and take over the web server's loggers.

    Handlers that write to standard output or standard error are replaced; others, such as a file's
    or a test's, stay. Calling it again takes over what was configured in between.
    """
    root = logging.getLogger()
    if not _before:
        _levels_before.update(levels())
    _take_over(root)
    root.addHandler(ChainHandler())
    for name in (*_SERVER_LOGGERS, *_ACCESS_LOGGERS):
        server = logging.getLogger(name)
        _take_over(server)
        server.propagate = name not in _ACCESS_LOGGERS
    logging.captureWarnings(True)


def _take_over(logger: logging.Logger) -> None:
    if logger.name not in _before:
        _before[logger.name] = _Before(logger, tuple(logger.handlers), logger.propagate)
    for handler in list(logger.handlers):
        if isinstance(handler, ChainHandler) or _writes_to_console(handler):
            logger.removeHandler(handler)


def release() -> None:
    """Take our handler off the root logger; put back what it replaced, and all levels."""
    if not _before:
        return
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, ChainHandler):
            root.removeHandler(handler)
    while _before:
        _before.popitem()[1].put_back()
    for name in levels():
        set_level(name, _levels_before.get(name))
    _levels_before.clear()
    logging.captureWarnings(False)


def _writes_to_console(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    if stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        return stream is not None
    # The servers' own handlers may have been made while standard output was another one.
    return type(handler) is logging.StreamHandler and not isinstance(stream, io.StringIO)
