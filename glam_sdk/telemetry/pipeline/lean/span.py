"""Record one span: slots in place of an object with locks, bounded containers and copies.

It is the SDK's ``Span`` to everybody who looks: the same class, the same fields, the same rules.
What the SDK guards with a lock for each span is here one step that CPython does not interrupt.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, _is_valid_link
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import Attributes

from glam_sdk.telemetry.pipeline.lean.attributes import AttributedSpan
from glam_sdk.telemetry.pipeline.lean.readable import readable
from glam_sdk.telemetry.tracing import NOTHING, SharedAttributes, Tell

if TYPE_CHECKING:
    from glam_sdk.telemetry.pipeline.lean.tracer import LeanTracer

_log = logging.getLogger("opentelemetry.sdk.trace")
UNSET: Final = Status()
_NONE: Final = ()


class LeanSpan(AttributedSpan):
    """Record what happens under a span, and hand it over when it ends.

    The fields have the names that the SDK's ``ReadableSpan`` reads; they are set by its methods,
    because ``_has_more`` says whether any of the rare ones is there to be sent.
    """

    __slots__ = ("_context", "_kind", "_name", "_parent", "_record_end_metrics", "_start_time")
    # These are the class's until they are set, as few spans set any: a slot has to be filled.
    _events: Any = _NONE
    _links: Any = _NONE
    _status = UNSET
    _record_exception = True
    _set_status_on_exception = True

    def begin(  # noqa: PLR0913, PLR0917 - one call, which costs as much as all that it does
        self,
        tracer: LeanTracer,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        start_time: int,
        first: SharedAttributes,
        own: dict[str, Any],
    ) -> None:
        """Fill the slots; in place of the constructor, which the SDK's class guards with a call."""
        self._tracer = tracer
        self._name = name
        self._context: SpanContext = context
        self._parent = parent
        self._kind = kind
        self._start_time = start_time
        self._end_time = None
        self._first = first
        self._own = own
        self._last = NOTHING
        self._has_more = False
        self._record_end_metrics: Callable[[], None] | None = None

    @property
    def resource(self) -> Resource:
        """Who the span comes from."""
        return self._tracer.resource

    @property
    def instrumentation_scope(self) -> InstrumentationScope:
        """Which instrumentation made the span."""
        return self._tracer.scope

    @property
    def instrumentation_info(self) -> Any:
        """The scope under its old name, which the SDK still has, and warns of."""
        warnings.warn(
            "A span's instrumentation_info is deprecated; read its instrumentation_scope.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self._tracer.instrumentation_info

    def get_span_context(self) -> SpanContext:
        """Return the ids to pass on."""
        return self._context

    def is_recording(self) -> bool:
        """Tell whether the span has not ended."""
        return self._end_time is None

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        """Note something that happened at one moment."""
        limits = self._tracer.limits
        bounded = BoundedAttributes(
            limits.max_event_attributes, attributes, max_value_len=limits.max_attribute_length
        )
        event = Event(name, bounded, timestamp)
        if self._is_open("add_event"):
            if self._events is _NONE:
                self._events = BoundedList(limits.max_events)
                self._has_more = True
            self._events.append(event)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Point to another span; an invalid context without attributes or state points nowhere."""
        if not _is_valid_link(context, attributes):
            return
        limits = self._tracer.limits
        bounded = BoundedAttributes(
            limits.max_link_attributes, attributes, max_value_len=limits.max_attribute_length
        )
        if self._is_open("add_link"):
            if self._links is _NONE:
                self._links = BoundedList(limits.max_links)
                self._has_more = True
            self._links.append(Link(context, bounded))

    def update_name(self, name: str) -> None:
        """Give the span another name."""
        if self._end_time is not None:
            _log.warning("Tried calling %s on an ended span.", "update_name")
            return
        self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Say how it went: OK is final, and nothing goes back to unset."""
        if not self._is_open("set_status"):
            return
        code = status.status_code if isinstance(status, Status) else status
        if code is StatusCode.UNSET or self._status.status_code is StatusCode.OK:
            return
        self._has_more = True
        if isinstance(status, Status):
            if description is not None:
                _log.warning("Description %s ignored. Give it to the Status.", description)
            self._status = status
        elif isinstance(status, StatusCode):
            self._status = Status(status, description)

    def set_links(self, links: Sequence[Link]) -> None:
        """Take over the links given at the start."""
        for link in filter(None, links):
            self.add_link(link.context, link.attributes)

    def set_on_exception(self, *, records: bool, sets_status: bool) -> None:
        """Choose what an exception does that leaves ``with span:``."""
        self._record_exception = records
        self._set_status_on_exception = sets_status

    def call_at_end(self, counts: Callable[[], None]) -> None:
        """Have the SDK's own counters told about the end."""
        self._record_end_metrics = counts

    def _is_open(self, call: str) -> bool:
        if self._end_time is None:
            return True
        _log.warning("Tried calling %s on an ended span.", call)
        return False

    def start(self, *_: object, **__: object) -> None:
        """Complain: the tracer has started the span."""
        _log.warning("Calling start() on a started span.")

    def end(self, end_time: int | None = None) -> None:
        """End the span and hand it over; every later call changes nothing."""
        now = time_ns() if end_time is None else end_time
        # No call between the look and the store: of two threads that end a span, one does.
        if self._end_time is not None:
            _log.warning("Calling end() on an ended span.")
            return
        self._end_time = now
        if self._record_end_metrics is not None:
            self._record_end_metrics()
        self._tracer.handover.take(self)

    def glam_stop(self, end_time: int) -> Tell | None:
        """Do the first half of an end, where nobody sees the second (see ``tracing.stop``)."""
        is_seen = self._tracer.handover.readers or self._record_end_metrics is not None
        if is_seen or self._end_time is not None:  # no call before the store, as in end()
            return None
        self._end_time = end_time
        return self._tell

    def _tell(self, name: str | None, attributes: SharedAttributes) -> None:
        if name is not None:
            self._name = name
        if not attributes or self._can_have(attributes):
            self._last = attributes
        else:
            self._set_cleaned(attributes)
        self._tracer.handover.take_late(self)

    def _readable_span(self) -> ReadableSpan:
        return readable(self)
