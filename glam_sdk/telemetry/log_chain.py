"""Turn an event into one JSON line, and into an OTLP log record where one is wanted.

Both structlog and the standard library end here, so a line looks the same whoever logged it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from time import time
from typing import Any, Final

import structlog
from opentelemetry._logs import Logger, LoggerProvider, SeverityNumber
from opentelemetry.context import (
    _SUPPRESS_INSTRUMENTATION_KEY,
    Context,
    set_value,
)

from glam_sdk._internal.current_context import attach, detach, get_current
from glam_sdk._internal.guard import guarded
from glam_sdk.telemetry.log_encoding import (
    current_exception,
    encode_json,
    exception_message,
    exception_type,
    iso_timestamp,
    plain,
    safe_str,
    text,
    traceback_text,
)
from glam_sdk.telemetry.log_line import GUARDED_NAMES, SEVERITIES, Line, attributes_of, complete
from glam_sdk.telemetry.log_output import LineWriter, StandardOutput
from glam_sdk.telemetry.log_repeats import NEVER, ErrorKey, RepeatLimiter, error_key
from glam_sdk.telemetry.log_usual import (
    MAX_MESSAGE,
    Kind,
    Shared,
    Take,
    Usual,
    kinds,
    learn_kind,
    usual_line,
)

EventDict = MutableMapping[str, Any]

_MAX_LINE: Final = 256 * 1024
_MAX_SAID: Final = 2_000
_CANONICAL: Final = {"warn": "warning", "exception": "error", "fatal": "critical"}
_ERRORS: Final = frozenset({"error", "critical"})
_USUAL: Final = frozenset({"debug", "info", "warning"})
# One line a request: past the limit it loses its traceback, never the line.
_NEVER_HELD: Final = frozenset({"glam_sdk.access"})
_CONSOLE_HIDES: Final = frozenset(
    {"message", "service", "environment", "trace_flags", "span_id"}
    | {"exception.type", "exception.message"}
)
OWN_LOGGER: Final = "glam_sdk.log"


@dataclass(slots=True)
class LogPipeline:
    """Hold what a line needs besides the event: the service, the outputs and the limits."""

    service: str = ""
    environment: str = ""
    console: bool = False
    provider: LoggerProvider | None = None
    write: Callable[[bytes], None] = field(
        default_factory=lambda: LineWriter(StandardOutput(), name="stdout")
    )
    repeats: RepeatLimiter = field(default_factory=lambda: RepeatLimiter(0, 0.0))
    _emitters: dict[str, Logger] = field(default_factory=dict)
    _emitters_of: LoggerProvider | None = None
    _renderer: structlog.dev.ConsoleRenderer | None = None

    def __call__(self, logger: Any, method: str, event: EventDict) -> bytes:
        """Render one event (a structlog processor).

        Raises:
            DropEvent: The line is held back, as one that repeats.
        """
        name = getattr(getattr(logger, "levels", None), "name", "root")
        message = event.pop("event", "")
        exc = current_exception(event.pop("exc_info", None))
        line = self.line(method, name, message, event, exc)
        if line is None:
            raise structlog.DropEvent
        return line

    def log(
        self,
        level: str,
        logger: str,
        message: object,
        fields: Mapping[str, Any],
        exc: BaseException | None = None,
        created: float | None = None,
    ) -> None:
        """Render and write one event; never raises.

        Args:
            level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``.
            logger: Name of the logger.
            message: The event's name.
            fields: Everything else.
            exc: Adds ``exception`` with its traceback.
            created: When it happened, in seconds since the Unix epoch; now by default.
        """
        line = None
        # What only compares equal to a text may show another one.
        if exc is None and type(message) is str and not self.console:
            try:
                shared: Any = level, message, logger, self.service, self.environment
                kind = kinds.get(shared) or self._learn(shared)
                repeats = self.repeats
                if kind is not None and (repeats.next_end == NEVER or not repeats.is_due):
                    context = get_current()
                    take = None if self.provider is None else self.taker(context)
                    line = usual_line(kind, fields, created or time(), context, take)
            except Exception:  # noqa: BLE001 - the whole way copes, or says what failed
                line = None
        if line is None:
            line = self.line(level, logger, message, fields, exc, created)
        if line is not None:
            self.write(line)

    def line(
        self,
        level: str,
        logger: str,
        message: object,
        fields: Mapping[str, Any],
        exc: BaseException | None = None,
        created: float | None = None,
    ) -> bytes | None:
        """Return the finished line, or None for one that is held back; never raises."""
        shown = "?"
        try:
            level = _CANONICAL.get(level, level)
            shown = text(message) if type(message) is str else safe_str(message)
            with_traceback = True
            if self.repeats.is_due:
                self.write_repeats()
            if level in _ERRORS:
                with_traceback = self._admit(level, logger, shown, exc, fields)
                if not with_traceback and logger not in _NEVER_HELD:
                    return None
            moment = created or time()
            context = get_current()
            line = self.layout(level, logger, shown, fields, moment, context)
            if exc is not None:
                _add_exception(line, exc, with_traceback=with_traceback)
            if self.provider is not None:
                self._export(line, moment, context)
            return self._encode(line)
        except Exception as failure:  # noqa: BLE001 - logging must not break the caller
            return encode_json(
                {"level": level, "logger": logger, "message": shown, "service": self.service}
                | {"timestamp": iso_timestamp(), "logging_failed": exception_type(failure)}
            )

    def layout(
        self,
        level: str,
        logger: str,
        message: str,
        fields: Mapping[str, Any],
        created: float,
        context: Context,
    ) -> Line:
        """Return what a line has but its exception, in the order a person reads it."""
        line = {
            "timestamp": iso_timestamp(created),
            "level": level,
            "message": message,
            "logger": logger,
            "service": self.service,
            "environment": self.environment,
        }
        complete(line, fields, context)
        return line

    def _learn(self, shared: Shared) -> Kind | None:
        """Return the kind of a line, unless it is none that may be a usual one."""
        level, message, *_ = shared
        if type(message) is not str or len(message) > MAX_MESSAGE or level not in _USUAL:
            return None
        return learn_kind(shared)

    def taker(self, context: Context) -> Take | None:
        """Return what exports a usual line; None where it is not to be exported."""
        if self.provider is None or context.get(_SUPPRESS_INSTRUMENTATION_KEY):
            return None
        return getattr(self.provider, "take_usual", None) or _refuse

    def _admit(
        self,
        level: str,
        logger: str,
        message: str,
        exc: BaseException | None,
        fields: Mapping[str, Any],
    ) -> bool:
        if logger in _NEVER_HELD:  # the line itself stays; only its traceback is not repeated
            return exc is None or self.repeats.admit(error_key(level, logger, message, exc))
        said = "" if exc is None else exception_message(exc)
        said += encode_json(plain(fields)).decode() if fields else ""
        return self.repeats.admit(error_key(level, logger, message, exc, said[:_MAX_SAID]))

    def write_repeats(self, *, all_of_them: bool = False) -> None:
        """Write one line for each error that was held back and whose window is over."""
        for key, held in self.repeats.ended(all_of_them=all_of_them):
            self._write_summary(key, held, self.repeats.window_s)

    def _write_summary(self, key: ErrorKey, held: int, window_s: float) -> None:
        fields: dict[str, Any] = {"repeated": held, "window_s": window_s}
        if key.exception_type:
            fields |= {"error": key.exception_type, "place": key.place}
        moment = time()
        nobody = Context()  # it stands for many, so it belongs to none of their traces
        line = self.layout(key.level, key.logger, key.message, fields, moment, nobody)
        self._export(line, moment, nobody)
        self.write(self._encode(line))

    def _encode(self, line: Line) -> bytes:
        if self.console:
            return self._render_console(line)
        encoded = encode_json(line)
        return encoded if len(encoded) <= _MAX_LINE else _shortened(line, len(encoded))

    def _export(self, line: Line, created: float, context: Context) -> None:
        """Hand the line to OpenTelemetry, where log records are exported."""
        # The exporter's own lines are left out: a dead collector must not feed itself.
        if self.provider is None or context.get(_SUPPRESS_INSTRUMENTATION_KEY):
            return
        with guarded("logs.emit"):
            take = getattr(self.provider, "take_line", None)
            if take is not None and take(line, created):
                return
            level = line["level"]
            # What the SDK and its processors say of a record must not become one, about which they
            # would say it again.
            token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
            try:
                self._emitter(self.provider, line["logger"]).emit(
                    timestamp=int(created * 1e9),
                    context=context,
                    severity_number=SEVERITIES.get(level, SeverityNumber.INFO),
                    severity_text=level.upper(),
                    body=line["message"],
                    attributes=attributes_of(line),
                )
            finally:
                detach(token)

    def _emitter(self, provider: LoggerProvider, name: str) -> Logger:
        if self._emitters_of is not provider:
            self._emitters, self._emitters_of = {}, provider
        emitter = self._emitters.get(name)
        if emitter is None:
            emitter = self._emitters[name] = provider.get_logger(name)
        return emitter

    def _render_console(self, line: Line) -> bytes:
        if self._renderer is None:
            is_terminal = sys.stdout is not None and sys.stdout.isatty()
            self._renderer = structlog.dev.ConsoleRenderer(colors=is_terminal)
        shown = {k: v for k, v in line.items() if k not in _CONSOLE_HIDES}
        written = self._renderer(None, line["level"], {"event": line["message"], **shown})
        return written.encode("utf-8", "backslashreplace")


def _refuse(_: Usual) -> bool:
    """Be where a line must be emitted as a record: so it goes the whole way."""
    return False


def _add_exception(line: Line, exc: BaseException, *, with_traceback: bool) -> None:
    line["exception.type"] = exception_type(exc)
    line["exception.message"] = exception_message(exc)
    if with_traceback:
        line["exception"] = traceback_text(exc)


def _shortened(line: Line, size: int) -> bytes:
    kept = {k: v for k, v in line.items() if k in GUARDED_NAMES}
    kept["cut"] = f"{len(line) - len(kept)} fields were left out: the line had {size} bytes."
    return encode_json(kept)
