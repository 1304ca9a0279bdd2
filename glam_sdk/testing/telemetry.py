"""Capture what code under test emits, through the same pipeline that production uses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from glam_sdk._internal.afterwards import settle
from glam_sdk.runtime import bootstrap, state
from glam_sdk.runtime.service import Service
from glam_sdk.telemetry import early, logs, stdlib_logging

_SILENT: Mapping[str, Any] = {
    "telemetry": {
        "traces_exporter": ["none"],
        "metrics_exporter": ["none"],
        "logs_exporter": ["none"],
    }
}


@dataclass(slots=True)
class CapturedTelemetry:
    """Hold the running service and what it emitted."""

    service: Service
    lines: list[bytes] = field(default_factory=list)
    _exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """Finished spans, in the order they ended."""
        settle()
        return self._exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        """Return the one span of a name.

        Raises:
            LookupError: There is none, or more than one; the message shows the trace.
        """
        found = [span for span in self.spans if span.name == name]
        if len(found) != 1:
            raise LookupError(f"There are {len(found)} spans named {name!r} in:\n{self.tree()}")
        return found[0]

    def tree(self) -> str:
        """Return all spans as indented text: ``name KIND STATUS``."""
        spans = sorted(self.spans, key=lambda span: span.start_time or 0)
        ids = {span.context.span_id for span in spans}
        lines: list[str] = []

        def add(span: ReadableSpan, depth: int) -> None:
            status = span.status.status_code.name
            shown = "" if status == "UNSET" else f" {status}"
            lines.append(f"{'  ' * depth}{span.name} {span.kind.name}{shown}")
            for child in spans:
                if child.parent is not None and child.parent.span_id == span.context.span_id:
                    add(child, depth + 1)

        for span in spans:
            if span.parent is None or span.parent.span_id not in ids:
                add(span, 0)
        return "\n".join(lines)

    def logs(self, message: str | None = None) -> list[dict[str, Any]]:
        """Return the log lines, decoded; those of one event name if given."""
        settle()
        entries: list[dict[str, Any]] = [json.loads(line) for line in tuple(self.lines)]
        return [e for e in entries if message is None or e["message"] == message]

    def scrape(self, *, openmetrics: bool = False) -> str:
        """Return the Prometheus scrape as text."""
        settle()
        accept = "application/openmetrics-text; version=1.0.0" if openmetrics else ""
        return self.service.scrape(accept)[0].decode()

    def clear(self) -> None:
        """Forget spans and log lines."""
        settle()
        self._exporter.clear()
        self.lines.clear()


@contextmanager
def capture_telemetry(
    service_name: str = "test", *, overrides: Mapping[str, Any] | None = None
) -> Iterator[CapturedTelemetry]:
    """Run ``init`` for the block, with everything kept in memory, and undo it afterwards.

    OpenTelemetry allows its global providers to be set once in a process; here they are put back,
    which is for tests alone.

    Args:
        service_name: Given to ``init``.
        overrides: Settings, as for ``init``.
    """
    _forget_global_providers()
    service = bootstrap.init(service_name, overrides={**_SILENT, **(overrides or {})})
    captured = CapturedTelemetry(service)
    provider = trace.get_tracer_provider()
    # With OTEL_SDK_DISABLED there is no provider to add to, and no span to see.
    if hasattr(provider, "add_span_processor"):
        provider.add_span_processor(SimpleSpanProcessor(captured._exporter))  # noqa: SLF001
    logs.pipeline().write = captured.lines.append
    try:
        yield captured
    finally:
        bootstrap.shutdown()
        stdlib_logging.release()
        _forget_global_providers()


def _forget_global_providers() -> None:
    """Undo ``init`` and ``set_*_provider``; OpenTelemetry's own tests have no public way either."""
    state.forget()
    early.forget()
    trace._TRACER_PROVIDER = None  # noqa: SLF001
    trace._TRACER_PROVIDER_SET_ONCE = Once()  # noqa: SLF001
    meters: Any = metrics._internal  # noqa: SLF001
    meters._METER_PROVIDER = None  # noqa: SLF001
    meters._METER_PROVIDER_SET_ONCE = Once()  # noqa: SLF001
    meters._PROXY_METER_PROVIDER = meters._ProxyMeterProvider()  # noqa: SLF001
    loggers: Any = _logs._internal  # noqa: SLF001
    loggers._LOGGER_PROVIDER = None  # noqa: SLF001
    loggers._LOGGER_PROVIDER_SET_ONCE = Once()  # noqa: SLF001
