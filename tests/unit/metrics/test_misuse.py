"""A wrong metric is loud in a test; in production it is one log line and costs nothing else."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from glam_sdk._internal import guard
from glam_sdk.telemetry import metric_names
from glam_sdk.telemetry.metrics import (
    MisuseError,
    counter,
    gauge,
    histogram,
    measured,
    timer,
    up_down_counter,
)

_numbers = count()


def fresh(kind: str) -> str:
    """Return a name that no other test has."""
    return f"misuse.{kind}.n{next(_numbers)}"


@pytest.fixture
def in_production(monkeypatch) -> Callable[[], None]:
    """Go on as if no test were running; pytest says so anew before each test's own code."""

    def leave_pytest() -> None:
        monkeypatch.delenv("PYTEST_CURRENT_TEST")
        monkeypatch.delenv("PYTEST_VERSION")

    return leave_pytest


def _generates() -> Iterator[int]:
    yield 1


async def _generates_later() -> AsyncIterator[int]:
    yield 1


def _again(kind: Callable[..., Any], first: dict[str, Any], second: dict[str, Any]) -> None:
    name = fresh("again")
    kind(name, **first)
    kind(name, **second)


def _two(one: Callable[[str], Any], name: str, other: Callable[[str], Any], like: str) -> None:
    number = next(_numbers)
    for kind, form in ((one, name), (other, like)):
        kind(form.format(number) if "{" in form else f"{form}{number}")


def _seconds(name: str) -> object:
    return up_down_counter(name, unit="s")


def _timed(name: Any) -> None:
    with timer(name):
        pass


_BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no name": (lambda: counter(None), "None is no metric name"),
    "number as name": (lambda: counter(5), "5 is no metric name"),
    "empty name": (lambda: counter(""), "is no metric name"),
    "digit first": (lambda: counter("1st"), "is no metric name"),
    "space": (lambda: counter("with space"), "is no metric name"),
    "letters of other languages": (lambda: counter("ünicode"), "is no metric name"),
    "long name": (lambda: counter("x" * 256), "is no metric name"),
    "no unit": (lambda: counter(fresh("unit"), unit=None), "None is no unit"),
    "long unit": (lambda: counter(fresh("unit"), unit="x" * 64), "is no unit"),
    "no description": (lambda: gauge(fresh("text"), description=None), "is no description"),
    "unknown rule": (lambda: gauge(fresh("rule"), workers="avg"), "'avg' is no rule"),
    "list as rule": (lambda: gauge(fresh("rule"), workers=["max"]), "is no rule"),
    "one bucket": (lambda: histogram(fresh("buckets"), buckets=5), "5 are no buckets"),
    "falling buckets": (lambda: histogram(fresh("buckets"), buckets=[3, 1]), "are no buckets"),
    "equal buckets": (lambda: histogram(fresh("buckets"), buckets=[1, 1]), "are no buckets"),
    "text in buckets": (lambda: histogram(fresh("buckets"), buckets=["1"]), "are no buckets"),
    "endless bucket": (lambda: histogram(fresh("b"), buckets=[1, float("inf")]), "are no buckets"),
    "huge bucket": (lambda: histogram(fresh("b"), buckets=[10**400]), "are no buckets"),
    "other unit": (
        lambda: _again(histogram, {"unit": "s"}, {"unit": "ms"}),
        "unit 's' and now with 'ms'",
    ),
    "other buckets": (
        lambda: _again(histogram, {"buckets": [1]}, {"buckets": [2]}),
        r"buckets \(1.0,\) and now with \(2.0,\)",
    ),
    "buckets after the default": (
        lambda: _again(histogram, {"unit": "s"}, {"unit": "s", "buckets": [2]}),
        "One name has one meaning",
    ),
    "other rule": (
        lambda: _again(gauge, {"workers": "sum"}, {}),
        "worker rule 'sum' and now with 'max'",
    ),
    "other kind": (
        lambda: _two(counter, "misuse.kind", gauge, "Misuse.Kind"),
        "kind 'counter' and now with 'gauge'",
    ),
    "one name to Prometheus": (
        lambda: _two(counter, "misuse.a.x", gauge, "misuse.a_x"),
        "one name to Prometheus",
    ),
    "one counter to Prometheus": (
        lambda: _two(counter, "misuse.a.y", counter, "misuse.a.y{}.total"),
        "one name to Prometheus",
    ),
    "one unit to Prometheus": (
        lambda: _two(_seconds, "misuse.a.z", _seconds, "misuse.a.z{}.seconds"),
        "one name to Prometheus",
    ),
    "a counter's sample": (
        lambda: _two(counter, "misuse.a.v", gauge, "misuse.a.v{}.total"),
        "one name to Prometheus",
    ),
    "a histogram's sample": (
        lambda: _two(counter, "misuse.a.w{}.count", histogram, "misuse.a.w"),
        "one name to Prometheus",
    ),
    "our counter's sample": (
        lambda: gauge("process.cpu.time.seconds.total"),
        "'process.cpu.time' are one name",
    ),
    "our name": (
        lambda: histogram("http.server.request.duration", unit="ms"),
        "unit 's' and now with 'ms'",
    ),
    "our name to Prometheus": (
        lambda: counter("http.server.active.requests"),
        "'http.server.active_requests' are one name",
    ),
    "bound to a text": (lambda: counter(fresh("bind")).bind("web"), "'web' are no labels"),
    "gauge bound to a number": (lambda: gauge(fresh("bind")).bind(3), "3 are no labels"),
    "timed with a text": (
        lambda: histogram(fresh("time"), unit="s").time("x").__enter__(),
        "'x' are no labels",
    ),
    "timer without a name": (lambda: _timed(None), "None is no metric name"),
    "timer of a list": (lambda: _timed([]), "is no metric name"),
    "timer as decorator": (lambda: timer(fresh("t"))(_timed), "is for a block"),
    "measured without a name": (lambda: measured(_timed), "needs a name"),
    "measured generator": (lambda: measured(fresh("g"))(_generates), "cannot time the generator"),
    "measured async generator": (
        lambda: measured(fresh("g"))(_generates_later),
        "cannot time the generator",
    ),
    "measured static method": (
        lambda: measured(fresh("s"))(staticmethod(_timed)),
        "must stand below @staticmethod",
    ),
    "measured number": (lambda: measured(fresh("n"))(3), "is no function"),
}


