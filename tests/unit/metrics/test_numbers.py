"""A number that OTLP cannot carry costs nobody else's metrics."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import metrics
from opentelemetry.metrics import Observation

import glam_sdk
from glam_sdk.telemetry.metrics import counter, gauge, histogram, up_down_counter
from glam_sdk.telemetry.pipeline.otlp_numbers import _number
from glam_sdk.testing import CapturedTelemetry, OtlpReceiver, capture_telemetry

HUGE = 2**70


@pytest.fixture
def pushed() -> Iterator[tuple[CapturedTelemetry, OtlpReceiver]]:
    """Run a service that pushes to a receiver."""
    with OtlpReceiver() as receiver:
        overrides = {"telemetry": {"endpoint": receiver.endpoint, "metrics_exporter": ["otlp"]}}
        with capture_telemetry("shop", overrides=overrides) as telemetry:
            yield telemetry, receiver


def last_push(receiver: OtlpReceiver) -> dict[str, list]:
    """Return the points of the last push by the metric's name."""
    return {
        metric.name: list(getattr(metric, metric.WhichOneof("data")).data_points)
        for resource in receiver.metrics[-1].resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_integers_beyond_64_bits_are_pushed_as_floats(pushed) -> None:
    """Each kind, bound and unbound, in a span (exemplars are numbers too), and sums of sums."""
    telemetry, receiver = pushed
    with glam_sdk.span("work"):
        counter("numbers.count").add(HUGE)
        counter("numbers.count").bind(a="b").add(HUGE)
        for _ in range(4):
            up_down_counter("numbers.sum").add(-(2**62))
        up_down_counter("numbers.level").add(-HUGE)
        gauge("numbers.gauge").set(HUGE)
        histogram("numbers.size").record(HUGE)
        histogram("numbers.size").bind(a="b").record(HUGE)
        counter("numbers.good").add(7)
    assert not telemetry.service._pipeline.flush(10)
    points = last_push(receiver)
    assert [point.as_double for point in points["numbers.count"]] == [HUGE, HUGE]
    assert points["numbers.sum"][0].as_int == -(2**64) or (
        points["numbers.sum"][0].as_double == -(2**64)
    )
    assert points["numbers.level"][0].as_double == -HUGE
    assert points["numbers.gauge"][0].as_double == HUGE
    assert [point.sum for point in points["numbers.size"]] == [HUGE, HUGE]
    assert points["numbers.size"][0].exemplars[0].as_double == HUGE
    assert points["numbers.good"][0].as_int == 7
    assert "numbers_good_total 7\n" in telemetry.scrape()


def test_numbers_of_the_plain_api_cost_only_themselves(pushed) -> None:
    """A library measures against OpenTelemetry's own API; what fits no float is left out."""
    telemetry, receiver = pushed
    meter = metrics.get_meter("library")
    meter.create_counter("numbers.decimal").add(Decimal("1.5"))
    meter.create_histogram("numbers.large").record(HUGE)

    def observe(_: object) -> Iterator[Observation]:
        yield Observation(HUGE, {"a": "large"})
        yield Observation(1, {"a": "small"})

    meter.create_observable_gauge("numbers.observed", [observe])
    meter.create_observable_counter("numbers.seen", [observe])
    up_down = meter.create_up_down_counter("numbers.endless")
    for _ in range(2):
        up_down.add(int(1.7e308))
    for _ in range(2):
        assert not telemetry.service._pipeline.flush(10)
    points = last_push(receiver)
    assert points["numbers.decimal"][0].as_double == 1.5
    assert points["numbers.large"][0].sum == HUGE
    assert [point.as_double or point.as_int for point in points["numbers.observed"]] == [HUGE, 1]
    assert [point.as_double or point.as_int for point in points["numbers.seen"]] == [HUGE, 1]
    assert not points.get("numbers.endless")
    (warning,) = telemetry.logs("metrics.number_left_out")
    assert warning["metric"] == "numbers.endless"
    assert "numbers_observed" in telemetry.scrape()


def test_other_kinds_of_numbers_are_measured(telemetry) -> None:
    """A price is a Decimal in many services."""
    for value in (Decimal("1.5"), Fraction(1, 2), True):
        counter("numbers.kinds").add(value)
        counter("numbers.kinds").bind(way="bound").add(value)
    text = telemetry.scrape()
    assert "numbers_kinds_total 3.0\n" in text
    assert 'numbers_kinds_total{way="bound"} 3.0\n' in text


@given(st.one_of(st.integers(), st.floats(allow_nan=False), st.integers().map(lambda n: n * HUGE)))
def test_a_number_stays_what_it_is_as_far_as_it_can(value) -> None:
    """Integers of 64 bits and floats are not touched; others become the nearest float."""
    carried = _number(value)
    assert carried == (value if -(2**63) <= value < 2**63 else float(value))
    assert isinstance(carried, float) or -(2**63) <= carried < 2**63
