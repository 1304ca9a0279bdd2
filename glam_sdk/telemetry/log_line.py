"""Lay one line out: what every line has, the ids of the work at hand, the caller's fields.

Flow: the first half of a log call. A service logs several lines a request, so the usual case, short
ASCII text and numbers under names that were seen before, takes no function call for each field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context

from glam_sdk import context as ids
from glam_sdk._internal.redact import secret_rule
from glam_sdk.telemetry.log_context import request_context
from glam_sdk.telemetry.log_encoding import iso_timestamp, plain

Line = dict[str, Any]

IDS: Final = ("request_id", "correlation_id")
_BASE: Final = ("timestamp", "level", "message", "logger", "service", "environment")
# A field of the same name is written as extra_<name>, whether the line has ours or not.
_RESERVED: Final = frozenset(
    {*_BASE, "trace_id", "span_id", "trace_flags"}
    | {"exception", "exception.type", "exception.message", "event"}
)
GUARDED_NAMES: Final = _RESERVED | frozenset(IDS)
_TRACE_FIELDS: Final = frozenset({*_BASE, "trace_id", "span_id", "trace_flags"})
_SHORT: Final = 1024
_SMALL: Final = 2**53
_MAX_FREE_NAMES: Final = 4096
# Names that are neither ours nor a secret's: their values need no second look at the name.
_free_names: set[str] = set()


class Event(NamedTuple):
    """Hold what a log call says, besides its fields."""

    level: str
    logger: str
    message: str
    exc: BaseException | None
    created: float
    """Seconds since the Unix epoch."""
    with_traceback: bool = True


def lay_out(
    event: Event, fields: Mapping[str, Any], service: str, environment: str, context: Context
) -> Line:
    """Return the fields of one line in the order a person reads them.

    Args:
        event: What happened.
        fields: The caller's; they win over those of the request.
        service: Name of the service.
        environment: Where it runs.
        context: Holds the span and the ids.
    """
    level, logger, message, _, created, _ = event
    line: Line = {
        "timestamp": iso_timestamp(created),
        "level": level,
        "message": message,
        "logger": logger,
        "service": service,
        "environment": environment,
    }
    # A span context is a tuple by its type; its properties cost a call each.
    trace_id, span_id, _, flags, _, is_valid = trace.get_current_span(context).get_span_context()
    if is_valid:
        line["trace_id"] = f"{trace_id:032x}"
        line["span_id"] = f"{span_id:016x}"
        line["trace_flags"] = "01" if flags == 1 else f"{flags:02x}"
    if context:
        if (correlation_id := ids.correlation_id(context)) is not None:
            line["correlation_id"] = correlation_id
        if (request_id := ids.request_id(context)) is not None:
            line["request_id"] = request_id
        if of_request := request_context(context):
            _add(line, of_request)
    if fields:
        _add(line, fields)
    return line


def attributes_of(line: Line) -> Line:
    """Return what an OTLP log record has as attributes: all that has no place of its own in it."""
    return {key: value for key, value in line.items() if key not in _TRACE_FIELDS}


def _add(line: Line, fields: Mapping[str, Any]) -> None:
    for key, value in fields.items():
        if key in _free_names:
            kind = type(value)
            if (
                (kind is str and len(value) < _SHORT and value.isascii() and "://" not in value)
                or ((kind is int or kind is float) and -_SMALL < value < _SMALL)
                or kind is bool
            ):
                line[key] = value
            else:
                line[key] = plain(value, key)
        elif key in GUARDED_NAMES:
            line[_free_name(key, value, line)] = plain(value, key)
        else:
            line[key] = plain(value, key)
            if secret_rule(key) is None and len(_free_names) < _MAX_FREE_NAMES:
                _free_names.add(key)


def _free_name(key: str, value: object, line: Line) -> str:
    """Keep a caller's field from replacing one of ours: it becomes ``extra_<key>``.

    An id may be given where the work has none, as for a message that is only looked at.
    """
    if key in IDS and line.get(key, value) == value:
        return key
    return f"extra_{key}"
