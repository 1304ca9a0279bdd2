"""Write lines of one kind from a template: what they have in common is encoded once.

Flow: in place of layout and encoding, for a line that comes with nearly every request. The template
is made of a line that went the whole way, so both look the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import floor
from typing import Final

import orjson
from opentelemetry.trace import SpanContext

from glam_sdk.telemetry.log_encoding import encode_json, whole_second
from glam_sdk.telemetry.log_line import GUARDED_NAMES, Line

_OF_THE_WORK: Final = {
    "timestamp": '"%b.%06d+00:00"',
    "trace_id": '"%032x"',
    "span_id": '"%016x"',
    "trace_flags": '"%02x"',
    "correlation_id": "%b",
    "request_id": "%b",
}
_MAX_TEXT: Final = 1023
_dumps: Final = orjson.dumps


def is_plain(text: str) -> bool:
    """Tell whether a text stands in a line as it is: short, ASCII, nothing to escape or to hide."""
    return (
        text.isascii()
        and text.isprintable()
        and len(text) <= _MAX_TEXT
        and '"' not in text
        and "\\" not in text
        and "://" not in text
    )


class LineTemplate:
    """Hold the text that lines of one kind share.

    Args:
        line: One of them.
        varying: Names of the fields that differ, in their order.

    Raises:
        ValueError: The line lacks one of them, or what says to whose work it belongs.
    """

    __slots__ = ("_text", "fields")

    def __init__(self, line: Line, varying: Iterable[str]) -> None:
        holes = {**_OF_THE_WORK, **dict.fromkeys(varying, "%b")}
        if [name for name in line if name in holes] != list(holes):
            raise ValueError(f"A line of this kind has {', '.join(line)}, not {', '.join(holes)}.")
        parts = [f"{_json(name)}:{holes.get(name) or _json(line[name])}" for name in line]
        self._text = f"{{{','.join(parts)}}}".encode()
        self.fields = {name: line[name] for name in line if name not in GUARDED_NAMES}
        """The other fields of that line, in their order."""

    def fill(
        self,
        created: float,
        span: SpanContext,
        correlation_id: str,
        request_id: str,
        *values: object,
    ) -> bytes:
        """Return one line.

        Args:
            created: Seconds since the Unix epoch.
            span: To whom it belongs.
            correlation_id: Of the work; valid, as the request id.
            request_id: Of the request.
            *values: One for each field that differs; texts are plain (see :func:`is_plain`).
        """
        trace_id, span_id, _, flags, _, _ = span
        second = floor(created)
        # One formatting operation, and of bytes: text costs three times as much.
        return self._text % (
            whole_second(second),
            (created - second) * 1e6,
            trace_id,
            span_id,
            flags,
            _dumps(correlation_id),
            _dumps(request_id),
            *map(_dumps, values),
        )


def _json(value: object) -> str:
    return encode_json(value).decode().replace("%", "%%")
