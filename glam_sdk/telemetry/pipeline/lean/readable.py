"""Show a span of ours to those who want the SDK's."""
# The SDK's containers have no public doors for what is clean already.
# ruff: noqa: SLF001

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan

if TYPE_CHECKING:
    from glam_sdk.telemetry.pipeline.lean.span import LeanSpan


def readable(span: LeanSpan) -> ReadableSpan:
    """Return what processors get: the span as it is, and nothing that changes it."""
    tracer = span._tracer
    attributes = BoundedAttributes(tracer.limits.max_span_attributes, immutable=False)
    attributes._dict = span._attributes  # shared on purpose: what is set later shows
    attributes.dropped = span._dropped
    attributes._immutable = True
    return ReadableSpan(
        name=span._name,
        context=span._context,
        parent=span._parent,
        resource=tracer.resource,
        attributes=attributes,
        events=span._events,
        links=span._links,
        kind=span._kind,
        instrumentation_info=tracer.instrumentation_info,
        status=span._status,
        start_time=span._start_time,
        end_time=span._end_time,
        instrumentation_scope=tracer.scope,
    )
