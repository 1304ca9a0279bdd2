"""What was measured before a fork counts once: in the process that measured it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_SCRIPT = Path(__file__).with_name("forked.py")


def fork(**environment: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Fork a process that has measured; return what its child scrapes and what both push."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(_SCRIPT)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.rpartition(" ") for line in done.stdout.splitlines() if line[:1] not in "#{"]
    (pushed,) = [line for line in done.stderr.splitlines() if line.startswith('{"pids"')]
    return {name: float(value) for name, _, value in lines}, json.loads(pushed)


@pytest.fixture(scope="module")
def child() -> tuple[dict[str, float], dict[str, Any]]:
    """Give one fork for several questions."""
    return fork()


def test_a_push_takes_off_what_prometheus_client_had_before_the_fork(child) -> None:
    """Each worker of a preloaded application pushes; the sum over them is what was counted."""
    scraped, pushed = child
    assert scraped["imports_total"] == 0
    assert pushed["imports"] == 1
    assert pushed["sizes"] == [0.5, [1, 0]]


def test_what_a_child_counts_starts_at_its_fork(child) -> None:
    """A start before it would make the rate of the first push too low."""
    scraped, pushed = child
    assert all(0 <= start < 30 for start in pushed["starts"]), pushed
    assert scraped["imports_created"] == scraped["sizes_created"]


def test_a_child_has_exported_and_collected_nothing_yet(child) -> None:
    """What the parent has is in the parent's own metrics."""
    scraped, _ = child
    counters = ("_exported_total", "_processed_total", "_collections_total")
    found = {k: v for k, v in scraped.items() if k.partition("{")[0].endswith(counters)}
    assert len(found) >= 8
    assert not any(value for name, value in found.items() if "python_gc" not in name)


def test_all_signals_of_a_child_have_one_identity_of_its_own(child) -> None:
    """A backend joins spans, metrics and log lines by it."""
    _, pushed = child
    (parent, *_), (first, *others) = pushed["identities"]
    assert others == [first, first]
    assert first[0] != parent[0]
    assert [parent[1], first[1]] == pushed["pids"]


@pytest.mark.parametrize("span_pipeline", ["lean", "sdk"])
def test_an_instance_id_that_was_given_stays_in_a_child(span_pipeline) -> None:
    """The SDK would give the child's metrics and log records another one."""
    _, pushed = fork(
        OTEL_RESOURCE_ATTRIBUTES="service.instance.id=mine",
        GLAM_TELEMETRY__SPAN_PIPELINE=span_pipeline,
    )
    parent, child_pid = pushed["pids"]
    assert pushed["identities"] == [[["mine", parent]] * 3, [["mine", child_pid]] * 3]
