"""Measure how late the event loop is: the time a callback that was due had to wait."""

from __future__ import annotations

import asyncio
from typing import Final

from opentelemetry.sdk.metrics import MeterProvider

from glam_sdk._internal.version import __version__
from glam_sdk.telemetry import conventions as conv

_PERIOD_S: Final = 0.5


class LoopWatch:
    """Ask the loop to call back twice a second and record by how much it is late."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("glam_sdk.process", __version__, conv.SCHEMA_URL)
        self._lag = meter.create_histogram(
            conv.GLAM_EVENT_LOOP_LAG,
            unit="s",
            description="How late the event loop called back.",
            explicit_bucket_boundaries_advisory=conv.LAG_BUCKETS,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Watch the loop that is running."""
        self.stop()
        self._loop = asyncio.get_running_loop()
        self._plan(self._loop)

    def stop(self) -> None:
        """Watch no longer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _PERIOD_S
        self._handle = loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        if self._loop is not None:
            self._lag.record(max(0.0, self._loop.time() - self._due))
            self._plan(self._loop)
