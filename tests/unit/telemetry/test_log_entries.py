"""A line that is rendered later says what was so when it was logged."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry.context import attach, detach, get_current
from opentelemetry.trace import INVALID_SPAN

from glam_sdk.telemetry import logs
from glam_sdk.telemetry.log_chain import LogPipeline
from glam_sdk.telemetry.log_context import set_request_context, with_request_fields
from glam_sdk.telemetry.log_entry import Entry
from glam_sdk.telemetry.log_output import Bounds, LineWriter
from tests.unit.telemetry.conftest import Lines, decode, wait_until


class Patient:
    """An output that takes lines and renders them when it is asked to."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def take(self, entry: Entry) -> None:
        self.entries.append(entry)

    def __call__(self, line: bytes) -> None:
        raise AssertionError(f"{line!r} was rendered by the call")

    @property
    def rendered(self) -> list[dict[str, Any]]:
        return [decode(entry.json()) for entry in self.entries]


@pytest.fixture
def patient(chain: LogPipeline) -> Patient:
    chain.write = patient = Patient()
    return patient


def test_what_changes_after_the_call_is_not_on_the_line(chain: LogPipeline, patient: Patient):
    """A list, a mapping or an object is shown as it was."""
    basket = ["shoes"]
    chain.log("info", "shop", "basket", {"items": basket})
    basket.append("hat")
    assert patient.rendered[0]["items"] == ["shoes"]


def test_a_field_set_on_the_request_later_is_on_later_lines_only(
    chain: LogPipeline, patient: Patient
):
    """The fields of a request grow while it is handled."""
    token = attach(with_request_fields(INVALID_SPAN, get_current()))
    try:
        chain.log("info", "shop", "before", {"n": 1})
        set_request_context(user_id="u-1")
        chain.log("info", "shop", "after", {"n": 2})
    finally:
        detach(token)
    before, after = patient.rendered
    assert "user_id" not in before
    assert (after["user_id"], after["n"]) == ("u-1", 2)


def test_the_service_is_the_one_at_the_call(chain: LogPipeline, patient: Patient):
    """Setting the logs up anew changes no line that was logged before."""
    chain.log("info", "shop", "early", {})
    chain.service, chain.environment = "other", "prod"
    assert (patient.rendered[0]["service"], patient.rendered[0]["environment"]) == (
        "orders",
        "staging",
    )


def test_a_line_is_rendered_by_the_thread_that_writes_it(chain: LogPipeline):
    """The caller only takes down what was said."""
    written, places = Lines(), []

    def fields() -> dict[str, Any]:
        places.append(threading.current_thread().name)
        return {"n": 1}

    chain.write = writer = LineWriter(lambda data: written.extend(data.splitlines()), name="here")
    chain.log("info", "shop", "later", fields)
    wait_until(lambda: written)
    writer.close()
    assert (written.decoded[0]["n"], places) == (1, ["glam-log-here"])


def test_large_lines_that_wait_are_bounded_by_their_size(chain: LogPipeline):
    """A text that is long counts as long as it is, also before it is written."""
    is_open, entered, written = threading.Event(), threading.Event(), Lines()

    def stuck(data: bytes) -> None:
        entered.set()
        is_open.wait(20)
        written.extend(data.splitlines())

    bounds = Bounds(lines=1000, size_bytes=50_000, patience_s=0.01)
    chain.write = writer = LineWriter(stuck, name="here", bounds=bounds)
    chain.log("info", "shop", "first", {})
    assert entered.wait(10)
    for _ in range(10):
        chain.log("info", "shop", "large", {"text": "x" * 20_000})
        chain.log("info", "shop", "y" * 20_000, {})
    is_open.set()
    writer.close()
    assert 0 < writer.lost_total < 20
    assert len(written) == 21 - writer.lost_total
    assert sum(map(len, written)) < 100_000


def test_fields_that_cannot_be_put_together_cost_only_themselves(
    chain: LogPipeline, patient: Patient
):
    """Whatever goes wrong when the line is rendered, a line comes out."""

    def fields() -> dict[str, Any]:
        raise RuntimeError("gone")

    chain.log("info", "shop", "odd", fields)
    assert patient.rendered[0]["message"] == "odd"
    assert patient.rendered[0]["logging_failed"] == "RuntimeError"


def test_fields_made_later_obey_the_level_and_what_is_bound(telemetry: Any):
    """``log_later`` is ``info`` and its like with the fields to come."""
    log = logs.get_logger("shop", region="eu")
    log.log_later("debug", "hidden", dict)
    log.log_later("info", "shown", lambda: {"n": 1})
    assert [(e["message"], e["region"], e["n"]) for e in telemetry.logs()] == [("shown", "eu", 1)]
