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
from glam_sdk.telemetry.log_line import SMALL, free_names


@dataclass(slots=True, eq=False)
class Kind:
    """Hold what lines of one kind share; it is one object for all of them.

    Attributes:
        in_span: How they begin in a span, with ``%`` formats for what differs.
        alone: How they begin outside of any.
        record_head: Level and message as they are exported; empty until the first time.
    """

    level: str
    message: str
    logger: str
    in_span: bytes
    alone: bytes
    record_head: bytes = b""


Shared = tuple[str, str, str, str, str]
"""Level, message, logger, service and environment of a line."""
Usual = tuple[Kind, float, SpanContext | None, dict[str, Any], Mapping[str, Any]]
"""Kind, moment, span, ids by their names and fields of one line."""
Take = Callable[[Usual], bool]
"""Exports a line as well; False where it cannot."""

_SPAN: Final = b'"trace_id":"%032x","span_id":"%016x","trace_flags":"%02x",'
MAX_MESSAGE: Final = 256  # characters: a longer one is no name of an event
_MAX_KINDS: Final = 1024
_dumps: Final = orjson.dumps
# What came twice at least: most texts with a number or a name in them never come again.
kinds: dict[Shared, Kind] = {}
_seen_once: set[int] = set()


def learn_kind(shared: Shared) -> Kind | None:
    """Return the kind of a line that is not among ``kinds``; None the first time it comes."""
    mark = hash(shared)
    if mark not in _seen_once:
        if len(_seen_once) >= _MAX_KINDS:
            _seen_once.clear()
        _seen_once.add(mark)
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
    return Kind(level, message, logger, begin + _SPAN + b"%b", begin + b"%b")


def usual_line(
    kind: Kind,
    fields: Mapping[str, Any],
    created: float,
    context: Mapping[str, Any],
    take: Take | None = None,
) -> bytes | None:
    """Return the finished line, or None for one that is not usual.

    Args:
        kind: What it shares with others.
        fields: The caller's.
        created: Seconds since the Unix epoch.
        context: Holds the span, the ids and the request's fields.
        take: Exports it as well.

    Raises:
        TypeError: A text has a lone surrogate.
    """
    if type(fields) is not dict:
        return None  # its methods may do anything
    if of_request := context.get(HOLDER_KEY, context.get(FIELDS_KEY)):
        fields = {**of_request, **fields}
    if not free_names.issuperset(fields) or not _are_plain(fields):
        return None
    of_the_work: dict[str, Any] = {}
    carried = context.get(ids.BAGGAGE_KEY)
    if carried and type(correlation_id := carried.get(ids.CORRELATION_ID_KEY)) is str:
        of_the_work["correlation_id"] = correlation_id
    if (request_id := context.get(ids.REQUEST_ID_KEY)) is not None:
        of_the_work["request_id"] = request_id
    rest = _dumps({**of_the_work, **fields})[1:]
    if len(rest) > MAX_TEXT:
        return None
    span = context.get(ids.SPAN_KEY)
    if span is not None and not (span := span.get_span_context())[5]:
        span = None  # a span context by places: its names cost a call each
    if take is not None and not take((kind, created, span, of_the_work, fields)):
        return None
    second = floor(created)
    micros = (created - second) * 1e6
    if span is None:
        line = kind.alone % (whole_second(second), micros, rest)
    else:
        line = kind.in_span % (whole_second(second), micros, span[0], span[1], span[3] & 255, rest)
    return line if len(rest) > 1 else line[:-2] + b"}"  # without fields there is a comma too many


def _are_plain(fields: dict[str, Any]) -> bool:
    """Tell whether values stand in a line as they are, but for lone surrogates."""
    for value in fields.values():
        kind = type(value)
        if kind is str:
            if "://" in value:
                return False
        elif kind is int or kind is float:
            if not -SMALL < value < SMALL:  # nor NaN
                return False
        elif kind is not bool and value is not None:
            return False
    return True
