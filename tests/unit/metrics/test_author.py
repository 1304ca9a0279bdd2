"""What a service's author measures with: declared anywhere, bound or not."""

from __future__ import annotations

import pytest

from glam_sdk.telemetry.metrics import (
    counter,
    gauge,
    histogram,
    measured,
    timer,
    up_down_counter,
)
from glam_sdk.telemetry.pipeline.metrics import iterate_metrics
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
    bound = histogram("author.block.duration", unit="s").bind(part="bound")
    with bound.time():
        pass
    with pytest.raises(ZeroDivisionError), bound.time():
        raise ZeroDivisionError
    text = telemetry.scrape()
    assert 'author_call_duration_seconds_count{part="sync"} 1\n' in text
    assert 'author_call_duration_seconds_count{error_type="KeyError",part="async"} 1\n' in text
    assert 'author_block_duration_seconds_bucket{part="block",le="0.005"} 1\n' in text
    assert 'author_block_duration_seconds_count{part="bound"} 1\n' in text
    failed = 'author_block_duration_seconds_count{error_type="ZeroDivisionError",part="bound"} 1\n'
    assert failed in text


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


def test_labels_are_given_as_opentelemetry_has_them_too(telemetry) -> None:
    """``attributes=`` is a mapping of labels, not a label of that name."""
    counter("author.named").add(1, attributes={"a.b": "c"})
    counter("author.named").bind(attributes={"a.b": "c"}).add(2)
    assert 'author_named_total{a_b="c"} 3\n' in telemetry.scrape()


def test_any_word_can_be_a_label(telemetry) -> None:
    """Also one that a method's own parameter has."""
    words = {"self": "x", "amount": "y", "value": "z"}
    seen = counter("author.words")
    seen.add(1, **words)
    seen.bind(**words).add(2)
    took = histogram("author.words.duration", unit="s")
    with took.time(**words), took.bind(**words).time(), timer("author.words.duration", **words):
        pass
    gauge("author.words.level").bind(**words).set(4)
    text = telemetry.scrape()
    labels = '{amount="y",self="x",value="z"}'
    assert f"author_words_total{labels} 3\n" in text
    assert f"author_words_duration_seconds_count{labels} 3\n" in text
    assert f"author_words_level{labels} 4\n" in text


def test_a_name_that_is_timed_and_declared_is_one_stream(telemetry) -> None:
    """A timer has buckets and description of the histogram that was declared by its name."""
    declared = histogram("author.shared.duration", unit="s", description="Ours.", buckets=[1, 2])
    declared.record(0.5)
    with timer("author.shared.duration"):
        pass
    text = telemetry.scrape()
    assert 'author_shared_duration_seconds_bucket{le="1.0"} 2\n' in text
    assert "# HELP author_shared_duration_seconds Ours.\n" in text
    pipeline = telemetry.service._pipeline
    names = [metric.name for metric in iterate_metrics(pipeline.reader.snapshot())]
    assert names.count("author.shared.duration") == 1
