"""Measure a scrape of two workers before and after many of them have been restarted.

``python -m benchmarks.restarts`` prints the table. A worker is a reader, a provider and a place in
the group; each that ends leaves histogram series with an exemplar in every bucket it has used.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from glam_sdk.telemetry.conventions import HTTP_DURATION_BUCKETS
from glam_sdk.telemetry.pipeline.metrics import ScrapeAndPushReader
from glam_sdk.telemetry.pipeline.scrape import Scraper

_RESTARTS: Final = 500
_SERIES: Final = 200
_BEST_OF: Final = 20
_ACCEPT: Final = "application/openmetrics-text"


@dataclass(slots=True)
class Worker:
    """Be one process's metrics in the group of a directory."""

    provider: MeterProvider
    scraper: Scraper

    @classmethod
    def started(cls, directory: Path) -> Worker:
        """Join the group and measure in every series, inside a sampled span."""
        resource = Resource({})
        reader = ScrapeAndPushReader(None, interval_s=3600, resource=resource)
        provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        histogram = provider.get_meter("bench").create_histogram(
            "h", unit="s", explicit_bucket_boundaries_advisory=HTTP_DURATION_BUCKETS
        )
        tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
        with tracer.start_as_current_span("bench"):
            for number in range(_SERIES):
                for seconds in (0.003, 0.03, 0.3):
                    histogram.record(seconds, {"n": str(number)})
        scraper = Scraper(resource, reader)
        scraper.join_workers("bench", directory)
        return cls(provider, scraper)

    def ended(self) -> None:
        """Leave the counts to the others."""
        self.scraper.leave_workers()
        self.provider.shutdown()

    def scrape(self) -> tuple[float, bytes]:
        """Return the seconds of the fastest scrape, and its body."""
        best, body = float("inf"), b""
        for _ in range(_BEST_OF):
            started = time.perf_counter()
            body, _ = self.scraper.scrape(_ACCEPT)
            best = min(best, time.perf_counter() - started)
        return best, body


def table() -> str:
    """Return what a scrape takes, shows and leaves on the disk."""
    lines = [
        f"| two workers, {_SERIES} histogram series | ms | exemplars | files | KB on disk |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        first, last = Worker.started(directory), Worker.started(directory)
        for restarts in (0, _RESTARTS):
            for _ in range(restarts):
                last.ended()
                last = Worker.started(directory)
            seconds, body = first.scrape()
            files = list((directory / "bench").iterdir())
            size = sum(file.stat().st_size for file in files) / 1000
            lines.append(
                f"| after {restarts} restarts | {seconds * 1000:.1f} | {body.count(b' # {')} "
                f"| {len(files)} | {size:.0f} |"
            )
        last.ended()
        first.ended()
    return "\n".join(lines)


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}\n")
    print(table())
