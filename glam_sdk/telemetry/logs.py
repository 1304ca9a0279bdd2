"""Log through structlog and the standard library alike: one chain, one JSON line per event.

``get_logger`` may be called at import time; what it logs before :func:`configure` goes to
structlog's defaults. Levels are those of the standard library's logger of the same name, so they
can be changed while the service runs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final, TextIO

import structlog
from opentelemetry import trace
from opentelemetry._logs import LoggerProvider, SeverityNumber
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_current, get_value

from glam_sdk import context
from glam_sdk.telemetry.log_encoding import encode_json, iso_timestamp, plain, traceback_text

EventDict = MutableMapping[str, Any]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
_SEVERITY: Final = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
_CANONICAL: Final = {"warn": "warning", "exception": "error", "fatal": "critical"}


@dataclass(slots=True)
class LogPipeline:
    """Turn an event into one line, and into an OTLP log record where one is wanted."""

    service: str = ""
    environment: str = ""
    console: bool = False
    provider: LoggerProvider | None = None
    write: Callable[[bytes], None] = field(default=lambda line: write_line(sys.stdout, line))
    _renderer: structlog.dev.ConsoleRenderer | None = None

    def __call__(self, _: object, method: str, event: EventDict) -> bytes:
        """Render one event (a structlog processor); never raises."""
        level = _CANONICAL.get(method, method)
        line = _base_fields(self, level, event)
        exc = _pop_exception(event)
        message = line["message"]
        fields = {_free_name(key, line): plain(value, key) for key, value in event.items()}
        if self.provider is not None:
            self._emit(level, line, fields, exc)
        line.update(fields)
        if exc is not None:
            line["exception"] = traceback_text(exc)
        if self.console:
            return self._render_console(message, line)
        return encode_json(line)

    def _emit(
        self, level: str, line: EventDict, fields: EventDict, exc: BaseException | None
    ) -> None:
        if self.provider is None or get_value(_SUPPRESS_INSTRUMENTATION_KEY):
            return  # the exporter itself is logging: a dead collector must not feed itself
        attributes = {k: line[k] for k in ("request_id", "correlation_id") if k in line}
        attributes.update(fields)
        self.provider.get_logger(line["logger"]).emit(
            timestamp=None,
            context=get_current(),
            severity_number=_SEVERITY.get(level, SeverityNumber.INFO),
            severity_text=level.upper(),
            body=line["message"],
            attributes=attributes,
            exception=exc,
        )

    def _render_console(self, message: str, line: EventDict) -> bytes:
        if self._renderer is None:
            self._renderer = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
        shown = {k: v for k, v in line.items() if k not in _CONSOLE_HIDES}
        text = self._renderer(None, line["level"], {"event": message, **shown})
        return text.encode("utf-8", "backslashreplace")


_CONSOLE_HIDES: Final = {"message", "service", "environment", "trace_flags", "span_id"}
_pipeline = LogPipeline()


def _base_fields(pipeline: LogPipeline, level: str, event: EventDict) -> EventDict:
    """Return the fields every line has, in the order a person reads them."""
    message = event.pop("event", "")
    line: EventDict = {
        "timestamp": iso_timestamp(event.pop("_created", None)),
        "level": level,
        "message": message if isinstance(message, str) else str(plain(message)),
        "logger": event.pop("logger", "root"),
        "service": pipeline.service,
        "environment": pipeline.environment,
    }
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        line["trace_id"] = f"{span.trace_id:032x}"
        line["span_id"] = f"{span.span_id:016x}"
        line["trace_flags"] = f"{span.trace_flags:02x}"
    if (correlation_id := context.correlation_id()) is not None:
        line["correlation_id"] = correlation_id
    if (request_id := context.request_id()) is not None:
        line["request_id"] = request_id
    return line


def _free_name(key: str, line: EventDict) -> str:
    """Keep a caller's field from replacing one of ours: it becomes ``extra_<key>``."""
    return f"extra_{key}" if key in line or key == "exception" else key


