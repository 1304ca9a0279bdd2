"""Log through structlog and the standard library alike: one chain, one JSON line per event.

``get_logger`` may be called at import time: what it logs is JSON from the first line, and knows its
service from :func:`glam_sdk.init` on. Levels are those of the standard library's logger of the same
name, so they can be changed while the service runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from opentelemetry._logs import LoggerProvider

from glam_sdk.telemetry.log_chain import EventDict, LogPipeline
from glam_sdk.telemetry.log_context import clear_request_context, set_request_context
from glam_sdk.telemetry.log_encoding import current_exception, interpolated
from glam_sdk.telemetry.log_levels import levels, set_level
from glam_sdk.telemetry.log_repeats import NEVER

__all__ = [
    "BoundLogger",
    "LogPipeline",
    "clear_request_context",
    "configure",
    "create_logger",
    "get_logger",
    "levels",
    "pipeline",
    "set_level",
    "set_request_context",
]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
}
_pipeline = LogPipeline()
# One list for all loggers: structlog.testing.capture_logs changes it in place.
_processors: list[Any] = [_pipeline]
_OURS: Final = [_pipeline]


class _Output:
    """What a structlog logger writes to; its levels are the standard library's."""

    __slots__ = ("levels",)

    def __init__(self, name: str = "root") -> None:
        self.levels = logging.getLogger(None if name == "root" else name)

    def __repr__(self) -> str:
        return f"<output of {self.levels.name}>"


class BoundLogger(structlog.BoundLoggerBase):
    """Log an event name and key-values at a level; ``bind`` adds key-values for good."""

    def _log(
        self, method: str, event: object, args: tuple[object, ...], fields: dict[str, Any]
    ) -> None:
        levels = self._logger.levels
        if not levels.isEnabledFor(_LEVELS[method]):
            return
        if "event" in fields:  # structlog's own name for the message
            fields["extra_event"] = fields.pop("event")
        if self._context:
            fields = {**self._context, **fields}
        if args:
            event = interpolated(event, args)
        if self._processors == _OURS:
            exc = current_exception(fields.pop("exc_info")) if "exc_info" in fields else None
            _pipeline.log(method, levels.name, event, fields, exc)
        else:
            self._process(method, {**fields, "event": event})

    def chain(self, method: str) -> LogPipeline | None:
        """Return what a line of a level goes through, where that is our chain and nothing else."""
        if self._processors != _OURS or self._context:
            return None
        return _pipeline if self._logger.levels.isEnabledFor(_LEVELS[method]) else None

    def usual_chain(self, method: str) -> LogPipeline | None:
        """Return the same where a finished JSON line may be written now: no other is due before."""
        if self._processors != _OURS or self._context or _pipeline.console:
            return None
        repeats = _pipeline.repeats
        if repeats.next_end != NEVER and repeats.is_due:
            return None
        return _pipeline if self._logger.levels.isEnabledFor(_LEVELS[method]) else None

    def log_at(
        self,
        created: float,
        method: str,
        event: str,
        fields: Mapping[str, Any],
        exc: BaseException | None = None,
    ) -> None:
        """Log what happened a moment ago.

        Args:
            created: When, in seconds since the Unix epoch; processors of others take the present.
            method: The level.
            event: Name of the event.
            fields: Key-values of the line.
            exc: Adds the traceback.
        """
        if (chain := self.chain(method)) is not None:
            chain.log(method, self._logger.levels.name, event, fields, exc, created)
        elif exc is not None:
            self._log(method, event, (), {**fields, "exc_info": exc})
        else:
            self._log(method, event, (), {**fields})

    def _process(self, method: str, entry: EventDict) -> None:
        """Go through processors that somebody else set, such as a test's."""
        line: Any = entry
        try:
            for process in self._processors:
                line = process(self._logger, method, line)
        except structlog.DropEvent:
            return
        if isinstance(line, bytes):
            _pipeline.write(line)

    def debug(self, event: object, /, *args: object, **fields: Any) -> None:
        """Log what only a developer wants to see."""
        self._log("debug", event, args, fields)

    def info(self, event: object, /, *args: object, **fields: Any) -> None:
        """Log what normally happens."""
        self._log("info", event, args, fields)

    def warning(self, event: object, /, *args: object, **fields: Any) -> None:
        """Log what should be looked at some day."""
        self._log("warning", event, args, fields)

    def error(self, event: object, /, *args: object, **fields: Any) -> None:
        """Log what failed; give ``exc_info=exc`` to add the traceback."""
        self._log("error", event, args, fields)

    def exception(self, event: object, /, *args: object, **fields: Any) -> None:
        """Log what failed, with the traceback of the exception being handled."""
        fields.setdefault("exc_info", True)
        self._log("exception", event, args, fields)

    def critical(self, event: object, /, *args: object, **fields: Any) -> None:
        """Log what stops the service."""
        self._log("critical", event, args, fields)

    warn = warning
    fatal = critical


def get_logger(name: str | None = None, /, **fields: Any) -> BoundLogger:
    """Return a logger with key-values bound to it.

    Args:
        name: Dotted name; sets the ``logger`` field and the level. The root logger by default.
        **fields: Bound to every line.
    """
    return BoundLogger(_Output(name or "root"), _processors, fields)


def create_logger(service: str) -> logging.Logger:
    """Return the standard library's logger of a service, ready to use without ``init``.

    What is passed as ``extra`` becomes fields of the line. Where nothing has set up the logs yet,
    the service's settings do.
    """
    if not _pipeline.service:
        from glam_sdk.config import load_settings
        from glam_sdk.telemetry.log_setup import configure_logging

        configure_logging(load_settings(service))
    return logging.getLogger(service)


def configure(
    *,
    service: str,
    environment: str,
    console: bool,
    provider: LoggerProvider | None,
    write: Callable[[bytes], None] | None = None,
) -> None:
    """Say what the lines of this process tell about it, and where they go.

    Args:
        service: The ``service`` field of each line.
        environment: The ``environment`` field of each line.
        console: Readable lines instead of JSON.
        provider: Where OTLP log records go, or None.
        write: Takes each finished line, without its newline; by default it stays as it is.
    """
    _pipeline.service, _pipeline.environment = service, environment
    _pipeline.console, _pipeline.provider = console, provider
    if write is not None:
        _pipeline.write = write
    # For who asks structlog itself for a logger.
    structlog.configure(
        processors=_processors,
        wrapper_class=BoundLogger,
        logger_factory=_Output,
        cache_logger_on_first_use=True,
    )


def pipeline() -> LogPipeline:
    """Return the chain every line goes through."""
    return _pipeline
