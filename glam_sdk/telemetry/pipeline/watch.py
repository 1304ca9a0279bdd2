"""Know whether exports succeed: the last outcome of each signal, for the health report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

_FAILING_AFTER: Final = 2
"""Failures in a row until a signal counts as failing; one may be a collector's restart."""


@dataclass(slots=True)
class ExportRecord:
    """Count the exports of one signal."""

    succeeded: int = 0
    failed: int = 0
    failures_in_a_row: int = 0
    last_success: float | None = None
    """Seconds of ``time.time()``."""

    @property
    def is_failing(self) -> bool:
        """Whether the last exports all failed."""
        return self.failures_in_a_row >= _FAILING_AFTER

    def note(self, *, success: bool) -> None:
        """Take down one export."""
        if success:
            self.succeeded += 1
            self.failures_in_a_row = 0
            self.last_success = time.time()
        else:
            self.failed += 1
            self.failures_in_a_row += 1


@dataclass(slots=True)
class ExportWatch:
    """Watch the exporters of all signals."""

    records: dict[str, ExportRecord] = field(default_factory=dict)

    def over(self, signal: str, exporter: Any) -> Any:
        """Return the exporter, its ``export`` watched; everything else is its own."""
        return _Watched(exporter, self.records.setdefault(signal, ExportRecord()))

    def failing(self) -> list[str]:
        """Return the signals whose last exports failed."""
        return [signal for signal, record in self.records.items() if record.is_failing]


class _Watched:
    """Stand in for an exporter and note how each export ends."""

    def __init__(self, inner: Any, record: ExportRecord) -> None:
        self._inner = inner
        self._record = record

    def export(self, *args: Any, **kwargs: Any) -> Any:
        succeeded = False
        try:
            result = self._inner.export(*args, **kwargs)
            # The three signals each have an enum of their own with this member.
            succeeded = getattr(result, "name", "") == "SUCCESS"
        finally:
            self._record.note(success=succeeded)
        return result

    def __getattr__(self, name: str) -> Any:
        attribute: Callable[..., Any] = getattr(self._inner, name)
        return attribute
