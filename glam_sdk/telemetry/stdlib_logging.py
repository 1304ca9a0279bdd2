"""Bring the standard library's logging, and with it every library, into our chain."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final

from glam_sdk.telemetry.logs import pipeline

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
_LEVEL_METHODS: Final = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)
# They set handlers of their own and do not propagate; our access line replaces the third.
_SERVER_LOGGERS: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
_ACCESS_LOGGER: Final = "uvicorn.access"
# Each writes a line a request at INFO, which the spans and our own lines already tell.
_QUIET: Final = {"httpx": "WARNING", "httpcore": "WARNING"}
_LOGGED: Final = "__glam_logged__"


def mark_logged(exc: BaseException) -> None:
    """Say that an exception has its log line, so that the server does not write a second one."""
    try:
        setattr(exc, _LOGGED, True)
    except AttributeError:
        return  # an exception with slots; it is logged twice rather than not at all


class ChainHandler(logging.Handler):
    """Hand each record to the chain that structlog uses."""

    def emit(self, record: logging.LogRecord) -> None:
        """Render and write one record; a fault is reported the standard library's way."""
        try:
            if _is_repeated_by_server(record):
                return
            chain = pipeline()
            chain.write(chain(None, _method(record.levelno), _event(record)))
        except Exception:  # noqa: BLE001 - logging must not break the caller
            self.handleError(record)


def _is_repeated_by_server(record: logging.LogRecord) -> bool:
    if not record.exc_info or not record.name.startswith(("uvicorn", "hypercorn", "gunicorn")):
        return False
    return getattr(record.exc_info[1], _LOGGED, False)


def _method(levelno: int) -> str:
    return next((name for level, name in _LEVEL_METHODS if levelno >= level), "debug")


def _event(record: logging.LogRecord) -> dict[str, Any]:
    event: dict[str, Any] = {k: v for k, v in record.__dict__.items() if k not in _STANDARD}
    event.pop("color_message", None)  # uvicorn's second, coloured copy of the message
    event["event"] = record.getMessage()
    event["logger"] = record.name
    event["_created"] = record.created
    if record.exc_info:
        event["exc_info"] = record.exc_info
    return event


def adopt(level: str, levels: Mapping[str, str]) -> None:
    """Make our handler the root logger's, and take over the web server's loggers.

    Handlers that write to standard output or standard error are replaced; others, such as a file's
    or a test's, stay. Calling it again takes over what was configured in between.

    Args:
        level: Level of the root logger, such as ``INFO``.
        levels: Logger name → level.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, ChainHandler) or _writes_to_console(handler):
            root.removeHandler(handler)
    root.addHandler(ChainHandler())
    root.setLevel(level)
    for name in _SERVER_LOGGERS:
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = name != _ACCESS_LOGGER
    for name, value in {**_QUIET, **levels}.items():
        logging.getLogger(name).setLevel(value)


def release() -> None:
    """Take our handler off the root logger."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, ChainHandler):
            root.removeHandler(handler)


def _writes_to_console(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None)
    return stream is not None and stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
