"""Prove that a bound series counts as the SDK does, and keeps an exemplar of each bucket."""

from __future__ import annotations

import signal
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, metrics
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, AlwaysOnExemplarFilter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import set_span_in_context

from glam_sdk.telemetry.pipeline.binding import GlamMeterProvider
from glam_sdk.telemetry.series import series

_LABELS = {"route": "/orders"}
_BOUNDS = (0.1, 1.0, 10.0)
_NUMBERS = st.integers(0, 10**6) | st.floats(0, 1e6)


def _provider(**settings):
    reader = InMemoryMetricReader()
    return GlamMeterProvider([reader], shutdown_on_exit=False, **settings), reader


def _points(reader) -> dict[str, object]:
    data = reader.get_metrics_data()
    (scope,) = data.resource_metrics[0].scope_metrics
    return {metric.name: metric.data.data_points[0] for metric in scope.metrics}


@given(st.lists(st.lists(_NUMBERS, min_size=1), min_size=1, max_size=3))
def test_it_counts_what_the_sdk_counts(batches):
    """Counts, sum, extremes and buckets are the same after each of several collections."""
    provider, reader = _provider()
    meter = provider.get_meter("t")
    histograms = [
        meter.create_histogram(name, explicit_bucket_boundaries_advisory=_BOUNDS)
        for name in ("ours", "theirs")
    ]
    counters = [meter.create_counter(name) for name in ("our.count", "their.count")]
    record, add = (
        provider.glam_bind(histograms[0], _LABELS),
        provider.glam_bind(counters[0], _LABELS),
    )
    for batch in batches:
        for number in batch:
            record(number)
            add(number)
            histograms[1].record(number, _LABELS)
            counters[1].add(number, _LABELS)
        found = _points(reader)
        for field in ("count", "sum", "min", "max", "bucket_counts", "explicit_bounds"):
            assert getattr(found["ours"], field) == getattr(found["theirs"], field)
        assert found["our.count"].value == found["their.count"].value
        assert dict(found["ours"].attributes) == _LABELS


@pytest.mark.parametrize("kind", ["counter", "up_down_counter"])
def test_a_sum_of_floats_stays_one_through_zero(kind):
    """Its type is that of the point that is exported."""
    provider, reader = _provider()
    sums = [getattr(provider.get_meter("t"), f"create_{kind}")(name) for name in ("ours", "theirs")]
    change = provider.glam_bind(sums[0], _LABELS)
    for number in (0.0, 2):
        change(number)
        sums[1].add(number, _LABELS)
    found = _points(reader)
    assert [repr(found[name].value) for name in ("ours", "theirs")] == ["2.0", "2.0"]


@pytest.mark.parametrize("kind", ["histogram", "counter"])
def test_a_sampled_trace_leaves_an_exemplar(kind):
    """It names the span in which the value was measured; each bucket has its own."""
    provider, reader = _provider()
    meter = provider.get_meter("t")
    if kind == "histogram":
        instrument = meter.create_histogram("m", explicit_bucket_boundaries_advisory=_BOUNDS)
    else:
        instrument = meter.create_counter("m")
    measure = provider.glam_bind(instrument, _LABELS)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
    measure(0.05)
    with tracer.start_as_current_span("one") as one:
        measure(0.05)
    with tracer.start_as_current_span("two") as two:
        measure(5.0)
    seen = [(e.value, e.span_id) for e in _points(reader)["m"].exemplars]
    expected = [(0.05, one.get_span_context().span_id)]
    if kind == "histogram":
        expected.append((5.0, two.get_span_context().span_id))
    assert seen == expected


@pytest.mark.parametrize("kind", ["histogram", "counter", "gauge"])
def test_an_exemplar_may_be_taken_from_another_context(kind):
    """What is measured later belongs to the trace in which it was taken, bound or not."""
    provider, reader = _provider()
    instrument = getattr(provider.get_meter("t"), f"create_{kind}")("m")
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
    measures = [provider.glam_bind(instrument, _LABELS)]
    if kind != "gauge":
        measures.append(series(instrument, _LABELS))
    for measure in measures:
        span = tracer.start_span("then")
        with tracer.start_as_current_span("now"):
            measure(0.05, set_span_in_context(span))
        (exemplar,) = _points(reader)["m"].exemplars
        assert exemplar.span_id == span.get_span_context().span_id
        time.sleep(0.11)  # an exemplar is renewed ten times a second


def test_an_instrument_of_others_measures_in_that_context():
    """It may have a label from the baggage of what is current, and no third argument."""
    seen = []

    class Foreign(metrics.Counter):
        def __init__(self): ...

        def add(self, amount, attributes=None):
            seen.append((amount, attributes, baggage.get_baggage("tenant")))

    measure = series(Foreign(), _LABELS)
    measure(1)
    measure(2, baggage.set_baggage("tenant", "m1"))
    measure(3)
    assert seen == [(1, _LABELS, None), (2, _LABELS, "m1"), (3, _LABELS, None)]


