"""The line about a handled message is the same, byte for byte, from a template and without one."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from glam_sdk import context as ids
from glam_sdk.events import Envelope
from glam_sdk.messaging import handled_lines
from glam_sdk.messaging.handled_lines import HandledLines
from glam_sdk.messaging.work import HANDLED, Work
from glam_sdk.telemetry.log_context import set_request_context
from glam_sdk.telemetry.logs import BoundLogger, pipeline
from glam_sdk.telemetry.pipeline.lean.log_records import EncodedLogProcessor, LeanLoggerProvider

LOGGER = "glam_sdk.messaging.pipeline"


class Whole(HandledLines):
    """Let every line go the whole way."""

    def _fill(self, work, created, duration_ms):
        return False


class Nowhere:
    def export(self, batch): ...

    def shutdown(self): ...


@pytest.fixture(scope="module")
def exporting():
    """Export log records to nowhere."""
    provider = LeanLoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(EncodedLogProcessor(Nowhere()))
    yield provider
    provider.shutdown()


@contextmanager
def captured(provider):
    """Collect lines and exported records as a service's chain makes them."""
    chain, logger = pipeline(), logging.getLogger(LOGGER)
    names = ("write", "console", "service", "environment", "provider")
    before, level = {name: getattr(chain, name) for name in names}, logger.level
    found = []
    (processor,) = provider._encoders
    processor.put = chain.write = found.append
    chain.console, chain.provider = False, provider
    chain.service, chain.environment = "100 % orders", "prod"
    logger.setLevel(logging.INFO)
    try:
        yield found
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            setattr(chain, name, value)


SUBJECT = "evt.orders.placed"


def work_of(event_id="e-1", sequence=7, *, number=1, outcome=HANDLED, subject=SUBJECT):
    envelope = Envelope(event_id, subject, datetime(2026, 1, 15, tzinfo=UTC), {})
    message = SimpleNamespace(subject=subject, stream="ORDERS", sequence=sequence)
    work = Work()
    work.message, work.envelope, work.number, work.outcome = message, envelope, number, outcome
    return work


def tell(
    lines,
    work,
    *,
    correlation_id="corr-1",
    own=None,
    span_id=1,
    at=(0.0015, 10**18),
    request_id=None,
):
    """Write a line inside of its context, as its handler left that."""
    span = SpanContext(2**100, span_id, is_remote=False, trace_flags=TraceFlags(1))
    values = {ids.SPAN_KEY: NonRecordingSpan(span)}
    if correlation_id is not None:
        values[ids.BAGGAGE_KEY] = {ids.CORRELATION_ID_KEY: correlation_id}
    if request_id is not None:
        values[ids.REQUEST_ID_KEY] = request_id
    token = attach(Context(values))
    try:
        set_request_context(**(own or {}))
        lines.write(work, *at)
    finally:
        detach(token)


IDS = st.text("ABCabc019._:-/+=@", min_size=1, max_size=30)
ODD = st.sampled_from(
    ["a" * 2000, "x" * 256, "x" * 257, "https://u:p@x/", 'a"b\\', "", "%s%b", "é"]
)
TEXTS = st.one_of(IDS, IDS, ODD, st.text(max_size=20))
WORKS = st.builds(
    work_of,
    TEXTS,
    st.one_of(st.integers(0, 10**9), st.integers(2**52, 2**54), st.integers(0, 2**63)),
    number=st.sampled_from([1, 1, 1, 2]),
    outcome=st.sampled_from([HANDLED, HANDLED, "duplicate"]),
)
OWN = st.just({}) | st.dictionaries(
    st.sampled_from(["user", "subject", "event_id", "request_id", "password", "naïve"]),
    st.one_of(TEXTS, st.integers(-(2**54), 2**54), st.floats(), st.lists(st.integers())),
    max_size=3,
)
TIMES = st.tuples(st.floats(0, 1e4), st.integers(1, 4 * 10**18))


@given(WORKS, st.none() | TEXTS, OWN, st.integers(0, 2**64 - 1), TIMES)
def test_every_line_and_its_record_are_as_without_a_template(
    exporting, work, correlation_id, own, span_id, at
):
    """Whatever ids and times it has, and whatever its handler put on it."""
    told = []
    for lines in (HandledLines("billing"), Whole("billing")):
        with captured(exporting) as found:
            for _ in range(2):  # from then on it is filled in
                tell(lines, work_of())
            for _ in range(2):  # names are known the second time
                tell(lines, work, correlation_id=correlation_id, own=own, span_id=span_id, at=at)
        told.append(found)
    assert told[0] == told[1]


@pytest.mark.parametrize("own", [{}, {"user": "u-1"}])
def test_the_usual_line_is_not_laid_out(exporting, monkeypatch, own):
    """Else nothing would be gained."""
    lines = HandledLines("billing")
    with captured(exporting) as found:
        for number in range(2):
            tell(lines, work_of(f"e-{number}", number), own=own)
        monkeypatch.setattr(BoundLogger, "log_at", None)
        tell(lines, work_of("e-2", 2), own=own)
    assert len(found) == 6  # as many records


@pytest.mark.parametrize(
    "other",
    [
        {"number": 2},
        {"outcome": "duplicate"},
        {"subject": "evt.orders.sent"},
        {"event_id": "x" * 300},
    ],
)
def test_what_is_not_in_the_template_is_told(exporting, other):
    """A further attempt, another outcome, another subject."""
    told = []
    for lines in (HandledLines("billing"), Whole("billing")):
        with captured(exporting) as found:
            for _ in range(3):
                tell(lines, work_of())
            for _ in range(3):
                tell(lines, work_of(**other))
        told.append(found)
    assert told[0] == told[1]


def test_a_line_inside_of_a_request_has_its_id(exporting):
    """As where a handler is called by hand."""
    lines = HandledLines("billing")
    with captured(exporting) as found:
        for _ in range(3):
            tell(lines, work_of())
        tell(lines, work_of(), request_id="req_1")
    assert b'"request_id":"req_1"' in found[-1]


@pytest.mark.parametrize("whose", ["service", "environment"])
def test_a_template_is_made_anew_for_another_service(exporting, whose):
    """A line says whose it is, also where that is set later."""
    lines = HandledLines("billing")
    with captured(exporting) as found:
        tell(lines, work_of())
        tell(lines, work_of())
        setattr(pipeline(), whose, "another")
        tell(lines, work_of())
        tell(lines, work_of())
    assert [b'"another"' in line for line in found[1::2]] == [False, False, True, True]
    assert found[5] == found[7]


def test_more_fields_than_a_record_may_have_are_left_out(exporting):
    """From a template as without one."""
    told = []
    for lines in (HandledLines("billing"), Whole("billing")):
        with captured(exporting) as found:
            for _ in range(3):
                tell(lines, work_of(), own={f"f{number}": number for number in range(110)})
        told.append(found)
    assert told[0] == told[1]


def test_a_subject_that_does_not_come_again_gets_no_template(exporting, monkeypatch):
    """One costs as much as three lines, and they are bounded."""
    monkeypatch.setattr(handled_lines, "_MAX_TEMPLATES", 2)
    lines = HandledLines("billing")
    with captured(exporting):
        for number in range(9):
            tell(lines, work_of(subject=f"evt.orders.{number}"))
        assert not lines._templates
        for number in (1, 1, 2, 2, 3, 3, 4, 4):
            tell(lines, work_of(subject=f"evt.orders.{number}"))
    assert 0 < len(lines._templates) <= 2
    assert len(lines._seen_once) <= 2
