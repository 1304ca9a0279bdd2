"""Start spans: ids, parent and sampling in one pass, an object only where it is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import getrandbits
from time import time_ns
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
)
from opentelemetry.trace.propagation import _SPAN_KEY
from opentelemetry.util.types import Attributes

from glam_sdk._internal.current_context import get_current
from glam_sdk.telemetry.pipeline.lean.current import CurrentSpan
from glam_sdk.telemetry.pipeline.lean.encoding import encode_scope
from glam_sdk.telemetry.pipeline.lean.handover import Handover
from glam_sdk.telemetry.pipeline.lean.plain import room_for_plain
from glam_sdk.telemetry.pipeline.lean.sampling import SamplingRule, rule_of
from glam_sdk.telemetry.pipeline.lean.span import LeanSpan
from glam_sdk.telemetry.telling import SpanForm, start_and_end
from glam_sdk.telemetry.tracing import NOTHING, OwnAttributes

_FLAGS: Final = tuple(TraceFlags(bits) for bits in range(4))
_RANDOM: Final = int(TraceFlags.RANDOM_TRACE_ID)
_LOWER_64_BITS: Final = (1 << 64) - 1
_SPANS: Final = (LeanSpan, NonRecordingSpan)
_new_context: Final = tuple.__new__
_new_span: Final = object.__new__


class LeanTracer(Tracer):
    """Start the spans of one instrumentation scope.

    Args:
        tracer: The SDK's tracer of that scope, for its settings.
        handover: Takes the spans.
    """

    def __init__(self, tracer: Tracer, handover: Handover) -> None:
        for setting, value in tracer.__dict__.items():
            # One by one: once somebody has asked an object for its ``__dict__``, CPython needs many
            # times as long to find its attributes.
            setattr(self, setting, value)
        self.handover = handover
        self.limits = tracer._span_limits  # noqa: SLF001
        self.scope: InstrumentationScope = tracer._instrumentation_scope  # noqa: SLF001
        self.encoded_scope = encode_scope(self.scope)
        self.room = room_for_plain(self.limits)
        is_counted = not isinstance(self._tracer_metrics, NoOpTracerMetrics)
        is_plain = type(tracer.id_generator) is RandomIdGenerator and not is_counted
        self._rule = rule_of(tracer.sampler) if is_plain else None

    def glam_can_wait(self) -> bool:
        """Tell whether attributes are taken in parts, or made later (see ``tracing.begun``)."""
        return self._rule is not None

    def start_span(  # noqa: PLR0913, PLR0917 - the API's
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002
    ) -> Span:
        """Start a span; what is not sampled costs ids and nothing else."""
        parent = _parent_in(context)
        if not self._tracer_config.is_enabled:
            return NonRecordingSpan(INVALID_SPAN_CONTEXT if parent is None else parent)
        if parent is not None and not parent.is_valid:
            parent = None
        ended: Callable[[], None] | None = None
        if self._rule is None:
            own, attributes, is_recorded, ended = self._ask_sampler(
                context, parent, name, kind, attributes, links
            )
        else:
            own = _make_context(self._rule, parent)
            is_recorded = bool(own[3] & 1)
        if not is_recorded:
            return NonRecordingSpan(own)
        span = _new_span(LeanSpan)
        began = time_ns() if start_time is None else start_time
        span.begin(self, name, own, parent, kind, began, NOTHING, {})
        if attributes is not None:
            span.begin_with(attributes)
        if links:
            span.set_links(links)
        if not (record_exception and set_status_on_exception):
            span.set_on_exception(records=record_exception, sets_status=set_status_on_exception)
        if ended is not None:
            span.call_at_end(ended)
        if self.handover.readers:
            self.handover.on_start(span, context)
        return span

    def glam_child(
        self,
        name: str,
        kind: SpanKind,
        parent: SpanContext | None,
        begun: Any,
        about: tuple[Any, ...] | None = None,
    ) -> Span | None:
        """Start a span below a parent that is in no context (see ``tracing.child_starter``)."""
        rule = self._rule
        if rule is None or self.handover.readers or not self._tracer_config.is_enabled:
            return None
        ids = _make_context(rule, parent)
        if not ids[3] & 1:
            return NonRecordingSpan(ids)
        now = time_ns()
        first, own = begun if about is None else begun(*about)
        span = _new_span(LeanSpan)
        if len(first) + len(own) <= self.room:
            span.begin(self, name, ids, parent, kind, now, first, own)
        else:
            span.begin(self, name, ids, parent, kind, now, NOTHING, {})
            span.begin_with({**first, **own})
        return span

    def glam_is_seen(self) -> bool:
        """Tell whether somebody looks at spans when they start (see ``telling``)."""
        return self._rule is None or bool(self.handover.readers)

    def glam_tell(
        self, form: SpanForm, here: Context, own: OwnAttributes, times: tuple[int, int]
    ) -> SpanContext:
        """Hand over a span that has ended; none is made where nobody sees it."""
        handover, rule = self.handover, self._rule
        if (
            rule is None
            or handover.readers
            or not self._tracer_config.is_enabled
            or len(form.attributes) + len(own) > self.room
        ):
            return start_and_end(self, form, here, own, times)
        parent = _parent_in(here)
        if parent is not None and not parent[5]:  # which is_valid reads
            parent = None
        ids = _make_context(rule, parent)
        if ids[3] & 1:
            told = (form, ids, parent, own, times, self.encoded_scope)
            for encoder in handover.encoders:
                encoder.tell(told)
        return ids

    def start_as_current_span(  # type: ignore[override] # noqa: PLR0913, PLR0917 - the API's
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002
        end_on_exit: bool = True,  # noqa: FBT001, FBT002
    ) -> CurrentSpan:
        """Return a context manager, or decorator, that starts a span and makes it the current."""
        arguments = (
            name,
            context,
            kind,
            attributes,
            links,
            start_time,
            record_exception,
            set_status_on_exception,
        )
        return CurrentSpan(self, arguments, end_on_exit=end_on_exit)

    def _ask_sampler(
        self,
        context: Context | None,
        parent: SpanContext | None,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[Link] | None,
    ) -> tuple[SpanContext, Attributes, bool, Callable[[], None] | None]:
        """Decide and make ids as the SDK does, by calling sampler, id generator and counters."""
        trace_id = self.id_generator.generate_trace_id() if parent is None else parent.trace_id
        result = self.sampler.should_sample(context, trace_id, name, kind, attributes, links or ())
        is_random = (
            self.id_generator.is_trace_id_random()
            if parent is None
            else parent.trace_flags.random_trace_id
        )
        is_sampled = result.decision is Decision.RECORD_AND_SAMPLE
        own = SpanContext(
            trace_id,
            self.id_generator.generate_span_id(),
            is_remote=False,
            trace_flags=_FLAGS[is_sampled | is_random << 1],
            trace_state=result.trace_state,
        )
        ended = self._tracer_metrics.start_span(parent, result.decision)
        return own, result.attributes, result.decision is not Decision.DROP, ended


def _make_context(rule: SamplingRule, parent: SpanContext | None) -> SpanContext:
    """Decide by a rule and make ids."""
    if parent is None:
        trace_id, state = getrandbits(128) or 1, DEFAULT_TRACE_STATE
        flags = _RANDOM | (trace_id & _LOWER_64_BITS < rule.bound)
    else:
        # By places: names cost a call each, and taking the tuple apart as much as all three.
        trace_id, flags, state = parent[0], parent[3], parent[4]
        if not rule.follows_parent:
            flags = flags & _RANDOM | (trace_id & _LOWER_64_BITS < rule.bound)
    span_id = getrandbits(64) or 1
    # Valid by construction; SpanContext's own constructor would check it for half a microsecond.
    return _new_context(SpanContext, (trace_id, span_id, False, _FLAGS[flags & 3], state, True))


def _parent_in(context: Context | None) -> SpanContext | None:
    """Return the ids of the current span of a context, the current context by default."""
    current: Any = (get_current() if context is None else context).get(_SPAN_KEY)
    if current is None:
        return None
    if type(current) in _SPANS and isinstance(own := current.get_span_context(), SpanContext):
        return own
    found: Any = get_current_span(context).get_span_context()
    if found is not None and not isinstance(found, SpanContext):
        raise TypeError("parent_span_context must be a SpanContext or None.")
    return found