@pytest.mark.parametrize(("misuse", "message"), _BAD.values(), ids=_BAD)
def test_a_wrong_declaration_fails_loudly_in_a_test(misuse, message: str) -> None:
    """The message says what is wrong and what to do."""
    with pytest.raises(MisuseError, match=message):
        misuse()


@pytest.mark.parametrize(("misuse", "message"), _BAD.values(), ids=_BAD)
def test_a_wrong_declaration_never_fails_in_production(
    misuse, message: str, in_production, caplog
) -> None:
    """Whatever stands there, the service starts, and the log says what a test would."""
    in_production()
    guard._last_logged.clear()
    misuse()
    (record,) = [r for r in caplog.records if r.message == "telemetry.failed"]
    assert re.search(message, str(record.exc_info[1]))


_BAD_VALUES = [None, "5", [], float("nan"), float("inf"), 10**400, Decimal("NaN"), object()]


def test_wrong_names_without_end_are_few_lines(monkeypatch, in_production, caplog) -> None:
    """A wrong name that holds an id is another one with each request."""
    in_production()
    monkeypatch.setattr(metric_names, "_refused", set())
    guard._last_logged.clear()
    for number in range(500):
        with timer(f"order {number}"):
            pass
    places = [record.place for record in caplog.records]
    assert len(places) == 101
    assert places[-1] == "metrics.others"
    assert len(metric_names._refused) == 101


@pytest.mark.parametrize("value", _BAD_VALUES, ids=lambda value: str(value)[:12])
def test_what_is_no_finite_number_fails_loudly_in_a_test(telemetry, value) -> None:
    """In a sum it would stay for ever."""
    name = fresh("value")
    for measure in (
        up_down_counter(name).add,
        up_down_counter(name).bind(a="b").add,
        gauge(f"{name}.g").set,
        gauge(f"{name}.g").bind(a="b").set,
        histogram(f"{name}.h").record,
        histogram(f"{name}.h").bind(a="b").record,
    ):
        with pytest.raises(MisuseError, match="which takes finite numbers"):
            measure(value)
    assert name.replace(".", "_") not in telemetry.scrape()


