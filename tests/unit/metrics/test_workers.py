"""Several processes' measurements become one answer, with bounded files and time."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    Buckets,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)

from glam_sdk.telemetry.metrics import gauge
from glam_sdk.telemetry.pipeline.own_registry import without
from glam_sdk.telemetry.pipeline.snapshot import CUMULATIVE, ScopedMetric, Snapshot, points_of
from glam_sdk.telemetry.pipeline.worker_group import WorkerGroup
from glam_sdk.telemetry.pipeline.worker_sum import Source, retired, total

numbers = st.one_of(st.integers(0, 2**53), st.floats(0, 1e12))
attributes = st.dictionaries(
    st.text(max_size=5),
    st.one_of(st.text(max_size=5), st.booleans(), st.integers(0, 9)),
    max_size=3,
)
exemplars = st.lists(
    st.builds(
        Exemplar, st.just({}), numbers, st.integers(1, 2**62), st.integers(1, 2**64 - 1),
        st.integers(1, 2**128 - 1),
    ),
    max_size=2,
)  # fmt: skip
times = {"start_time_unix_nano": st.integers(0, 2**62), "time_unix_nano": st.integers(0, 2**62)}
counts = st.lists(st.integers(0, 99), min_size=3, max_size=3)
points = {
    "number": st.builds(
        NumberDataPoint, attributes=attributes, value=numbers, exemplars=exemplars, **times
    ),
    "histogram": st.builds(
        HistogramDataPoint, attributes=attributes, count=st.integers(0, 9), sum=numbers,
        bucket_counts=counts, explicit_bounds=st.just([1.0, 2.5]), min=numbers, max=numbers,
        exemplars=exemplars, **times,
    ),
    "exponential": st.builds(
        ExponentialHistogramDataPoint, attributes=attributes, count=st.integers(0, 9), sum=numbers,
        scale=st.integers(-2, 5), zero_count=st.integers(0, 9), flags=st.just(0), min=numbers,
        positive=st.builds(Buckets, st.integers(-9, 9), counts), max=numbers,
        negative=st.builds(Buckets, st.integers(-9, 9), counts), exemplars=exemplars, **times,
    ),
}  # fmt: skip
data = st.one_of(
    st.builds(Sum, st.lists(points["number"], max_size=3), st.just(CUMULATIVE), st.booleans()),
    st.builds(Gauge, st.lists(points["number"], max_size=3)),
    st.builds(Histogram, st.lists(points["histogram"], max_size=3), st.just(CUMULATIVE)),
    st.builds(
        ExponentialHistogram, st.lists(points["exponential"], max_size=3), st.just(CUMULATIVE)
    ),
)
metrics = st.builds(
    ScopedMetric,
    st.text(max_size=5),
    st.builds(Metric, st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), data),
)


@given(st.lists(metrics, max_size=4))
def test_a_snapshot_is_the_same_at_the_other_end(found) -> None:
    """Every kind of point, attribute and exemplar survives the way between two workers."""
    assert Snapshot.decode(Snapshot(found, []).encode()).metrics == found


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"m":[[1]],"r":[]}', b'{"m":[],"r":'])
def test_bytes_that_are_no_snapshot_are_refused(body: bytes) -> None:
    """A file that was cut off is passed over."""
    with pytest.raises(ValueError, match="no snapshot"):
        Snapshot.decode(body)


@given(points["exponential"], points["exponential"])
def test_exponential_histograms_of_any_scale_add_up(one, other) -> None:
    """No count is lost when the finer one is widened."""
    one, other = (
        ExponentialHistogramDataPoint(**{**vars(point), "attributes": {}}) for point in (one, other)
    )
    snapshots = [
        Snapshot([ScopedMetric("s", Metric("m", "", "", ExponentialHistogram([p], CUMULATIVE)))])
        for p in (one, other)
    ]
    summed = total([Source(snapshot, slot) for slot, snapshot in enumerate(snapshots)])
    (point,) = points_of(summed.metrics[0].metric)
    for side in ("positive", "negative"):
        assert sum(getattr(point, side).bucket_counts) == sum(
            sum(getattr(p, side).bucket_counts) for p in (one, other)
        )
    assert point.zero_count == one.zero_count + other.zero_count


def number(name: str, value: float, *, kind: str = "sum", at: int = 1) -> ScopedMetric:
    """Return a metric with one point."""
    point = NumberDataPoint({"k": "v"}, 0, at, value)
    found = {
        "sum": Sum([point], CUMULATIVE, is_monotonic=True),
        "updown": Sum([point], CUMULATIVE, is_monotonic=False),
        "gauge": Gauge([point]),
    }[kind]
    return ScopedMetric("s", Metric(name, "", "", found))


def values(snapshot: Snapshot) -> dict[str, list[float]]:
    """Return name → values."""
    return {m.metric.name: [p.value for p in points_of(m.metric)] for m in snapshot.metrics}


def test_gauges_follow_their_declared_rule() -> None:
    """Sum, max, min, last and one for each worker; max where nothing is declared."""
    for rule in ("sum", "max", "min", "last", "worker"):
        gauge(f"workers.{rule}", workers=rule)
    names = ["sum", "max", "min", "last", "worker"]
    sources = [
        Source(
            Snapshot(
                [number(f"workers.{n}", value, kind="gauge", at=at) for n in names]
                + [number("workers.undeclared", value, kind="gauge", at=at)]
            ),
            slot,
        )
        for slot, value, at in [(0, 2, 5), (1, 7, 9), (2, 4, 12)]
    ]
    assert values(total(sources)) == {
        "workers.sum": [13],
        "workers.max": [7],
        "workers.min": [2],
        "workers.last": [4],
        "workers.worker": [2, 7, 4],
        "workers.undeclared": [7],
    }
    labels = [p.attributes for p in points_of(total(sources).metrics[4].metric)]
    assert [each["worker"] for each in labels] == ["0", "1", "2"]


def test_of_a_worker_that_has_ended_only_what_grows_counts_on() -> None:
    """A dead worker has no requests under way, and no temperature."""
    snapshot = Snapshot(
        [number("a", 3), number("b", 3, kind="updown"), number("c", 3, kind="gauge")]
    )
    assert values(total([Source(snapshot, 0, is_alive=False)])) == {"a": [3]}
    both = total([Source(snapshot, 0, is_alive=False), Source(snapshot, 1)])
    assert values(both) == {"a": [6], "b": [3], "c": [3]}


def test_prometheus_client_families_follow_their_multiprocess_mode(monkeypatch) -> None:
    """Counters, histograms and summaries add up; gauges do what they were declared with."""
    registry = prometheus_client.CollectorRegistry()
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    prometheus_client.Counter("c", "C.", registry=registry).inc(2)
    prometheus_client.Histogram("h", "H.", registry=registry).observe(0.1)
    prometheus_client.Summary("s", "S.", registry=registry).observe(5)
    for mode in ("all", "min", "max", "sum", "mostrecent"):
        prometheus_client.Gauge(mode, "G.", multiprocess_mode=mode, registry=registry).set(4)
    one = Snapshot([], list(registry.collect()))
    summed = Snapshot.decode(total([Source(one, 0), Source(one, 1)]).encode())
    found = {
        (s.name, *s.labels.values()): s.value for family in summed.registry for s in family.samples
    }
    assert found["c_total",] == 4
    assert found["h_bucket", "+Inf"] == found["h_count",] == 2
    assert found["s_sum",] == 10
    assert found["all", "0"] == found["all", "1"] == 4
    assert (found["min",], found["max",], found["sum",]) == (4, 4, 8)


def test_what_was_counted_before_a_fork_is_taken_off() -> None:
    """Otherwise a preloaded application would count once for each worker."""
    registry = prometheus_client.CollectorRegistry()
    counter = prometheus_client.Counter("c", "C.", ["k"], registry=registry)
    counter.labels("x").inc(10)
    before = list(registry.collect())
    counter.labels("x").inc(2)
    counter.labels("y").inc(3)
    (family,) = without(registry.collect(), before)
    found = {s.labels["k"]: s.value for s in family.samples if s.name == "c_total"}
    assert found == {"x": 2, "y": 3}


class Worker:
    """A worker of a group that measures one counter in many series."""

    def __init__(self, directory: Path, *, series: int = 1) -> None:
        self.value = 0
        self.series = series
        self.group = WorkerGroup(directory, self._snapshot)
        self.group.join()

    def _snapshot(self) -> Snapshot:
        now = time.time_ns()
        kept = [Exemplar({}, at, now, 1 + now % 2**63, 1 + now) for at in (0.5, 1.5, 9.0)]
        points, others = [], []
        for number in range(self.series):
            labels, n = {"n": str(number)}, self.value
            points.append(NumberDataPoint(labels, 1, now, n, kept[:1]))
            others.append(
                HistogramDataPoint(labels, 1, now, 3 * n, n, [n, n, n], [1, 2], 0.5, 9, kept)
            )
        return Snapshot(
            [
                ScopedMetric("s", Metric("jobs", "", "", Sum(points, CUMULATIVE, True))),
                ScopedMetric("s", Metric("took", "", "s", Histogram(others, CUMULATIVE))),
            ]
        )

    def scrape(self) -> float:
        """Return the sum of the first series."""
        self.summed = total(self.group.collect())
        (jobs, _) = self.summed.metrics
        return next(iter(points_of(jobs.metric))).value

    def die(self) -> None:
        """End as SIGKILL ends a process: nothing is written, the system closes what is open."""
        self.group._stopping.set()
        os.write(self.group._wake[1], b"x")  # here its thread would live on
        self.group._thread.join()
        self.group.abandon()


def test_a_scrape_sees_every_worker_and_loses_nothing_it_has_shown(tmp_path: Path) -> None:
    """Live workers answer with what they have now; of a killed one the last answer stays."""
    one, two = Worker(tmp_path), Worker(tmp_path)
    assert (one.group.slot, two.group.slot) == (0, 1)
    one.value, two.value = 3, 4
    assert one.scrape() == two.scrape() == 7
    two.value = 5
    assert one.scrape() == 8
    two.die()
    assert one.scrape() == 8
    three = Worker(tmp_path)
    assert three.group.slot == 1
    three.value = 10
    assert one.scrape() == three.scrape() == 18
    one.value = 4
    one.group.leave()  # ends in order: the last count is there, though nobody has asked
    assert three.scrape() == 19
    three.group.leave()


def test_a_worker_that_does_not_answer_counts_with_its_last_answer(tmp_path, monkeypatch) -> None:
    """A hung worker delays a scrape by the deadline at most, and takes nothing from the sum."""
    one, hung = Worker(tmp_path), Worker(tmp_path)
    hung.value = 5
    assert one.scrape() == 5
    monkeypatch.setattr("glam_sdk.telemetry.pipeline.worker_group._ANSWER_S", 0.2)
    with hung.group._writing:  # it hangs
        hung.value = 6
        started = time.monotonic()
        assert one.scrape() == 5
        assert time.monotonic() - started < 5
    one.group.leave()
    hung.group.leave()


def test_a_takeover_that_is_cut_off_counts_nobody_twice(tmp_path: Path) -> None:
    """The retired counts were written, the old file not yet removed: it is not added again."""
    one = Worker(tmp_path)
    one.value = 5
    one.scrape()
    one.die()
    left = (tmp_path / "0.json").read_bytes()
    two = Worker(tmp_path)
    two.die()
    (tmp_path / "0.json").write_bytes(left)
    three = Worker(tmp_path)
    assert three.scrape() == 5
    three.group.leave()


def test_after_500_restarts_files_and_time_are_as_after_none(tmp_path: Path) -> None:
    """What ended workers leave is one file, an exemplar a bucket, however many they were."""

    def seconds() -> float:
        best = float("inf")
        for _ in range(5):
            started = time.perf_counter()
            watcher.scrape()
            best = min(best, time.perf_counter() - started)
        return best

    watcher = Worker(tmp_path, series=20)
    last = Worker(tmp_path, series=20)
    last.value = 1
    before = seconds()
    size = len(watcher._snapshot().encode())
    for restart in range(500):
        last.die() if restart % 2 else last.group.leave()
        last = Worker(tmp_path, series=20)
        last.value = 1
        if not restart % 2:
            last.group._checkpoint()
    assert watcher.scrape() == 501
    assert len(list(tmp_path.iterdir())) <= 8
    assert (tmp_path / "retired.json").stat().st_size < 1.2 * size
    for scoped, buckets in zip(watcher.summed.metrics, (1, 3), strict=True):
        assert [len(p.exemplars) for p in points_of(scoped.metric)] == [buckets] * 20
    # One file more is read; room for a busy machine.
    assert seconds() < before * 3 + 0.05
    last.group.leave()
    watcher.group.leave()


def test_retired_series_are_bounded() -> None:
    """Labels that come and go with each worker end in the overflow series."""
    kept = Snapshot()
    for start in (0, 1500, 3000):
        points = [NumberDataPoint({"n": str(start + n)}, 0, 1, 1) for n in range(1500)]
        metric = Metric("jobs", "", "", Sum(points, CUMULATIVE, is_monotonic=True))
        kept = retired(kept, Snapshot([ScopedMetric("s", metric)]))
    found = list(points_of(kept.metrics[0].metric))
    assert len(found) == 2001
    assert sum(point.value for point in found) == 4500


def test_one_odd_value_does_not_cost_the_snapshot() -> None:
    """A label with a lone surrogate and an integer beyond 64 bits arrive, made plain."""
    odd = number("odd", 2**70)
    point = replace(odd.metric.data.data_points[0], attributes={"x": "a\udc80"})
    metric = replace(odd.metric, data=replace(odd.metric.data, data_points=[point]))
    read = Snapshot.decode(Snapshot([replace(odd, metric=metric)]).encode())
    (found,) = read.metrics[0].metric.data.data_points
    assert found.value == float(2**70)
    assert dict(found.attributes) == {"x": "a?"}
