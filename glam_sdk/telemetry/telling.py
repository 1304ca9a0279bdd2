"""Tell of a span when it is over, in one step.

Nobody looks at the span of a statement, or of an event that is written down, while it lasts: it is
never the current one and gets no events. So it need not be there; what is told is a tuple.
"""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, SpanKind, Tracer

from glam_sdk._internal.guard import report
from glam_sdk.telemetry.tracing import (
    OwnAttributes,
    SharedAttributes,
    begun,
    method_of_ours,
)


class SpanForm:
    """Hold what the spans of one place in the code have in common.

    Args:
        name: Of the spans.
        kind: OpenTelemetry span kind.
        attributes: That each of them begins with.

    Attributes:
        written: What an exporter made of it, kept here because it is the same for every span.
    """

    __slots__ = ("attributes", "kind", "name", "written")

    def __init__(self, name: str, kind: SpanKind, attributes: SharedAttributes) -> None:
        self.name = name
        self.kind = kind
        self.attributes = attributes
        self.written: bytes | None = None


def is_seen(tracer: Tracer) -> bool:
    """Tell whether somebody, such as a sampler, may look at a tracer's spans when they start.

    Where nobody does, only the parent counts of the context they are started in.
    """
    seen = method_of_ours(tracer, "glam_is_seen")
    return seen is None or seen()


def tell(
    tracer: Tracer, form: SpanForm, here: Context, own: OwnAttributes, times: tuple[int, int]
) -> SpanContext:
    """Tell of a span that went well; return its ids.

    Args:
        tracer: Starts and ends the span where it is seen.
        form: What it has in common with others.
        here: Context that holds its parent.
        own: Attributes under other names than the form's; given away.
        times: When it started and ended, in nanoseconds since the Unix epoch.
    """
    told = method_of_ours(tracer, "glam_tell")
    if told is None:
        return start_and_end(tracer, form, here, own, times)
    context: SpanContext = told(form, here, own, times)
    return context


def start_and_end(
    tracer: Tracer, form: SpanForm, here: Context, own: OwnAttributes, times: tuple[int, int]
) -> SpanContext:
    """Do what :func:`tell` does by a span, for whoever sees it."""
    attributes = begun(tracer, form.attributes, own)
    span = tracer.start_span(form.name, here, form.kind, attributes, start_time=times[0])
    try:
        span.end(times[1])
    except Exception as failure:  # noqa: BLE001 - somebody's processor must not break what is told of
        report("tracing.end", failure)
    return span.get_span_context()
