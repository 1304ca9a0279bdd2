"""What is measured before ``init`` counts, within a bound."""

from __future__ import annotations

import subprocess
import sys

from glam_sdk.telemetry import early
from glam_sdk.telemetry.metrics import counter, gauge, histogram, timer, up_down_counter
from glam_sdk.testing import capture_telemetry

_MEASURE = """
import sys
from glam_sdk.telemetry.metrics import counter, gauge, histogram, timer
orders, level = counter('early.orders'), gauge('early.level')
bound, labels = orders.bind(kind='bound'), {'kind': 'plain'}
orders.add(1, labels)
labels['kind'] = 'changed'
orders.add(2, kind='plain'); bound.add(4)
level.set(1); level.set(3)
with timer('early.load.duration'): pass
orders.add(5, tags=['a'])
assert 'opentelemetry.sdk.metrics' not in sys.modules
"""
_INIT = """
import glam_sdk
service = glam_sdk.init('shop')
orders.add(8, kind='plain'); bound.add(16)
text = service.scrape()[0].decode()
"""
_QUIET = "import os; os.environ.update(GLAM_LOG__LEVEL='ERROR')\n"


def run(code: str) -> str:
    """Run some code in a fresh process; what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_measurements_before_init_are_counted() -> None:
    """Import order does not decide what a service counts."""
    text = run(f"{_QUIET}{_MEASURE}{_INIT}print(text); glam_sdk.shutdown()")
    assert 'early_orders_total{kind="plain"} 11\n' in text
    assert 'early_orders_total{kind="bound"} 20\n' in text
    assert "early_orders_total{tags=" in text
    assert "early_level 3\n" in text
    assert "early_load_duration_seconds_count 1\n" in text


def test_measuring_without_init_costs_a_bounded_list() -> None:
    """A script that never calls init fails nobody and does not grow."""
    more = (
        "for _ in range(20_000): orders.add()\n"
        "from glam_sdk.telemetry import early\n"
        "print(len(early._early.kept), early._early.lost > 9000)"
    )
    assert run(_MEASURE + more) == "10000 True\n"


def test_a_forked_worker_does_not_count_its_parents_measurements() -> None:
    """Each worker of a preloaded application calls init; the parent measured once."""
    code = "import os, sys\nif os.fork():\n    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    text = run(f"{_QUIET}{_MEASURE}{code}{_INIT}print(text, flush=True)")
    assert 'early_orders_total{kind="plain"} 8\n' in text


def test_with_telemetry_switched_off_nothing_is_kept() -> None:
    """There is no later to keep anything for."""
    code = (
        "import os; os.environ['OTEL_SDK_DISABLED'] = 'true'\n"
        "import glam_sdk; glam_sdk.init('shop')\n"
        "from glam_sdk.telemetry import early; print(len(early._early.kept))\n"
        "orders.add(); print(len(early._early.kept))"
    )
    assert run(f"{_QUIET}{_MEASURE}{code}").split() == ["0", "0"]


def test_more_than_is_kept_is_said_aloud(monkeypatch) -> None:
    """The number that is missing is in the log."""
    early.forget()
    monkeypatch.setattr(early, "_MAX", 2)
    monkeypatch.setattr(early, "forget", lambda: None)  # what a test of somebody else's needs
    many = counter("early.many")
    for _ in range(5):
        many.add()
    with capture_telemetry("shop") as telemetry:
        assert "early_many_total 2\n" in telemetry.scrape()
        many.add()
        assert "early_many_total 3\n" in telemetry.scrape()


def test_a_test_begins_with_nothing_measured() -> None:
    """What other tests measured without a service is not in the next one's numbers."""
    total, level = counter("early.other"), up_down_counter("early.other.level")
    total.add(5)
    level.add(1)
    histogram("early.other.size").record(1)
    gauge("early.other.gauge").set(1)
    with timer("early.other.duration"):
        pass
    with capture_telemetry("shop") as telemetry:
        total.add(1)
        text = telemetry.scrape()
    assert "early_other_total 1\n" in text
    assert "early_other_level" not in text
