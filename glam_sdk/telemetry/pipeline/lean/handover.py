"""Hand spans to those who want them: encoded for our exporter, whole for anybody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
)

from glam_sdk.telemetry.pipeline.lean.export import EncodedSpanProcessor

if TYPE_CHECKING:
    from glam_sdk.telemetry.pipeline.lean.span import LeanSpan

MultiSpanProcessor = ConcurrentMultiSpanProcessor | SynchronousMultiSpanProcessor


class Handover(SynchronousMultiSpanProcessor):
    """Keep the processors of one provider.

    The SDK's interface wants a ``ReadableSpan`` for each end; it is made only where a processor
    other than ours has been added. Ours come last, so that they export what the others left.

    Args:
        given: Takes all processors but ours, such as one that calls them in parallel.
    """

    def __init__(self, given: MultiSpanProcessor | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the SDK's own
        self.readers: tuple[SpanProcessor, ...] = ()
        self.encoders: tuple[EncodedSpanProcessor, ...] = ()
        self._given: MultiSpanProcessor | None = None
        if given is not None:
            self.add_span_processor(given)
            self._given = given

    def add_span_processor(self, span_processor: SpanProcessor) -> None:
        """Take on one more."""
        if isinstance(span_processor, EncodedSpanProcessor):
            self.encoders += (span_processor,)
        elif self._given is not None:
            self._given.add_span_processor(span_processor)
            return
        else:
            self.readers += (span_processor,)
        super().add_span_processor(span_processor)

    def take(self, span: LeanSpan) -> None:
        """Pass on a span that has ended; its encoding may be put off."""
        if self.readers:
            self._take_readable(span)
            return
        if span._context[3] & 1:  # noqa: SLF001 - the sampled flag, without three calls
            for encoder in self.encoders:
                encoder.take(span)

    def take_late(self, span: LeanSpan) -> None:
        """Pass on a span whose end was put off as long as encoding would be."""
        if self.readers:
            self._take_readable(span)
        elif span._context[3] & 1:  # noqa: SLF001 - as above
            for encoder in self.encoders:
                encoder.encode(span)

    def _take_readable(self, span: LeanSpan) -> None:
        for reader in self.readers:
            reader._on_ending(span)  # noqa: SLF001 - the SDK's own name for it
        readable = span._readable_span()  # noqa: SLF001
        for reader in self.readers:
            reader.on_end(readable)
        for encoder in self.encoders:
            encoder.on_end(readable)
