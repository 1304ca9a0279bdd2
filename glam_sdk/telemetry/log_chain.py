"""Turn an event into one JSON line, and into an OTLP log record where one is wanted.

Both structlog and the standard library end here, so a line looks the same whoever logged it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from time import time
from typing import Any, Final

import structlog
from opentelemetry._logs import Logger, LoggerProvider, SeverityNumber
from opentelemetry.context import (
    _SUPPRESS_INSTRUMENTATION_KEY,
    Context,
    get_current,
)

from glam_sdk._internal.guard import guarded
from glam_sdk.telemetry.log_context import request_context
from glam_sdk.telemetry.log_encoding import (
    current_exception,
    encode_json,
    exception_message,
    exception_type,
    plain,
    safe_str,
)
from glam_sdk.telemetry.log_entry import Entry, Fields
from glam_sdk.telemetry.log_line import SEVERITIES, attributes_of
from glam_sdk.telemetry.log_output import LineWriter
from glam_sdk.telemetry.log_repeats import ErrorKey, RepeatLimiter, error_key
from glam_sdk.telemetry.log_sinks import StandardOutput

EventDict = MutableMapping[str, Any]

_MAX_SAID: Final = 2_000
_CANONICAL: Final = {"warn": "warning", "exception": "error", "fatal": "critical"}
_ERRORS: Final = frozenset({"error", "critical"})
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
    repeats: RepeatLimiter | None = None
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
        entry = self._entry(method, name, message, event, exc)
        if entry is None:
            raise structlog.DropEvent
        return self._encode(entry)

    def log(
        self,
        level: str,
        logger: str,
        message: object,
        fields: Fields,
        *,
        exc: BaseException | None = None,
        created: float | None = None,
    ) -> None:
        """Write one event; never raises.

        Args:
            level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``.
            logger: Name of the logger.
            message: The event's name.
            fields: Everything else, the chain's from now on; or a function that returns it, called
                when the line is rendered.
            exc: Adds ``exception`` with its traceback.
            created: When it happened, in seconds since the Unix epoch; now by default.
        """
        entry = self._entry(level, logger, message, fields, exc, created)
        if entry is None:
            return
        take = None if self.console else getattr(self.write, "take", None)
        if take is None:
            self.write(self._encode(entry))
        else:
            take(entry)

    def _entry(
        self,
        level: str,
        logger: str,
        message: object,
        fields: Fields,
        exc: BaseException | None = None,
        created: float | None = None,
    ) -> Entry | None:
        """Take down one event and export it; None for one that is held back; never raises."""
        level = _CANONICAL.get(level, level)
        context, source = get_current(), (self.service, self.environment)
        shown = "?"
        try:
            shown = message if type(message) is str else safe_str(message)
            with_traceback = True
            if (repeats := self.repeats) is not None:
                if repeats.is_due:
                    self.write_repeats()
                if level in _ERRORS:
                    with_traceback = self._admit(level, logger, shown, exc, fields)
                    if not with_traceback and logger not in _NEVER_HELD:
                        return None
            if of_request := request_context(context):
                # A copy: more may be set before it is rendered.
                fields = {**of_request, **(fields() if callable(fields) else fields)}
            entry = Entry(level, logger, shown, fields, created or time(), context, source)
            if exc is not None:
                entry.add_exception(exc, with_traceback=with_traceback)
            entry.settle()
            if self.provider is not None:
                self._export(entry)
        except Exception as failure:  # noqa: BLE001 - logging must not break the caller
            fault = {"logging_failed": exception_type(failure)}
            return Entry(level, logger, shown, fault, time(), Context(), source)
        return entry

    def _admit(
        self,
        level: str,
        logger: str,
        message: str,
        exc: BaseException | None,
        fields: Fields,
    ) -> bool:
        if self.repeats is None:
            return True
        if logger in _NEVER_HELD:  # the line itself stays; only its traceback is not repeated
            return exc is None or self.repeats.admit(error_key(level, logger, message, exc))
        said = "" if exc is None else exception_message(exc)
        shown = fields() if callable(fields) else fields
        said += encode_json(plain(shown)).decode() if shown else ""
        return self.repeats.admit(error_key(level, logger, message, exc, said[:_MAX_SAID]))

    def write_repeats(self, *, all_of_them: bool = False) -> None:
        """Write one line for each error that was held back and whose window is over."""
        if self.repeats is None:
            return
        for key, held in self.repeats.ended(all_of_them=all_of_them):
            self._write_summary(key, held, self.repeats.window_s)

    def _write_summary(self, key: ErrorKey, held: int, window_s: float) -> None:
        fields: dict[str, Any] = {"repeated": held, "window_s": window_s}
        if key.exception_type:
            fields |= {"error": key.exception_type, "place": key.place}
        # It stands for many, so it belongs to none of their traces.
        source = (self.service, self.environment)
        entry = Entry(key.level, key.logger, key.message, fields, time(), Context(), source)
        self._export(entry)
        self.write(self._encode(entry))

    def _encode(self, entry: Entry) -> bytes:
        return self._render_console(entry) if self.console else entry.json()

    def _export(self, entry: Entry) -> None:
        """Hand an event to OpenTelemetry, where log records are exported."""
        # The exporter's own lines are left out: a dead collector must not feed itself.
        if self.provider is None or entry.context.get(_SUPPRESS_INSTRUMENTATION_KEY):
            return
        with guarded("logs.emit"):
            take = getattr(self.provider, "take", None)
            if take is not None and take(entry):
                return
            self._emitter(self.provider, entry.logger).emit(
                timestamp=int(entry.created * 1e9),
                context=entry.context,
                severity_number=SEVERITIES.get(entry.level, SeverityNumber.INFO),
                severity_text=entry.level.upper(),
                body=entry.message,
                attributes=attributes_of(entry.line()),
            )

    def _emitter(self, provider: LoggerProvider, name: str) -> Logger:
        if self._emitters_of is not provider:
            self._emitters, self._emitters_of = {}, provider
        emitter = self._emitters.get(name)
        if emitter is None:
            emitter = self._emitters[name] = provider.get_logger(name)
        return emitter

    def _render_console(self, entry: Entry) -> bytes:
        if self._renderer is None:
            is_terminal = sys.stdout is not None and sys.stdout.isatty()
            self._renderer = structlog.dev.ConsoleRenderer(colors=is_terminal)
        line = entry.line()
        shown = {k: v for k, v in line.items() if k not in _CONSOLE_HIDES}
        written = self._renderer(None, line["level"], {"event": line["message"], **shown})
        return written.encode("utf-8", "backslashreplace")
