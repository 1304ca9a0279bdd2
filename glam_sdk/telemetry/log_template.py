"""Write lines of one kind from a template: what they have in common is encoded once.

Flow: in place of layout and encoding, for a line that comes with nearly every request or message.
The template is made of a line that went the whole way, so both look the same; the same holds for
what is exported of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import SpanContext

from glam_sdk.telemetry.log_encoding import encode_json
from glam_sdk.telemetry.log_line import IDS, Line
from glam_sdk.telemetry.log_usual import usual_json

if TYPE_CHECKING:
    from glam_sdk.telemetry.log_chain import LogPipeline

_HOLES: Final = {
    "timestamp": '"%b.%06d+00:00"',
    "trace_id": '"%b"',
    "span_id": '"%016x"',
    "trace_flags": '"%b"',
    # Valid ids have nothing to escape.
    "correlation_id": '"%b"',
    "request_id": '"%b"',
}

Filled = tuple[float, SpanContext, Sequence[bytes], Mapping[str, Any], Sequence[Any]]
"""Moment, span, ids, the work's own fields and the values that differ, of one line."""
Take = Callable[[Filled], bool]
"""Exports a line that was made from a template; False where it cannot."""


class LineTemplate:
    """Hold the text that lines of one kind share.

    Attributes:
        text: Takes, by one formatting operation, the whole second, the microseconds, the trace id
            in hexadecimal digits, the span id as a number, the flags (see ``log_usual.FLAGS``), the
            ids in bytes, the work's own fields (see :func:`own_json`) and, in JSON, each value
            that differs. It is bytes, as text costs three times as much, and filled in where it is
            needed, because a call with so many values costs a tenth of the line.
        line: That of which it was made.
        service: Whose lines they are.
        environment: Where it runs.
        ids: Names of the ids it has.
        varying: Names of the fields that differ, in their order.

    Args:
        line: One of them, without fields of the work's own.
        varying: Names of the fields that differ, in their order.
        ids: Names of the ids that such a line has.

    Raises:
        ValueError: The line has others of these, or does not say to whose work it belongs.
    """

    __slots__ = (
        "_provider",
        "_take",
        "environment",
        "ids",
        "line",
        "service",
        "text",
        "varying",
    )

    def __init__(self, line: Line, varying: Sequence[str], ids: Sequence[str] = IDS[::-1]) -> None:
        of_the_work = [name for name in _HOLES if name not in IDS or name in ids]
        wanted = [*of_the_work, *varying]
        if [name for name in line if name in {*_HOLES, *varying}] != wanted:
            raise ValueError(f"A line of this kind has {', '.join(line)}, not {', '.join(wanted)}.")
        holes = {**_HOLES, **dict.fromkeys(varying, "%b")}
        holes[of_the_work[-1]] += "%b"
        parts = [f"{_json(name)}:{holes.get(name) or _json(line[name])}" for name in line]
        self.text = f"{{{','.join(parts)}}}".encode()
        self.line = line
        self.service, self.environment = line.get("service"), line.get("environment")
        self.ids = ids
        self.varying = varying
        self._provider: Any = None
        self._take: Take | None = None

    def is_of(self, chain: LogPipeline) -> bool:
        """Tell whether a chain's lines look like this."""
        return self.service is chain.service and self.environment is chain.environment

    def own_json(self, fields: Mapping[str, Any]) -> bytes | None:
        """Return the work's own fields as they stand in a line; None where that is not so simple.

        Args:
            fields: Of the request or message, such as a user's id.
        """
        if not fields:
            return b""
        if not self.line.keys().isdisjoint(fields):
            return None
        shown = usual_json(fields)
        return None if shown is None else b",%b" % shown[1:-1]

    def export(self, chain: LogPipeline, context: Context, filled: Filled) -> bool:
        """Export a line where lines are; False where it has to go the whole way.

        Args:
            chain: What the line goes through.
            context: Of the work.
            filled: The line.
        """
        if context.get(_SUPPRESS_INSTRUMENTATION_KEY):
            return True  # as in LogPipeline.taker
        provider = chain.provider
        if provider is not self._provider:
            make = getattr(provider, "taker_of", None)
            self._take, self._provider = make and make(self), provider
        return self._take is not None and self._take(filled)


def _json(value: object) -> str:
    return encode_json(value).decode().replace("%", "%%")
