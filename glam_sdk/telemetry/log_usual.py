"""Write the usual line in few steps: plain values under names that were seen before.

Flow: in place of layout and encoding, for most of what a service logs. What lines of one kind share
is one text, made once; moment, ids and fields are filled in by one formatting operation, because
between the work of a request every further one costs a microsecond. A line in which something has
to be hidden, cut or told otherwise goes the whole way, and so do all that this module is not sure
of; where nothing has, both ways write the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor
from typing import Any, Final

import orjson
from opentelemetry.trace import SpanContext

from glam_sdk import context as ids
from glam_sdk.telemetry.log_context import FIELDS_KEY, HOLDER_KEY
from glam_sdk.telemetry.log_encoding import MAX_TEXT, encode_json, text, whole_second
from glam_sdk.telemetry.log_line import free_names


@dataclass(slots=True, eq=False)
class Kind:
    """Hold what lines of one kind share; it is one object for all of them.

    Attributes:
        in_request: How they begin where there are a span and both ids, with ``%`` formats for what
            differs.
        in_span: How they begin in another span.
        alone: How they begin outside of any.
        record_head: Level and message as they are exported; empty until the first time.
    """

    level: str
    message: str
    logger: str
    in_request: bytes
    in_span: bytes
    alone: bytes
    record_head: bytes = b""


Shared = tuple[str, str, str, str, str]
"""Level, message, logger, service and environment of a line."""
Usual = tuple[Kind, float, SpanContext | None, str | None, str | None, Mapping[str, Any]]
"""Kind, moment, span, correlation id, request id and fields of one line."""
Take = Callable[[Usual], bool]
"""Exports a line as well; False where it cannot."""

_SPAN: Final = b'"trace_id":"%032x","span_id":"%016x","trace_flags":"%b",'
_BOTH: Final = b'"correlation_id":%b,"request_id":%b,'
FLAGS: Final = tuple(b"%02x" % flags for flags in range(256))
MAX_MESSAGE: Final = 256  # characters: a longer one is no name of an event
_MAX_KINDS: Final = 1024
_SLASH: Final = ord("/")
# Whole numbers that not every reader keeps exactly are refused.
_STRICT: Final = orjson.OPT_STRICT_INTEGER
_dumps: Final = orjson.dumps
_are_free: Final = free_names.issuperset
_are_exact: Final = frozenset({str, int, bool}).issuperset
_are_scalar: Final = frozenset({str, int, bool, float, type(None)}).issuperset
# What came twice at least: most texts with a number or a name in them never come again.
kinds: dict[Shared, Kind] = {}
_seen_once: set[int] = set()


def comes_again(what: object, seen: set[int], most: int) -> bool:
    """Tell whether something was seen before, which is remembered of so many at most."""
    mark = hash(what)
    if mark in seen:
        return True
    if len(seen) >= most:
        seen.clear()
    seen.add(mark)
    return False


def learn_kind(shared: Shared) -> Kind | None:
    """Return the kind of a line that is not among ``kinds``; None the first time it comes."""
    if not comes_again(shared, _seen_once, _MAX_KINDS):
        return None
    kind = kind_of(*shared)
    if kind is not None:
        if len(kinds) >= _MAX_KINDS:
            kinds.clear()
        kinds[shared] = kind
    return kind


def kind_of(level: str, message: str, logger: str, service: str, environment: str) -> Kind | None:
    """Return how lines begin that share all this; None where the message is no usual one."""
    if "://" in message or text(message) != message:
        return None
    shared = {"level": level, "message": message, "logger": logger}
    shared |= {"service": service, "environment": environment}
    begin = b'{"timestamp":"%%b.%%06d+00:00",%b,' % encode_json(shared)[1:-1].replace(b"%", b"%%")
    texts = begin + _SPAN + _BOTH + b"%b", begin + _SPAN + b"%b%b", begin + b"%b%b"
    return Kind(level, message, logger, *texts)


def usual_line(
    kind: Kind,
    fields: Mapping[str, Any],
    created: float,
    context: Mapping[str, Any],
    take: Take | None = None,
) -> bytes | None:
    """Return the finished line, or None for one that is not usual; raises for an odd id.

    Args:
        kind: What it shares with others.
        fields: The caller's.
        created: Seconds since the Unix epoch.
        context: Holds the span, the ids and the request's fields.
        take: Exports it as well.
    """
    if (of_request := context.get(HOLDER_KEY)) is None:
        of_request = context.get(FIELDS_KEY)
    if of_request and type(fields) is dict:
        fields = {**of_request, **fields}
    if (shown := usual_json(fields)) is None:
        return None
    span, carried = context.get(ids.SPAN_KEY), context.get(ids.BAGGAGE_KEY)
    if span is not None and not (span := span.get_span_context())[5]:
        span = None  # a span context by places: its names cost a call each
    correlation_id = carried.get(ids.CORRELATION_ID_KEY) if carried else None
    if type(correlation_id) is not str:
        correlation_id = None
    request_id = context.get(ids.REQUEST_ID_KEY)
    second = floor(created)
    if span is None or correlation_id is None or request_id is None or not fields:
        line = _elsewhere(kind, created, span, correlation_id, request_id, shown)
    else:
        at, micros, flags = whole_second(second), (created - second) * 1e6, FLAGS[span[3] & 255]
        one, other = _dumps(correlation_id), _dumps(request_id)
        line = kind.in_request % (at, micros, span[0], span[1], flags, one, other, shown[1:])
    if take is not None and not take((kind, created, span, correlation_id, request_id, fields)):
        return None
    return line


def _elsewhere(
    kind: Kind,
    created: float,
    span: SpanContext | None,
    correlation_id: str | None,
    request_id: str | None,
    shown: bytes,
) -> bytes:
    """Return a line that has no span, lacks an id or has no fields."""
    known = b""
    if correlation_id is not None:
        known = b'"correlation_id":%b,' % _dumps(correlation_id)
    if request_id is not None:
        known += b'"request_id":%b,' % _dumps(request_id)
    second = floor(created)
    at, micros, rest = whole_second(second), (created - second) * 1e6, shown[1:]
    if span is None:
        line = kind.alone % (at, micros, known, rest)
    else:
        flags = FLAGS[span[3] & 255]
        line = kind.in_span % (at, micros, span[0], span[1], flags, known, rest)
    return line if len(rest) > 1 else line[:-2] + b"}"  # there is a comma too many


def usual_json(fields: Mapping[str, Any]) -> bytes | None:
    """Return fields as they stand in a line; None where one may have to be shown otherwise."""
    if type(fields) is not dict or not _are_free(fields):
        return None  # the methods of another mapping may do anything
    values = fields.values()
    is_exact = _are_exact(map(type, values))
    if not is_exact and not _are_scalar(map(type, values)):
        return None
    try:
        shown = _dumps(fields, None, _STRICT)
    except TypeError:  # a lone surrogate, or a number that not every reader keeps
        return None
    # A single byte is found in no time, and most lines have none.
    if len(shown) > MAX_TEXT or (_SLASH in shown and b"://" in shown):
        return None
    # JSON has null for numbers it does not know.
    if not is_exact and shown.find(b"null") >= 0 and not all(map(_is_known, values)):
        return None
    return shown


def _is_known(value: Any) -> bool:
    """Tell whether a value is no number but a finite one."""
    return type(value) is not float or value - value == 0
