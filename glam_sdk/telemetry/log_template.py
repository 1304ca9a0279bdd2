"""Write lines of one kind from a template: what they have in common is encoded once.

Flow: in place of layout and encoding, for a line that comes with nearly every request. The template
is made of a line that went the whole way, so both look the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from opentelemetry.trace import SpanContext

from glam_sdk.telemetry.log_encoding import encode_json, iso_timestamp
from glam_sdk.telemetry.log_line import Line

_OF_THE_WORK: Final = {
    "timestamp": '"%s"',
    "trace_id": '"%032x"',
    "span_id": '"%016x"',
    "trace_flags": '"%02x"',
    "correlation_id": '"%s"',
    "request_id": '"%s"',
}
_is_plain: Final = re.compile(r"[ !#-\[\]-~]{0,1023}\Z").match


def is_plain(text: str) -> bool:
    """Tell whether a text stands in a line as it is: short, ASCII, nothing to escape or to hide."""
    return _is_plain(text) is not None and "://" not in text


class LineTemplate:
    """Hold the text that lines of one kind share.

    Args:
        line: One of them.
        varying: Names of the fields that differ, in their order, with a ``%`` format for each.

    Raises:
        ValueError: The line lacks one of them, or what says to whose work it belongs.
    """

    __slots__ = ("_text",)

    def __init__(self, line: Line, varying: Mapping[str, str]) -> None:
        holes = {**_OF_THE_WORK, **varying}
        if [name for name in line if name in holes] != list(holes):
            raise ValueError(f"A line of this kind has {', '.join(line)}, not {', '.join(holes)}.")
        parts = [f"{_json(name)}:{holes.get(name) or _json(line[name])}" for name in line]
        self._text = f"{{{','.join(parts)}}}"

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
        moment = iso_timestamp(created)
        ids = (moment, trace_id, span_id, flags, correlation_id, request_id)
        return (self._text % (ids + values)).encode()


def _json(value: object) -> str:
    return encode_json(value).decode().replace("%", "%%")