@pytest.mark.parametrize("wanted", [AlwaysOnExemplarFilter(), AlwaysOffExemplarFilter()])
def test_the_exemplar_filter_decides(wanted):
    """``OTEL_METRICS_EXEMPLAR_FILTER`` holds for bound series as for others."""
    provider, reader = _provider(exemplar_filter=wanted)
    provider.glam_bind(provider.get_meter("t").create_counter("m"), _LABELS)(1)
    assert len(_points(reader)["m"].exemplars) == isinstance(wanted, AlwaysOnExemplarFilter)


def test_a_gauge_is_measured_the_sdks_way():
    """The kinds that stand on no request's path need no second implementation."""
    provider, reader = _provider()
    measure = provider.glam_bind(provider.get_meter("t").create_gauge("m"), _LABELS)
    measure(3)
    measure(4)
    assert _points(reader)["m"].value == 4


@pytest.mark.parametrize("kind", ["counter", "up_down_counter", "histogram", "gauge"])
def test_readers_that_come_and_go_see_what_is_measured_meanwhile(kind):
    """What was bound before follows the readers, whichever kind it is."""
    provider, first = _provider()
    meter = provider.get_meter("t")
    measure = provider.glam_bind(getattr(meter, f"create_{kind}")("m"), _LABELS)
    second = InMemoryMetricReader()
    measure(1)
    provider.add_metric_reader(second)
    measure(2)
    seen = [_points(reader)["m"] for reader in (first, second)]
    assert [getattr(point, "sum", None) or point.value for point in seen] == (
        [2, 2] if kind == "gauge" else [3, 2]
    )
    provider.remove_metric_reader(second)
    measure(4)
    (point,) = [_points(first)["m"]]
    assert (getattr(point, "sum", None) or point.value) == (4 if kind == "gauge" else 7)


def test_a_series_begins_with_its_first_measurement(monkeypatch):
    """A handler that never got a message shows no message."""
    provider, reader = _provider()
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: provider)
    measure = series(provider.get_meter("t").create_counter("m"), _LABELS)
    assert reader.get_metrics_data() is None
    measure(1)
    measure(1)
    assert _points(reader)["m"].value == 2


_KINDS = ("counter", "up_down_counter", "histogram")


def _made(kind, provider):
    return getattr(provider.get_meter("t"), f"create_{kind}")("m")


def _total(point):
    return point.sum if hasattr(point, "sum") else point.value


@pytest.mark.parametrize("kind", _KINDS)
def test_threads_lose_no_measurement(kind):
    """Nor do those who do not know of the bound series, while it is collected all the time."""
    provider, reader = _provider()
    instrument = _made(kind, provider)
    measure = provider.glam_bind(instrument, _LABELS)
    plainly = getattr(instrument, "record" if kind == "histogram" else "add")

    def work(way) -> None:
        for _ in range(2_000):
            way()

    ways = [lambda: measure(1), lambda: measure(1), lambda: plainly(1, _LABELS)]
    threads = [threading.Thread(target=work, args=(way,)) for way in ways]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            reader.get_metrics_data()
    finally:
        sys.setswitchinterval(before)
    assert _total(_points(reader)["m"]) == 6_000


def test_what_is_measured_through_the_api_is_in_the_same_series():
    """With extremes, buckets and exemplars as ever."""
    provider, reader = _provider(exemplar_filter=AlwaysOnExemplarFilter())
    instrument = provider.get_meter("t").create_histogram(
        "m", explicit_bucket_boundaries_advisory=_BOUNDS
    )
    instrument.record(5.0, _LABELS)
    record = provider.glam_bind(instrument, _LABELS)
    record(0.05)
    instrument.record(50.0, _LABELS)
    point = _points(reader)["m"]
    assert (point.count, point.sum, point.min, point.max) == (3, 55.05, 0.05, 50.0)
    assert tuple(point.bucket_counts) == (1, 0, 1, 1)
    assert {exemplar.value for exemplar in point.exemplars} == {5.0, 0.05, 50.0}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signals")
@pytest.mark.parametrize("kind", ["histogram", "counter", "up_down_counter"])
def test_an_interrupt_leaves_no_lock_held(kind):
    """As a time limit that raises out of a signal's handler."""
    provider, _ = _provider()
    instrument = getattr(provider.get_meter("t"), f"create_{kind}")("m")
    measure = provider.glam_bind(instrument, _LABELS)

    def interrupt(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
                while True:
                    measure(1)
            except TimeoutError:
                measured = threading.Thread(target=measure, args=(1,), daemon=True)
                measured.start()
                measured.join(5)
                assert not measured.is_alive()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
