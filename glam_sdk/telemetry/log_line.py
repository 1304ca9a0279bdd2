"""Lay one line out: what every line has, the ids of the work at hand, the caller's fields.

Flow: the first half of a log call. A service logs several lines a request, so the usual case, short
ASCII text and numbers under names that were seen before, takes no function call for each field.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final, cast

from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import Span

from glam_sdk import context as ids
from glam_sdk._internal.redact import secret_rule
from glam_sdk.telemetry.log_context import FIELDS_KEY, HOLDER_KEY
from glam_sdk.telemetry.log_encoding import plain

Line = dict[str, Any]

IDS: Final = ("request_id", "correlation_id")
_BASE: Final = ("timestamp", "level", "message", "logger", "service", "environment")
# A field of the same name is written as extra_<name>, whether the line has ours or not.
_RESERVED: Final = frozenset(
    {*_BASE, "trace_id", "span_id", "trace_flags"}
    | {"exception", "exception.type", "exception.message", "event"}
)
GUARDED_NAMES: Final = _RESERVED | frozenset(IDS)
SEVERITIES: Final = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
_MAX_ATTRIBUTES: Final = 120  # the SDK keeps 128 and warns of more
# Where OpenTelemetry's conventions have what a line says of an exception.
_EXCEPTION_NAMES: Final = {
    "exception.type": "exception.type",
    "exception.message": "exception.message",
    "exception": "exception.stacktrace",
}
# These have a place of their own in a log record.
_PLACED: Final = frozenset({*_BASE, "trace_id", "span_id", "trace_flags", *_EXCEPTION_NAMES})
_FLAGS: Final = tuple(f"{flags:02x}" for flags in range(256))
_SHORT: Final = 1024
SMALL: Final = 2**53
_MAX_FREE_NAMES: Final = 4096
_LONGEST_NAME: Final = 128  # characters of one that is remembered
# Names that are neither ours nor a secret's: their values need no second look at the name.
free_names: set[str] = set()


def complete(line: Line, fields: Mapping[str, Any], context: Context) -> None:
    """Add the ids of the work at hand and the fields of the request and the caller.

    Args:
        line: Has what every line begins with.
        fields: The caller's; they win over those of the request.
        context: Holds the span and the ids.
    """
    if context:
        span = cast("Span | None", context.get(ids.SPAN_KEY))
        if span is not None:
            # A span context is a tuple by its type; its properties cost a call each.
            trace_id, span_id, _, flags, _, is_valid = span.get_span_context()
            if is_valid:
                line["trace_id"] = "%032x" % trace_id  # noqa: UP031 - half the price of format()
                line["span_id"] = "%016x" % span_id  # noqa: UP031
                line["trace_flags"] = _FLAGS[flags & 0xFF]
        carried = cast("Mapping[str, object] | None", context.get(ids.BAGGAGE_KEY))
        if carried and type(correlation_id := carried.get(ids.CORRELATION_ID_KEY)) is str:
            line["correlation_id"] = correlation_id
        request_id = context.get(ids.REQUEST_ID_KEY)
        if request_id is not None:
            line["request_id"] = request_id
        if of_request := context.get(HOLDER_KEY, context.get(FIELDS_KEY)):
            # A copy: another thread of the request may set a field meanwhile.
            _add(line, dict(cast("Mapping[str, Any]", of_request)))
    if fields:
        _add(line, fields)


def attributes_of(line: Line) -> Line:
    """Return what an OTLP log record of the line has as attributes."""
    shown = {key: value for key, value in line.items() if key not in _PLACED}
    if len(shown) > _MAX_ATTRIBUTES:
        shown = dict(islice(shown.items(), _MAX_ATTRIBUTES))
    if "exception.type" in line:
        shown |= {name: line[key] for key, name in _EXCEPTION_NAMES.items() if key in line}
    return shown


def _add(line: Line, fields: Mapping[str, Any]) -> None:
    for key, value in fields.items():
        if key in free_names:
            kind = type(value)
            if (
                (kind is str and len(value) < _SHORT and value.isascii() and "://" not in value)
                or ((kind is int or kind is float) and -SMALL < value < SMALL)
                or kind is bool
            ):
                line[key] = value
            else:
                line[key] = plain(value, key)
        elif key in GUARDED_NAMES:
            line[_free_name(key, value, line)] = plain(value, key)
        else:
            line[key] = plain(value, key)
            is_kept = len(key) <= _LONGEST_NAME and len(free_names) < _MAX_FREE_NAMES
            if is_kept and secret_rule(key) is None:
                free_names.add(key)


def _free_name(key: str, value: object, line: Line) -> str:
    """Keep a caller's field from replacing one of ours: it becomes ``extra_<key>``.

    An id may be given where the work has none, as for a message that is only looked at.
    """
    if key in IDS and line.get(key, value) == value:
        return key
    return f"extra_{key}"