def _pop_exception(event: EventDict) -> BaseException | None:
    value = event.pop("exc_info", None)
    if isinstance(value, tuple):
        value = value[1]
    elif value is True:
        value = sys.exc_info()[1]
    return value if isinstance(value, BaseException) else None


def write_line(stream: TextIO, line: bytes) -> None:
    """Write one line whole; a closed or broken stream loses it without an error."""
    try:
        buffer = getattr(stream, "buffer", None)
        if buffer is None:
            stream.write(line.decode("utf-8", "replace") + "\n")
        else:
            buffer.write(line + b"\n")
        stream.flush()
    except (OSError, ValueError):
        # There is nowhere left to report it: the log is what has gone.
        return


class _Output:
    """What a structlog logger writes to; its levels are the standard library's."""

    __slots__ = ("levels",)

    def __init__(self, name: str = "root") -> None:
        self.levels = logging.getLogger(None if name == "root" else name)

    def msg(self, line: bytes) -> None:
        _pipeline.write(line)

    debug = info = warning = warn = error = exception = critical = fatal = msg


class BoundLogger(structlog.BoundLoggerBase):
    """Log an event name and key-values at a level; ``bind`` adds key-values for good."""

    def _log(self, method: str, event: str, *args: object, **fields: Any) -> None:
        output: _Output = self._logger
        if output.levels.isEnabledFor(_LEVELS[method]):
            text = event % args if args else event
            self._proxy_to_logger(method, text, logger=output.levels.name, **fields)

    def debug(self, event: str, *args: object, **fields: Any) -> None:
        """Log what only a developer wants to see."""
        self._log("debug", event, *args, **fields)

    def info(self, event: str, *args: object, **fields: Any) -> None:
        """Log what normally happens."""
        self._log("info", event, *args, **fields)

    def warning(self, event: str, *args: object, **fields: Any) -> None:
        """Log what should be looked at some day."""
        self._log("warning", event, *args, **fields)

    def error(self, event: str, *args: object, **fields: Any) -> None:
        """Log what failed; give ``exc_info=exc`` to add the traceback."""
        self._log("error", event, *args, **fields)

    def exception(self, event: str, *args: object, **fields: Any) -> None:
        """Log what failed, with the traceback of the exception being handled."""
        fields.setdefault("exc_info", True)
        self._log("exception", event, *args, **fields)

    def critical(self, event: str, *args: object, **fields: Any) -> None:
        """Log what stops the service."""
        self._log("critical", event, *args, **fields)

    warn = warning
    fatal = critical


def get_logger(name: str | None = None, **fields: Any) -> BoundLogger:
    """Return a logger with key-values bound to it.

    Args:
        name: Dotted name; sets the ``logger`` field and the level. The root logger by default.
        **fields: Bound to every line.
    """
    logger: BoundLogger = structlog.get_logger(name or "root", **fields)
    return logger


def configure(
    *,
    service: str,
    environment: str,
    console: bool,
    provider: LoggerProvider | None,
    write: Callable[[bytes], None] | None = None,
) -> None:
    """Point structlog at our chain.

    Args:
        service: The ``service`` field of each line.
        environment: The ``environment`` field of each line.
        console: Readable lines instead of JSON.
        provider: Where OTLP log records go, or None.
        write: Takes each finished line, without its newline; standard output by default.
    """
    _pipeline.service, _pipeline.environment = service, environment
    _pipeline.console, _pipeline.provider = console, provider
    _pipeline.write = write or (lambda line: write_line(sys.stdout, line))
    structlog.configure(
        processors=[_pipeline],
        wrapper_class=BoundLogger,
        logger_factory=_Output,
        cache_logger_on_first_use=True,
    )


def pipeline() -> LogPipeline:
    """Return the chain every line goes through."""
    return _pipeline