def test_what_falls_fails_loudly_in_a_test(telemetry) -> None:
    """Bound or not, a negative amount is a mistake where things only grow."""
    falling = counter(fresh("falls"))
    for measure in (falling.add, falling.bind(a="b").add, histogram(fresh("falls")).record):
        with pytest.raises(MisuseError, match="cannot fall"):
            measure(-1)


@pytest.mark.parametrize("labels", ["web", 5, ["a"], {1, 2}])
def test_labels_that_are_none_fail_loudly_in_a_test(telemetry, labels) -> None:
    """A text where a mapping belongs is not taken apart into letters."""
    for more in ({}, {"a": "b"}):
        with pytest.raises(MisuseError, match="are no labels of"):
            counter("misuse.labels").add(1, labels, **more)


def test_names_without_end_are_refused(monkeypatch) -> None:
    """A name made of ids would grow the process for ever."""
    monkeypatch.setattr(metric_names, "_MAX_NAMES", 0)
    with pytest.raises(MisuseError, match="one metric too many"):
        counter(fresh("many"))


def test_misuse_in_production_is_one_log_line(telemetry, caplog, in_production) -> None:
    """Nothing raises, nothing is measured wrongly, and the log says what is the matter."""
    in_production()
    caplog.set_level(logging.WARNING)
    bad = counter("author bad")
    for _ in range(3):
        bad.add(1)
        bad.bind(a="b").add(1)
    histogram("author.prod", unit="s").record(1)
    histogram("author.prod", unit="ms").record(1000)
    falling = counter("author.prod.falling")
    falling.add(-1)
    falling.bind("web").add(3)
    rule = gauge("author.prod.rule", workers="avg")
    rule.set(1)
    rule.bind(a="b").set(1)
    text = telemetry.scrape()
    assert "bad" not in text
    assert "author_prod_seconds_sum 1" in text
    for name in ("author_prod_milliseconds", "author_prod_falling", "author_prod_rule"):
        assert name not in text
    places = [r.place for r in caplog.records if r.message == "telemetry.failed"]
    assert places == [
        "metrics.author bad",
        "metrics.author.prod",
        "metrics.author.prod.falling",
        "metrics.author.prod.rule",
    ]


def test_wrong_values_in_production_cost_one_measurement(telemetry, caplog, in_production) -> None:
    """The instrument, other instruments and what is measured go on."""
    in_production()
    caplog.set_level(logging.WARNING)
    total = counter("author.values")
    for value in (*_BAD_VALUES, -1):
        total.add(value)
        total.bind().add(value)
    total.add(1, "web")
    total.add(2)
    assert [name for name, values in _used_wrongly().items() if values != 7] == []
    assert "author_values_total 2\n" in telemetry.scrape()
    places = [r.place for r in caplog.records if r.message == "telemetry.failed"]
    assert places.count("metrics.author.values") == 1


def _used_wrongly() -> dict[str, object]:
    """Call what is decorated or timed wrongly; it works as if it were not measured."""

    def seven() -> int:
        return 7

    def sevens() -> Iterator[int]:
        yield 7

    with timer(None), histogram("author.values.time").time("x"):
        found: dict[str, object] = {"block": 7}
    found["decorator"] = timer("author.values.block")(seven)()
    found["no name"] = measured(seven)()
    found["bad name"] = measured("bad name")(seven)()
    found["generator"] = next(measured("author.values.generator")(sevens)())
    return found


def test_a_bad_name_at_import_time_fails_loudly_under_pytest(tmp_path) -> None:
    """While pytest collects, no test is running, and the mistake is still an error."""
    module = tmp_path / "test_service.py"
    module.write_text(
        "from glam_sdk.telemetry.metrics import counter\n"
        "bad = counter('bad name')\n"
        "def test_nothing(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(module)]
    environ = {"PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        command, check=False, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "MisuseError: 'bad name' is no metric name" in done.stdout
