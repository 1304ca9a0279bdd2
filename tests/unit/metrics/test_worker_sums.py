"""What several workers show of a gauge that was set last, and of too many series."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import metrics
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)

from glam_sdk.telemetry.metrics import gauge
from glam_sdk.telemetry.pipeline import merging
from glam_sdk.telemetry.pipeline.limits import Limits
from glam_sdk.telemetry.pipeline.set_times import remember_set_times, with_set_times
from glam_sdk.telemetry.pipeline.snapshot import CUMULATIVE, ScopedMetric, Snapshot, points_of
from glam_sdk.telemetry.pipeline.worker_group import WorkerGroup
from glam_sdk.telemetry.pipeline.worker_sum import Source, retired, total
from glam_sdk.testing import capture_telemetry

from .conftest import Measured, measure


def sent(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot as another worker receives it."""
    return Snapshot.decode(snapshot.encode())


def values(snapshot: Snapshot, name: str) -> dict[str, float]:
    """Return the values of one metric by their label ``n`` (or the overflow's)."""
    (metric,) = (each.metric for each in snapshot.metrics if each.metric.name == name)
    return {
        str((p.attributes or {}).get("n", "overflow" if p.attributes else "")): p.value
        for p in points_of(metric)
    }


def families(snapshot: Snapshot, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of one registry family by name and label values."""
    (family,) = (family for family in snapshot.registry if family.name == name)
    return {
        (s.name, *s.labels.values()): s.value
        for s in family.samples
        if not s.name.endswith("_created")
    }


@pytest.fixture
def workers(monkeypatch) -> Iterator[tuple[Measured, Measured]]:
    """Give two measuring processes."""
    found = measure(monkeypatch), measure(monkeypatch)
    yield found
    for each in found:
        each.provider.shutdown()


def snapshot_of(measured: Measured) -> Snapshot:
    return sent(Snapshot.of(measured.reader.snapshot(), []))


def test_the_last_of_several_workers_is_who_set_the_gauge_last(workers) -> None:
    """Neither the order of the answers nor the time of the collection decides."""
    gauge("import.age", workers="last")
    one, two = (each.meter().create_gauge("import.age") for each in workers)
    one.set(1)
    two.set(2)
    one.set(3)
    for order in ((0, 1), (1, 0)):
        sources = [Source(snapshot_of(workers[slot]), slot) for slot in order]
        assert values(total(sources), "import.age") == {"": 3}


def test_a_gauge_set_last_outlives_its_worker(workers) -> None:
    """What was set most recently stays so when the worker ends; other gauges end with it."""
    gauge("import.rows", workers="last")
    one, two = (each.meter().create_gauge("import.rows") for each in workers)
    one.set(1)
    two.set(2)
    workers[1].meter().create_gauge("level").set(7)
    ended = retired(Snapshot(), snapshot_of(workers[1]))
    sources = [Source(sent(ended), -1, is_alive=False), Source(snapshot_of(workers[0]), 0)]
    assert values(total(sources), "import.rows") == {"": 2}
    assert not [m for m in total(sources).metrics if m.metric.name == "level"]


def test_scopes_of_one_name_show_what_was_set_last(workers) -> None:
    """Two scopes with one gauge are one series with the newer value."""
    measured = workers[0]
    measured.meter("two").create_gauge("level").set(1)
    measured.meter("one").create_gauge("level").set(2)
    assert "level 2\n" in measured.text()
    measured.meter("two").create_gauge("level").set(3)
    assert "level 3\n" in measured.text()


@pytest.mark.parametrize("mode", ["mostrecent", "livemostrecent"])
def test_mostrecent_of_prometheus_client_goes_by_the_time_of_set(mode, monkeypatch) -> None:
    """Its own registry throws that time away; between workers it decides."""
    remember_set_times()
    registries = [prometheus_client.CollectorRegistry() for _ in range(2)]
    monkeypatch.setattr(prometheus_client, "REGISTRY", registries[0])
    plain, labelled = [], []
    for registry in registries:
        kept = {"multiprocess_mode": mode, "registry": registry}
        plain.append(prometheus_client.Gauge("plain", "P.", **kept))
        labelled.append(prometheus_client.Gauge("labelled", "L.", ["n"], **kept))
    labelled[1].labels("x").set(9)
    plain[1].set(5)
    plain[0].set(3)
    labelled[0].labels("x").set(1)
    snapshots = [
        sent(Snapshot([], with_set_times(registry.collect(), registry))) for registry in registries
    ]
    for order in ((0, 1), (1, 0)):
        found = total([Source(snapshots[slot], slot) for slot in order])
        assert families(found, "plain") == {("plain",): 3}
        assert families(found, "labelled") == {("labelled", "x"): 1}
        assert not any(s.timestamp for family in found.registry for s in family.samples)
    ended = sent(retired(Snapshot(), snapshots[0]))
    left = total([Source(ended, -1, is_alive=False), Source(snapshots[1], 1)])
    assert families(left, "plain") == {("plain",): 3 if mode == "mostrecent" else 5}


def test_a_gauge_that_was_never_set_loses_against_one_that_was(monkeypatch) -> None:
    """Without labels prometheus_client shows 0 from the beginning: that is no value."""
    remember_set_times()
    registries = [prometheus_client.CollectorRegistry() for _ in range(2)]
    monkeypatch.setattr(prometheus_client, "REGISTRY", registries[0])
    made = [
        prometheus_client.Gauge("g", "G.", multiprocess_mode="mostrecent", registry=each)
        for each in registries
    ]
    made[0].set(-4)
    snapshots = [sent(Snapshot([], with_set_times(r.collect(), r))) for r in registries]
    for order in ((0, 1), (1, 0)):
        found = total([Source(snapshots[slot], slot) for slot in order])
        assert families(found, "g") == {("g",): -4}


def counted(series: dict[str, tuple[int, float]]) -> Snapshot:
    """Return a snapshot with one counter: label → start and value."""
    points = [NumberDataPoint({"n": n}, start, 9, value) for n, (start, value) in series.items()]
    data = Sum(points, CUMULATIVE, is_monotonic=True)
    return Snapshot([ScopedMetric("s", Metric("jobs", "", "", data))])


def limits(series: int) -> Limits:
    return Limits(series=series, label_length=256)


def test_the_limit_over_workers_is_the_setting_and_is_said_aloud(caplog) -> None:
    """The oldest series stay; what is beyond is one series, with one warning and a count."""
    caplog.set_level(logging.WARNING)
    one = counted({"a": (1, 1), "b": (5, 2)})
    two = counted({"c": (3, 4), "a": (2, 8), "d": (4, 16)})
    limit = limits(2)
    for sources in ([Source(one, 0), Source(two, 1)], [Source(two, 1), Source(one, 0)]):
        assert values(total(sources, limit), "jobs") == {"a": 9, "c": 4, "overflow": 18}
    (record,) = (r for r in caplog.records if r.message == "metrics.too_many_series")
    assert (record.metric, record.label, record.limit) == ("jobs", "n", 2)
    assert record.label_values == 4
    assert limit.overflowed == {"jobs": "n"}


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abcdefgh"),
            st.tuples(st.integers(1, 5), st.integers(1, 9)),
            min_size=1,
        ),
        min_size=2,
        max_size=4,
    ),
    st.integers(1, 6),
)
def test_no_series_falls_when_a_worker_ends(found, limit) -> None:
    """Neither a shown series nor the overflow goes backwards when counts move to the retired."""
    sources = [Source(counted(series), slot) for slot, series in enumerate(found)]
    before = values(total(sources, limits(limit)), "jobs")
    kept = Snapshot()
    for slot in range(len(sources)):
        others = [source.snapshot for source in sources[slot + 1 :]]
        kept = retired(kept, sources[slot].snapshot, limits(limit), others=others)
        left = [Source(kept, -1, is_alive=False), *sources[slot + 1 :]]
        assert values(total(left, limits(limit)), "jobs") == before


def test_gauges_of_too_many_series_are_bounded_too() -> None:
    """Beyond the limit their rule makes one value; a series per worker stays one per worker."""
    gauge("levels.max", workers="max")
    gauge("levels.worker", workers="worker")

    def source(slot: int) -> Source:
        points = [NumberDataPoint({"n": f"{slot}{n}"}, None, 9, n + slot) for n in range(3)]
        return Source(
            Snapshot(
                [
                    ScopedMetric("s", Metric(name, "", "", Gauge(points)))
                    for name in ("levels.max", "levels.worker")
                ]
            ),
            slot,
        )

    found = total([source(0), source(1)], limits(3))
    assert values(found, "levels.max") == {"00": 0, "01": 1, "02": 2, "overflow": 3}
    assert len(list(points_of(found.metrics[1].metric))) == 4


def test_families_of_prometheus_client_are_bounded_over_workers(monkeypatch, caplog) -> None:
    """Labels that come and go with each worker end in one overflow series, buckets and all."""
    caplog.set_level(logging.WARNING)
    kept, limit = Snapshot(), limits(10)
    for worker in range(5):
        registry = prometheus_client.CollectorRegistry()
        monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
        jobs = prometheus_client.Counter("jobs", "J.", ["n"], registry=registry)
        took = prometheus_client.Histogram("took", "T.", ["n"], buckets=[1], registry=registry)
        for n in range(8):
            jobs.labels(f"{worker}-{n}").inc()
            took.labels(f"{worker}-{n}").observe(0.5)
        kept = sent(retired(kept, Snapshot([], list(registry.collect())), limit))
    found = families(kept, "jobs")
    assert len(found) == 11
    assert sum(found.values()) == 40
    assert found["jobs_total", "true"] == 30
    assert families(kept, "took")["took_count", "true"] == 30
    assert families(kept, "took")["took_bucket", "true", "+Inf"] == 30
    warned = [r.metric for r in caplog.records if r.message == "metrics.too_many_series"]
    assert warned == ["jobs", "took"]


def test_histograms_without_minimum_and_maximum_add_up() -> None:
    """A view may record neither; one side may know what the other does not."""

    def point(low: float | None, high: float | None) -> HistogramDataPoint:
        exemplar = Exemplar({}, 0.5, 1, 1, 1)
        return HistogramDataPoint({}, 0, 1, 1, 0.5, [1, 0], [1.0], low, high, [exemplar])

    none = merging.add(point(None, None), point(None, None))
    assert (none.count, none.min, none.max) == (2, None, None)
    some = merging.add(point(None, None), point(0.5, 0.7))
    assert (some.count, some.min, some.max) == (2, 0.5, 0.7)
    source = Snapshot(
        [ScopedMetric("s", Metric("h", "", "", Histogram([point(None, None)], CUMULATIVE)))]
    )
    (summed,) = points_of(total([Source(sent(source), 0), Source(source, 1)]).metrics[0].metric)
    assert (summed.count, summed.min) == (2, None)


def test_one_metric_that_cannot_be_added_costs_no_other(caplog) -> None:
    """It is shown as one worker has it, with one warning; the rest is the sum."""
    odd = Metric("odd", "", "", Sum([NumberDataPoint({}, 0, 1, "x")], CUMULATIVE, True))
    even = Metric("even", "", "", Sum([NumberDataPoint({}, 0, 1, 2)], CUMULATIVE, True))
    three = Metric("odd", "", "", Sum([NumberDataPoint({}, 0, 1, 3)], CUMULATIVE, True))
    sources = [
        Source(Snapshot([ScopedMetric("s", odd), ScopedMetric("s", even)]), 0),
        Source(Snapshot([ScopedMetric("s", three), ScopedMetric("s", even)]), 1),
    ]
    assert values(total(sources), "even") == {"": 4}
    total(sources)


async def test_the_setting_bounds_the_scrape_of_a_group_and_the_self_metric_says_so(
    tmp_path,
) -> None:
    """``telemetry.metric_series_limit`` holds over all workers, in the service as it runs."""
    overrides = {
        "telemetry": {
            "workers_dir": str(tmp_path),
            "metric_series_limit": 2,
            "runtime_metrics": False,
            "metrics_exporter": ["none"],
        }
    }
    other = WorkerGroup(tmp_path / "shop", lambda: counted({"c": (1, 4), "d": (2, 8)}))
    other.join()
    with capture_telemetry("shop", overrides=overrides) as telemetry:
        async with telemetry.service:
            metrics.get_meter("s").create_counter("jobs").add(1, {"n": "a"})
            text = telemetry.scrape()
            assert 'jobs_total{n="c"} 4\n' in text
            assert 'jobs_total{n="d"} 8\n' in text
            assert 'jobs_total{otel_metric_overflow="true"} 1\n' in text
            assert 'glam_metrics_overflowed_total{glam_metric_name="jobs"} 1' in telemetry.scrape()
            said = telemetry.logs("metrics.too_many_series")
            found = [(line["label"], line["limit"]) for line in said if line["metric"] == "jobs"]
            assert found == [("n", 2)]
    other.leave()


def test_scrapes_of_a_group_keep_nothing(workers, tmp_path) -> None:
    """What other workers have answered is let go of once it is shown."""
    other = WorkerGroup(tmp_path, lambda: counted({"kept": (1, 4)}))
    other.join()
    scraper = workers[0].scraper
    scraper.join_workers("", tmp_path)
    for _ in range(5):
        assert b'jobs_total{n="kept"} 4' in scraper.scrape("")[0]
    assert not any(dict(kept[0]).get("n") for kept in scraper._renderer.labels._known.values())
    scraper.leave_workers()
    other.leave()
