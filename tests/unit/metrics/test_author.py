"""What a service's author measures with: declared anywhere, loud when wrong in a test."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from glam_sdk.telemetry.metrics import (
    MisuseError,
    counter,
    gauge,
    histogram,
    measured,
    timer,
    up_down_counter,
)
from glam_sdk.testing import capture_telemetry

early = counter("author.early", unit="{thing}", description="Declared before init.")
early_bound = early.bind(kind="bound")


@pytest.fixture
def telemetry():
    """Run a service in memory."""
    with capture_telemetry("shop") as captured:
        yield captured


def test_an_instrument_declared_at_import_time_measures_after_init(telemetry) -> None:
    """Modules declare what they measure; init comes later."""
    early.add()
    early.add(2, {"a.b": "c"}, d="e")
    early_bound.add(5)
    text = telemetry.scrape()
    assert "author_early_total 1\n" in text
    assert 'author_early_total{a_b="c",d="e"} 2\n' in text
    assert 'author_early_total{kind="bound"} 5\n' in text


def test_measuring_before_init_does_nothing_and_fails_nobody() -> None:
    """Without a pipeline there is nowhere to measure to."""
    code = (
        "from glam_sdk.telemetry.metrics import counter, timer\n"
        "c = counter('a.b'); c.add(); c.bind(x='y').add()\n"
        "with timer('a.c.duration'): pass\n"
        "import sys; assert 'opentelemetry.sdk.metrics' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


def test_each_kind_of_instrument_measures_bound_and_unbound(telemetry) -> None:
    """A bound instrument adds to the same series as the unbound one."""
    size = histogram("author.size", unit="By", buckets=[10, 20])
    level = gauge("author.level")
    active = up_down_counter("author.active")
    size.record(5, kind="x")
    size.bind(kind="x").record(15)
    level.set(1, kind="x")
    level.bind(kind="x").set(4)
    active.add(3)
    active.bind().add(-1)
    text = telemetry.scrape()
    assert 'author_size_bytes_bucket{kind="x",le="10.0"} 1\n' in text
    assert 'author_size_bytes_count{kind="x"} 2\n' in text
    assert 'author_level{kind="x"} 4\n' in text
    assert "author_active 2\n" in text


def test_a_bound_measurement_leads_to_its_trace(telemetry) -> None:
    """The fast way keeps exemplars: that of the sampled span it ran in."""
    import glam_sdk

    seconds = histogram("author.bound.duration", unit="s").bind(kind="x")
    with glam_sdk.span("work") as span:
        seconds.record(0.2)
    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert trace_id in telemetry.scrape(openmetrics=True)


async def test_functions_and_blocks_are_timed(telemetry) -> None:
    """The decorator keeps the function; an exception is recorded and goes on."""

    @measured("author.call.duration", part="sync")
    def double(number: int) -> int:
        """Return twice the number."""
        return 2 * number

    @measured("author.call.duration", part="async")
    async def fail() -> None:
        raise KeyError("x")

    assert double(4) == 8
    assert double.__name__ == "double"
    with pytest.raises(KeyError):
        await fail()
    with timer("author.block.duration", part="block"):
        pass
    text = telemetry.scrape()
    assert 'author_call_duration_seconds_count{part="sync"} 1\n' in text
    assert 'author_call_duration_seconds_count{error_type="KeyError",part="async"} 1\n' in text
    assert 'author_block_duration_seconds_bucket{part="block",le="0.005"} 1\n' in text


@pytest.mark.parametrize("name", ["", "1st", "with space", "ünicode", "x" * 256])
def test_a_bad_name_fails_loudly_in_a_test(name: str) -> None:
    """The message says what a name may be."""
    with pytest.raises(MisuseError, match="is no metric name"):
        counter(name)


def test_another_unit_or_kind_for_a_name_fails_loudly_in_a_test() -> None:
    """One name has one meaning; saying the same twice is fine."""
    histogram("author.twice", unit="s")
    histogram("Author.Twice", unit="s")
    with pytest.raises(MisuseError, match="unit 's' and now with 'ms'"):
        histogram("author.twice", unit="ms")
    with pytest.raises(MisuseError, match="kind 'histogram' and now with 'counter'"):
        counter("author.twice", unit="s")


def test_a_counter_that_falls_fails_loudly_in_a_test(telemetry) -> None:
    """Bound or not, a negative amount is a mistake."""
    falling = counter("author.falling")
    with pytest.raises(MisuseError, match="cannot fall"):
        falling.add(-1)
    with pytest.raises(MisuseError, match="cannot fall"):
        falling.bind(a="b").add(-1)


def test_misuse_in_production_is_one_log_line(telemetry, monkeypatch, caplog) -> None:
    """Nothing raises, nothing is measured wrongly, and the log says what is the matter."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    caplog.set_level(logging.WARNING)
    bad = counter("author bad")
    for _ in range(3):
        bad.add(1)
        bad.bind(a="b").add(1)
    histogram("author.prod", unit="s").record(1)
    histogram("author.prod", unit="ms").record(1000)
    falling = counter("author.prod.falling")
    falling.add(-1)
    text = telemetry.scrape()
    assert "bad" not in text
    assert "author_prod_seconds_sum 1" in text
    assert "author_prod_milliseconds" not in text
    assert "author_prod_falling" not in text
    places = [r.place for r in caplog.records if r.message == "telemetry.failed"]
    assert places == ["metrics.author bad", "metrics.author.prod", "metrics.author.prod.falling"]


def test_values_that_are_no_numbers_are_left_out(telemetry) -> None:
    """NaN in a sum would stay in it for ever."""
    total = counter("author.finite").bind()
    total.add(float("nan"))
    total.add(float("inf"))
    total.add(2)
    assert "author_finite_total 2\n" in telemetry.scrape()


def test_labels_of_every_type_are_series_of_their_own(telemetry) -> None:
    """True, 1 and "1" differ, order does not matter, and a list is a value too."""
    seen = counter("author.types")
    for value in (True, 1, "one", [1, 2], (3, 4)):
        seen.add(1, value=value)
    seen.add(1, {"a": "x", "b": "y"})
    seen.add(1, {"b": "y", "a": "x"})
    text = telemetry.scrape()
    for value in ("true", "1", "one", "(1, 2)", "(3, 4)"):
        assert f'author_types_total{{value="{value}"}} 1\n' in text
    assert 'author_types_total{a="x",b="y"} 2\n' in text
