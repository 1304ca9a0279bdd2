"""Take down what was logged; whoever wants it as JSON or as a log record renders it later.

A log call stands in the middle of somebody else's work, which has left nothing of the rendering in
the processor's caches: there it costs two to three times what it costs line after line in the
thread of the output. So the call keeps what was said, when, and under which span; what could change
until then is rendered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.context import Context

from glam_sdk.telemetry.log_encoding import (
    encode_json,
    exception_message,
    exception_type,
    iso_timestamp,
    text,
    traceback_text,
)
from glam_sdk.telemetry.log_line import GUARDED_NAMES, Line, complete

_MAX_LINE: Final = 256 * 1024
_SHORT: Final = 1024
_ESTIMATE: Final = 512
_FIXED: Final = frozenset({int, float, bool, type(None)})

Fields = Mapping[str, Any] | Callable[[], Mapping[str, Any]]


class Entry:
    """Hold one event.

    Args:
        level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``.
        logger: Name of the logger.
        message: The event's name.
        fields: Everything else; not changed by the caller afterwards. A function is called for them
            when the line is rendered.
        created: When it happened, in seconds since the Unix epoch.
        context: Holds the span and the ids.
        source: Service and environment.
    """

    __slots__ = (
        "_json",
        "_line",
        "context",
        "created",
        "fields",
        "level",
        "logger",
        "message",
        "source",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - a record; one call a line
        self,
        level: str,
        logger: str,
        message: str,
        fields: Fields,
        created: float,
        context: Context,
        source: tuple[str, str],
    ) -> None:
        self.level = level
        self.logger = logger
        self.message = message
        self.fields = fields
        self.created = created
        self.context = context
        self.source = source
        self._line: Line | None = None
        self._json: bytes | None = None

    def line(self) -> Line:
        """Return all fields in the order a person reads them; do not change them."""
        # Two threads that come at once make the same line twice, which is all that can happen.
        line = self._line
        if line is None:
            service, environment = self.source
            line = {
                "timestamp": iso_timestamp(self.created),
                "level": self.level,
                "message": text(self.message),
                "logger": self.logger,
                "service": service,
                "environment": environment,
            }
            fields = self.fields() if callable(self.fields) else self.fields
            complete(line, fields, self.context)
            self._line = line
        return line

    def json(self) -> bytes:
        """Return the line as JSON, without its newline; never raises."""
        encoded = self._json
        if encoded is None:
            encoded = self._json = self._encode()
        return encoded

    def add_exception(self, exc: BaseException, *, with_traceback: bool) -> None:
        """Put an exception on the line."""
        line = self.line()
        line["exception.type"] = exception_type(exc)
        line["exception.message"] = exception_message(exc)
        if with_traceback:
            line["exception"] = traceback_text(exc)

    @property
    def size(self) -> int:
        """Bytes of the line, estimated as long as it is not rendered."""
        return _ESTIMATE if self._json is None else len(self._json)

    def settle(self) -> None:
        """Render the line where a field could still change, or something is large."""
        if self._line is not None or len(self.message) >= _SHORT or not _are_fixed(self.fields):
            self.json()

    def _encode(self) -> bytes:
        try:
            line = self.line()
            encoded = encode_json(line)
        except Exception as failure:  # noqa: BLE001 - logging must not break the caller
            line = {"level": self.level, "logger": self.logger, "message": self.message}
            told = {"service": self.source[0], "timestamp": iso_timestamp()}
            return encode_json(line | told | {"logging_failed": exception_type(failure)})
        return encoded if len(encoded) <= _MAX_LINE else _shortened(line, len(encoded))


def _are_fixed(fields: Fields) -> bool:
    """Tell whether fields stay as they are, and small."""
    if callable(fields):
        return True
    for value in fields.values():
        kind = type(value)
        if (len(value) >= _SHORT) if kind is str else kind not in _FIXED:
            return False
    return True


def _shortened(line: Line, size: int) -> bytes:
    kept = {k: v for k, v in line.items() if k in GUARDED_NAMES}
    kept["cut"] = f"{len(line) - len(kept)} fields were left out: the line had {size} bytes."
    return encode_json(kept)
