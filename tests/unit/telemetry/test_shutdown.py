"""Prove that pushing and stopping keep to their deadlines."""

from __future__ import annotations

import threading
import time

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult

from glam_sdk.telemetry.pipeline.metrics import ScrapeAndPushReader
from glam_sdk.telemetry.pipeline.shutdown import run_within
from tests.unit.telemetry.conftest import wait_until


class Exporter(MetricExporter):
    """Take what is pushed, as long as the test lets it."""

    def __init__(self, *, stuck: bool = False, failing: bool = False) -> None:
        super().__init__()
        self.pushed = []
        self.may_go = threading.Event()
        self.failing = failing
        self.stopped = False
        if not stuck:
            self.may_go.set()

    def export(self, metrics_data, timeout_millis=10_000, **_):
        self.may_go.wait(timeout_millis / 1000)
        if self.failing:
            raise ConnectionError("no collector")
        self.pushed.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis=10_000):
        return True

    def shutdown(self, timeout_millis=30_000, **_):
        self.stopped = True


def pushing(exporter: Exporter, interval_s: float):
    reader = ScrapeAndPushReader(exporter, interval_s=interval_s)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("a").create_counter("c").add(1)
    return provider, reader


def test_metrics_are_pushed_on_the_interval_and_once_more_at_the_end():
    """The last interval is not lost, and the exporter is stopped."""
    exporter = Exporter()
    provider, _ = pushing(exporter, 0.02)
    wait_until(lambda: len(exporter.pushed) >= 2)
    before = len(exporter.pushed)
    provider.shutdown()
    assert len(exporter.pushed) > before
    assert exporter.stopped


def test_a_failing_push_does_not_end_the_pushing(caplog):
    """The thread lives on, and the next push has everything."""
    exporter = Exporter(failing=True)
    provider, reader = pushing(exporter, 60)
    assert reader.force_flush(1_000) is False
    exporter.failing = False
    assert reader.force_flush(1_000) is True
    assert len(exporter.pushed) == 1
    provider.shutdown()


def test_a_stuck_push_blocks_neither_scrape_nor_shutdown():
    """A dead collector is waited for in its own thread, until the time is up."""
    exporter = Exporter(stuck=True)
    provider, reader = pushing(exporter, 0.01)
    started = time.monotonic()
    for _ in range(3):
        assert reader.snapshot().resource_metrics
    provider.shutdown(timeout_millis=200)
    assert time.monotonic() - started < 5
    exporter.may_go.set()


def test_work_runs_side_by_side_under_one_deadline():
    """Whoever is not done in time is named and left behind."""
    release, done = threading.Event(), []
    started = time.monotonic()
    late = run_within(
        {"slow": release.wait, "stuck": release.wait, "quick": lambda: done.append(1)}, 0.5
    )
    assert time.monotonic() - started < 5
    release.set()
    assert (late, done) == (["slow", "stuck"], [1])


def test_a_failure_does_not_keep_the_others_from_stopping(caplog):
    """It is logged with the name of what failed."""
    done = []

    def fail():
        raise ValueError("no")

    assert run_within({"traces": fail, "logs": lambda: done.append(1)}, 5) == []
    assert done == [1]
    (record,) = [r for r in caplog.records if r.message == "telemetry.stop_failed"]
    assert record.signal == "traces"


def test_without_threads_the_work_is_done_in_place(monkeypatch):
    """An interpreter that is ending refuses new threads; what fits the deadline still runs."""

    def refuse(_self):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    done = []
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert run_within({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, 5) == []
    assert done == ["a", "b"]


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
def test_no_time_is_no_error(timeout_s):
    """A deadline that is over gives back everything that is not done yet."""
    release = threading.Event()
    assert run_within({"a": release.wait}, timeout_s) == ["a"]
    release.set()
