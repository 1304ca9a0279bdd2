"""Know what happens to telemetry on its way out: exports, queues, and what was dropped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from glam_sdk.telemetry.pipeline.export_errors import ExportError, ExportErrors, describe, unwrapped
from glam_sdk.telemetry.pipeline.forking import call_in_child

_FAILING_AFTER: Final = 2
"""Failures in a row until a signal counts as failing; one may be a collector's restart."""

_SIGNALS: Final = {
    "OTLPSpanExporter": "span",
    "OTLPLogExporter": "log",
    "OTLPMetricExporter": "metric",
}

Observer = Callable[[str, float, str | None], None]
"""Takes the signal, the seconds of one export and the error's type."""


@dataclass(slots=True)
class ExportRecord:
    """Count the exports of one signal, and the spans, records or points in them."""

    succeeded: int = 0
    failed: int = 0
    failures_in_a_row: int = 0
    items_exported: int = 0
    items_failed: dict[str, int] = field(default_factory=dict)
    """By the type of the error."""
    component: str = "exporter"
    """Type of the exporter, by the semantic conventions."""
    last_s: float = 0.0
    longest_s: float = 0.0
    last_error: ExportError | None = None
    """Why the last export failed; None when it did not."""

    @property
    def is_failing(self) -> bool:
        """Whether the last exports all failed."""
        return self.failures_in_a_row >= _FAILING_AFTER

    def note(
        self, *, items: int = 0, seconds: float = 0.0, error: ExportError | None = None
    ) -> None:
        """Take down one export; without an error it succeeded."""
        self.last_s, self.longest_s = seconds, max(self.longest_s, seconds)
        self.last_error = error
        if error is None:
            self.succeeded += 1
            self.failures_in_a_row = 0
            self.items_exported += items
        else:
            self.failed += 1
            self.failures_in_a_row += 1
            self.items_failed[error.kind] = self.items_failed.get(error.kind, 0) + items

    def forget(self) -> None:
        """Begin anew."""
        self.succeeded = self.failed = self.failures_in_a_row = self.items_exported = 0
        self.items_failed, self.last_error = {}, None
        self.last_s = self.longest_s = 0.0


@dataclass(slots=True)
class QueueRecord:
    """Count what one batching processor has taken in; the SDK calls it for each batch and drop."""

    capacity: int = 0
    processed: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """By the reason: ``queue_full`` or ``already_shutdown``."""
    size: Callable[[], int] = field(default=lambda: 0)

    def register_queue_size(self, get_queue_size: Callable[[], int]) -> None:
        """Take over how long the queue is."""
        self.size = get_queue_size

    def drop_items(self, count: int, error_type: str = "queue_full") -> None:
        """Count what was dropped."""
        self.dropped[error_type] = self.dropped.get(error_type, 0) + count

    def finish_items(self, count: int) -> None:
        """Count what was handed to the exporter."""
        self.processed += count

    def forget(self) -> None:
        """Begin anew."""
        self.processed, self.dropped = 0, {}


@dataclass(slots=True, weakref_slot=True)
class ExportWatch:
    """Watch the exporters and queues of all signals; a forked child has exported nothing yet."""

    records: dict[str, ExportRecord] = field(default_factory=dict)
    queues: dict[str, list[QueueRecord]] = field(default_factory=dict)
    observer: Observer | None = None

    def __post_init__(self) -> None:
        """Begin anew in a forked child."""
        call_in_child(self._forget)

    def _forget(self) -> None:
        for record in self.records.values():
            record.forget()
        for queues in self.queues.values():
            for queue in queues:
                queue.forget()

    def over(self, signal: str, exporter: Any) -> Any:
        """Return the exporter, its ``export`` watched; everything else is its own."""
        record = self.records.setdefault(signal, ExportRecord(component=component_of(exporter)))
        return _Watched(self, signal, exporter, record)

    def new_queue(self, signal: str) -> QueueRecord:
        """Return the record that a queue of ours writes itself."""
        record = QueueRecord()
        self.queues.setdefault(signal, []).append(record)
        return record

    def over_queue(self, signal: str, processor: Any) -> Any:
        """Return the batching processor, its queue watched where the SDK lets us."""
        batch = getattr(processor, "_batch_processor", None)
        queue = getattr(batch, "_queue", None)
        if batch is not None and queue is not None:
            record = QueueRecord(capacity=getattr(batch, "_max_queue_size", 0))
            record.register_queue_size(lambda: len(batch._queue))  # noqa: SLF001 - no public way
            batch._metrics = record  # noqa: SLF001
            self.queues.setdefault(signal, []).append(record)
        return processor

    def failing(self) -> list[str]:
        """Return the signals whose last exports failed."""
        return [signal for signal, record in self.records.items() if record.is_failing]

    def details(self) -> dict[str, str | int | float | bool]:
        """Return what the health report shows."""
        found: dict[str, str | int | float | bool] = {}
        for signal, record in self.records.items():
            found[f"{signal}_succeeded"] = record.succeeded
            found[f"{signal}_failed"] = record.failed
            found[f"{signal}_last_export_s"] = round(record.last_s, 6)
            found[f"{signal}_longest_export_s"] = round(record.longest_s, 6)
            if record.last_error is not None:
                found[f"{signal}_last_error"] = record.last_error.text
        for signal, queues in self.queues.items():
            found[f"{signal}_queued"] = sum(queue.size() for queue in queues)
            found[f"{signal}_queue_capacity"] = sum(queue.capacity for queue in queues)
            found[f"{signal}_dropped"] = sum(sum(queue.dropped.values()) for queue in queues)
        return found


class _Watched:
    """Stand in for an exporter and note how each export ends."""

    def __init__(self, watch: ExportWatch, signal: str, inner: Any, record: ExportRecord) -> None:
        self._watch = watch
        self._signal = signal
        self._inner = inner
        self._record = record
        self._errors = ExportErrors(inner)

    def export(self, *args: Any, **kwargs: Any) -> Any:
        error: ExportError | None = ExportError()
        started = time.perf_counter()
        try:
            result = self._inner.export(*args, **kwargs)
            # The three signals each have an enum of their own with this member.
            is_success = getattr(result, "name", "") == "SUCCESS"
            error = None if is_success else self._errors.last or error
        except Exception as exc:
            error = describe(exc)
            raise
        finally:
            seconds = time.perf_counter() - started
            self._record.note(items=_count(args[0]) if args else 0, seconds=seconds, error=error)
            observer = self._watch.observer
            if observer is not None:
                observer(self._signal, seconds, error.kind if error is not None else None)
        return result

    def __getattr__(self, name: str) -> Any:
        attribute: Callable[..., Any] = getattr(self._inner, name)
        return attribute


def component_of(exporter: object) -> str:
    """Return an exporter's ``otel.component.type``; one that has none is named by its class."""
    kind = type(unwrapped(exporter))
    for protocol in ("http", "grpc"):
        for name, signal in _SIGNALS.items():
            if f".otlp.proto.{protocol}." in kind.__module__ and kind.__name__ == name:
                return f"otlp_{protocol}_{signal}_exporter"
    return f"{kind.__module__}.{kind.__qualname__}"


def _count(batch: Any) -> int:
    """Return how many spans, log records or data points an export has."""
    resources = getattr(batch, "resource_metrics", None)
    if resources is None:
        return len(batch) if hasattr(batch, "__len__") else 0
    return sum(
        len(metric.data.data_points)
        for resource in resources
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )
