"""Measure with the real SDK and our reader, and scrape it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import prometheus_client
import pytest
from opentelemetry.metrics import Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from glam_sdk.telemetry.pipeline.metrics import ScrapeAndPushReader
from glam_sdk.telemetry.pipeline.scrape import Scraper

_IS_CONVENTION = re.compile(
    r"(process_thread|process_unix_file_descriptor|db_client_connection)_count .*_count. suffix$"
)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@dataclass
class Measured:
    """A meter provider of the test's own, and its scrape."""

    provider: MeterProvider
    scraper: Scraper
    reader: ScrapeAndPushReader

    def meter(self, scope: str = "test") -> Meter:
        """Return a meter of some scope."""
        return self.provider.get_meter(scope)

    def text(self, accept: str = "") -> str:
        """Scrape; each answer must be readable by prometheus_client's parser of its format."""
        body, content_type = self.scraper.scrape(accept)
        text = body.decode()
        if "openmetrics" in content_type:
            assert list(parse_openmetrics(text))
        elif "allow-utf-8" not in content_type:
            assert list(parse_text(text))
        return text

    def openmetrics(self) -> str:
        """Scrape as OpenMetrics."""
        return self.text(OPENMETRICS)


def measure(
    monkeypatch: pytest.MonkeyPatch, *, views: tuple[View, ...] = (), exporter: object = None
) -> Measured:
    """Build provider, reader and scraper beside an empty default registry."""
    monkeypatch.setattr(
        prometheus_client, "REGISTRY", prometheus_client.CollectorRegistry(auto_describe=True)
    )
    resource = Resource({"service.name": "shop", "service.instance.id": "one"})
    reader = ScrapeAndPushReader(exporter, interval_s=3600, resource=resource)
    provider = MeterProvider(
        metric_readers=[reader], resource=resource, views=views, shutdown_on_exit=False
    )
    return Measured(provider, Scraper(resource, reader), reader)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Measured]:
    """Give a provider without views and without an exporter."""
    found = measure(monkeypatch)
    yield found
    found.provider.shutdown()


@pytest.fixture
def tracer():
    """Give a tracer that samples everything and exports nothing."""
    return TracerProvider(shutdown_on_exit=False).get_tracer("test")


def promtool() -> str:
    """Return the path of promtool; skip where it is not installed."""
    beside = Path(sys.prefix) / "prometheus" / "usr" / "bin" / "promtool"
    found = shutil.which("promtool") or (str(beside) if beside.exists() else None)
    if found is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    return found


def assert_promtool_accepts(text: str) -> None:
    """Run ``promtool check metrics``: format and naming rules."""
    command = [promtool(), "check", "metrics"]
    done = subprocess.run(
        command, check=False, input=text, capture_output=True, text=True, timeout=30
    )
    # The semantic conventions name levels such as process.thread.count; promtool would rather not.
    said = [line for line in done.stderr.splitlines() if not _IS_CONVENTION.match(line)]
    assert done.returncode in {0, 3}, done.stderr + done.stdout
    assert not said, said
