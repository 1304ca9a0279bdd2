"""Names, units and labels are public: a changed one fails here first."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.metrics.export import Gauge, Histogram, Metric, Sum

from glam_sdk.errors import NotFoundError
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.catalogue import AREAS, all_metrics
from glam_sdk.telemetry.metrics import counter
from glam_sdk.telemetry.pipeline import limits, worker_registry
from glam_sdk.telemetry.pipeline.metrics import iterate_metrics
from glam_sdk.telemetry.pipeline.snapshot import points_of
from glam_sdk.telemetry.reference import page
from glam_sdk.testing import capture_telemetry

from .conftest import assert_promtool_accepts

_CREATES = re.compile(r"create_[a-z_]*(counter|gauge|histogram)|duration_histogram")
_CONSTANT = re.compile(r"[A-Z_]+")
PAGE = Path(__file__).parents[3] / "docs" / "reference" / "telemetry.md"


def test_the_page_is_up_to_date() -> None:
    """Run ``python -m glam_sdk.telemetry.reference docs/reference/telemetry.md``."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_labels_that_any_metric_may_have_are_on_the_page() -> None:
    """What the pipeline adds by itself is named too, as it stands in the scrape."""
    overrides = {"telemetry": {"metric_series_limit": 1, "metrics_exporter": ["none"]}}
    with capture_telemetry("shop", overrides=overrides) as telemetry:
        for number in range(3):
            counter("reference.many").add(1, n=number)
        assert 'reference_many_total{otel_metric_overflow="true"} 2\n' in telemetry.scrape()
    for text in ('`otel_metric_overflow="true"`', '`worker="0"`'):
        assert text in page()
    assert limits.OVERFLOW == conv.OTEL_METRIC_OVERFLOW
    assert worker_registry.WORKER_LABEL == conv.WORKER


def test_every_metric_is_listed_once() -> None:
    """One name is one row."""
    assert len(all_metrics()) == sum(len(specs) for specs in AREAS.values())


def test_every_label_is_a_constant() -> None:
    """What is on a series is named in one place."""
    constants = {value for value in vars(conv).values() if isinstance(value, str)}
    labels = {label for spec in all_metrics().values() for label in spec.labels}
    assert labels <= constants


def test_every_instrument_in_the_code_is_listed() -> None:
    """Whoever adds a metric adds its row to ``glam_sdk/telemetry/catalogue.py``."""
    listed, found = all_metrics(), set()
    for path in (PAGE.parents[2] / "glam_sdk").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(node, "func", None), "attr", None) or getattr(
                getattr(node, "func", None), "id", ""
            )
            if not isinstance(node, ast.Call) or not _CREATES.fullmatch(name):
                continue
            for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
                if isinstance(argument, ast.Attribute) and _CONSTANT.fullmatch(argument.attr):
                    value = getattr(conv, argument.attr, None)
                    if isinstance(value, str):
                        found.add(value)
    assert len(found) > 15
    assert not found - set(listed)


def _kind(metric: Metric) -> str:
    if isinstance(metric.data, Sum):
        return "counter" if metric.data.is_monotonic else "up_down_counter"
    return {Gauge: "gauge", Histogram: "histogram"}[type(metric.data)]


async def test_a_running_service_shows_what_the_page_says() -> None:
    """Kind, unit, meaning, buckets and labels of every metric of ours are those of its row."""
    with capture_telemetry("shop") as telemetry:
        app = telemetry.service.install(FastAPI())

        @app.get("/things/{number}")
        async def thing(number: int) -> int:
            if number:
                raise NotFoundError("None.")
            return number

        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            telemetry.service,
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            for path in ("/things/0", "/things/1", "/nowhere"):
                await client.get(path)
        listed = all_metrics()
        data = telemetry.service._pipeline.reader.snapshot()
        seen = set()
        for metric in iterate_metrics(data):
            spec = listed[metric.name]
            assert (metric.name, _kind(metric)) == (spec.name, spec.kind)
            assert (metric.name, metric.unit) == (spec.name, spec.unit)
            assert metric.description == spec.meaning
            for point in points_of(metric):
                unknown = set(point.attributes or {}) - set(spec.labels)
                assert not unknown, (metric.name, unknown)
                if spec.kind == "histogram":
                    assert tuple(point.explicit_bounds) == spec.buckets
            seen.add(metric.name)
        assert {"http.server.request.duration", "process.cpu.time", "glam.errors"} <= seen
        assert_promtool_accepts(telemetry.scrape())


@pytest.mark.parametrize("spec", all_metrics().values(), ids=lambda spec: spec.name)
def test_each_row_is_well_formed(spec) -> None:
    """A name by the rules, a sentence as meaning, buckets in order where there are any."""
    assert re.fullmatch(r"[a-z][a-z0-9_.]*", spec.name)
    assert re.fullmatch(r"[A-Z].*\.", spec.meaning)
    assert list(spec.buckets) == sorted(spec.buckets)
    assert bool(spec.buckets) == (spec.kind == "histogram")
