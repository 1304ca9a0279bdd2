"""Keep the attributes of one span, by the SDK's rules."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry.attributes import _clean_attribute_value
from opentelemetry.sdk.trace import Span
from opentelemetry.util.types import AttributeValue

from glam_sdk.telemetry.pipeline.lean.plain import PLAIN_TYPES, are_plain
from glam_sdk.telemetry.tracing import (
    NOTHING,
    BegunAttributes,
    LaterAttributes,
    SharedAttributes,
)

if TYPE_CHECKING:
    from glam_sdk.telemetry.pipeline.lean.tracer import LeanTracer

_log = logging.getLogger("opentelemetry.sdk.trace")


class AttributedSpan(Span):
    """Keep attributes in three parts, each under other names.

    What a span begins and ends with is often the same for many, which is then encoded once for all
    of them; in between stand those of its own. An attribute that is set anew, or that has to make
    room, makes them one part, and so does whoever looks at them.
    """

    __slots__ = ("_end_time", "_first", "_has_more", "_last", "_own", "_tracer")
    _tracer: LeanTracer
    _end_time: int | None
    _first: SharedAttributes
    _own: dict[str, Any]
    _last: SharedAttributes
    _has_more: bool
    """Whether any of those is set that few spans have: they are the class's until then."""
    _dropped = 0

    def begin_with(self, given: Mapping[str, Any] | BegunAttributes | LaterAttributes) -> None:
        """Take over the attributes given at the start."""
        room = self._tracer.room
        attributes: Any = given() if type(given) is LaterAttributes else given
        # The first of them tells these two parts from anybody's mistake.
        if type(attributes) is tuple and attributes and type(attributes[0]) is SharedAttributes:
            first, own = attributes
            if len(first) + len(own) <= room:
                self._first, self._own = first, own
                return
            attributes = {**first, **own}
        self._add(attributes)

    @property
    def _attributes(self) -> dict[str, Any]:  # type: ignore[override]  # only read by the SDK
        if self._first or self._last:
            self._join()
        return self._own

    def _join(self) -> None:
        """Make the attributes one part, in the dict into which another thread may just write."""
        own = self._own
        middle = own.copy()
        own.clear()
        own.update(self._first)
        own.update(middle)
        own.update(self._last)
        self._first = self._last = NOTHING

    @property
    def dropped_attributes(self) -> int:
        """How many attributes the limit cost."""
        return self._dropped

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute; of a key set before, the last value stays."""
        if self._end_time is not None:
            _log.warning("Setting attribute on ended span.")
            return
        own, first = self._own, self._first
        if (
            type(value) in PLAIN_TYPES
            and type(key) is str
            and key
            and key not in own
            and key not in first
            and len(own) + len(first) < self._tracer.room
        ):
            own[key] = value
            return
        self._set_checked(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        if self._end_time is not None:
            _log.warning("Setting attribute on ended span.")
            return
        self._add(attributes)

    def _add(self, attributes: Mapping[str, Any]) -> None:
        if self._can_have(attributes) and are_plain(attributes):
            self._own.update(attributes)
        else:
            self._set_cleaned(attributes)

    def _can_have(self, attributes: Mapping[str, Any]) -> bool:
        """Tell whether attributes are new to this span and fit."""
        own, first = self._own, self._first
        if len(own) + len(first) + len(attributes) > self._tracer.room:
            return False
        for key in attributes:  # noqa: SIM110 - a generator would cost a call for each
            if key in own or key in first:
                return False
        return True

    def _set_checked(self, key: str, value: Any) -> None:
        limits = self._tracer.limits
        if limits.max_span_attributes == 0:
            self._drop(1)
        elif not key or not isinstance(key, str):
            _log.warning("invalid key `%s`. must be non-empty string. Dropping it.", key)
            self._drop(1)
        else:
            self._put(key, _clean_attribute_value(value, limits.max_span_attribute_length))

    def _set_cleaned(self, attributes: Mapping[str, Any]) -> None:
        limits = self._tracer.limits
        if limits.max_span_attributes == 0:
            self._drop(len(attributes))
            return
        cleaned = _clean_attribute_value(attributes, limits.max_span_attribute_length)
        if len(cleaned) < len(attributes):
            self._drop(len(attributes) - len(cleaned))
        for key, value in cleaned.items():
            self._put(key, value)

    def _put(self, key: str, value: AttributeValue) -> None:
        """Store a clean attribute as the newest; where there is no room, the oldest goes."""
        attributes, limit = self._attributes, self._tracer.limits.max_span_attributes
        if key in attributes:
            del attributes[key]
        elif limit is not None and len(attributes) >= limit:
            _log.warning("A span has more attributes than its limit. Dropping the oldest.")
            del attributes[next(iter(attributes))]
            self._drop(1)
        attributes[key] = value

    def _drop(self, count: int) -> None:
        self._dropped += count
        self._has_more = True
