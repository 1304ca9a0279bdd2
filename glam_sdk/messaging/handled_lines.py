"""Write the line about a message that was handled: nearly always from a template.

The lines about the messages of one subject differ in ids, times and three values. A handler may put
fields of its own on its line; where those, or anything else, are not plain, the line goes the whole
way and looks the same.
"""

from __future__ import annotations

import logging
from functools import partial
from math import floor
from typing import TYPE_CHECKING, Any, Final

import orjson
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext

from glam_sdk import context as ids
from glam_sdk._internal.current_context import get_current
from glam_sdk.messaging.work import HANDLED
from glam_sdk.telemetry.log_context import FIELDS_KEY, HOLDER_KEY
from glam_sdk.telemetry.log_encoding import whole_second
from glam_sdk.telemetry.log_template import LineTemplate
from glam_sdk.telemetry.log_usual import FLAGS, comes_again
from glam_sdk.telemetry.logs import get_logger

if TYPE_CHECKING:
    from glam_sdk.messaging.work import Work

_LOGGER: Final = "glam_sdk.messaging.pipeline"
_EVENT: Final = "message.handled"
_VARYING: Final = ("duration_ms", "sequence", "event_id")
_IDS: Final = (ids.CORRELATION_ID_KEY,)
_MAX_TEMPLATES: Final = 1024
_MAX_EVENT_ID: Final = 256  # characters: a longer one may have to be cut
_dumps: Final = orjson.dumps
_STRICT: Final = (
    orjson.OPT_STRICT_INTEGER
)  # others are refused: not every reader keeps them exactly
_log = get_logger(_LOGGER)
_levels = logging.getLogger(_LOGGER)


are_wanted: Final = partial(_levels.isEnabledFor, logging.INFO)
"""Tells whether such lines are written at all."""


class HandledLines:
    """Write the lines about the messages that one consumer has handled.

    Args:
        durable: Name of the consumer.
    """

    def __init__(self, durable: str) -> None:
        self._durable = durable
        self._templates: dict[tuple[str, str], LineTemplate] = {}
        # A template is worth its price for what comes again, which a subject with an id does not.
        self._seen_once: set[int] = set()

    def write(self, work: Work, duration_s: float, ended_ns: int) -> None:
        """Log one message, in its context.

        Args:
            work: The message.
            duration_s: How long its attempt took.
            ended_ns: When that ended, in nanoseconds since the Unix epoch.
        """
        created, duration_ms = ended_ns / 1e9, int(duration_s * 1e6 + 0.5) / 1000
        is_usual = work.number == 1 and work.outcome is HANDLED
        if is_usual and self._fill(work, created, duration_ms):
            return
        fields = {"outcome": work.outcome, "duration_ms": duration_ms}
        fields |= work.fields(self._durable)
        _log.log_at(created, "info", _EVENT, fields)
        if is_usual and "event_id" in fields:
            self._learn(work, fields)

    def _fill(self, work: Work, created: float, duration_ms: float) -> bool:
        """Write a line from the template; False for one that needs to go the whole way."""
        chain, message, context = _log.usual_chain("info"), work.message, get_current()
        template = self._templates.get((message.subject, message.stream))
        owner, event_id = _owner(context), work.envelope.event_id if work.envelope else ""
        if (
            chain is None
            or type(event_id) is not str
            or template is None
            or template.service is not chain.service  # as in is_of, whose call would be felt
            or template.environment is not chain.environment
            or owner is None
            or not 0 < len(event_id) <= _MAX_EVENT_ID
            or "://" in event_id
        ):
            return False
        span, correlation_id = owner
        own: Any = context.get(FIELDS_KEY) or {}
        second, sequence = floor(created), message.sequence
        try:
            line = template.text % (
                whole_second(second),
                (created - second) * 1e6,
                b"%032x" % span[0],
                span[1],
                FLAGS[span[3] & 255],
                correlation_id,
                template.own_json(own) if own else b"",
                _dumps(duration_ms),
                _dumps(sequence, None, _STRICT),
                _dumps(event_id),
            )
        except TypeError:  # own fields that are not plain, a lone surrogate, a number too large
            return False
        if chain.provider is not None:
            filled = created, span, (correlation_id,), own, (duration_ms, sequence, event_id)
            if not template.export(chain, context, filled):
                return False
        chain.write(line)
        return True

    def _learn(self, work: Work, fields: dict[str, Any]) -> None:
        """Make a template of the line as it would be without a handler's own fields."""
        chain, context = _log.chain("info"), get_current()
        key = work.message.subject, work.message.stream
        known = self._templates.get(key)
        if chain is None or _owner(context) is None or (known is not None and known.is_of(chain)):
            return
        if known is None and not comes_again(key, self._seen_once, _MAX_TEMPLATES):
            return
        plain = Context({name: context[name] for name in (ids.SPAN_KEY, ids.BAGGAGE_KEY)})
        line = chain.layout("info", _LOGGER, _EVENT, fields, 0.0, plain)
        if len(self._templates) >= _MAX_TEMPLATES:
            self._templates.clear()
        self._templates[key] = LineTemplate(line, _VARYING, _IDS)


def _owner(context: Context) -> tuple[SpanContext, bytes] | None:
    """Return the span and the correlation id of a line; None where they are not so simple."""
    span: Any = context.get(ids.SPAN_KEY)
    carried: Any = context.get(ids.BAGGAGE_KEY)
    if span is None or not carried or ids.REQUEST_ID_KEY in context or HOLDER_KEY in context:
        return None
    found, correlation_id = span.get_span_context(), carried.get(ids.CORRELATION_ID_KEY)
    if not found[5] or type(correlation_id) is not str or not correlation_id.isascii():
        return None  # the sixth value is what is_valid reads
    shown = _dumps(correlation_id)[1:-1]
    return (found, shown) if len(shown) == len(correlation_id) else None  # nothing was escaped
