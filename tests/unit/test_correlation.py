"""The correlation helpers that services know (contract 1)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.context import detach

import glam_sdk
from glam_sdk import correlation
from glam_sdk.context import is_valid_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def current():
    """Make ``c-1`` the correlation id for one test."""
    token = correlation.set_correlation_context("c-1")
    yield "c-1"
    detach(token)


def test_the_correlation_id_is_set_and_read(current):
    """It is baggage in the OpenTelemetry context, and nowhere else."""
    assert correlation.get_correlation_context() == glam_sdk.correlation_id() == "c-1"
    assert correlation.get_trace_context() == {"baggage": "correlation_id=c-1"}


def test_it_can_be_put_back_and_taken_away(current):
    """The token undoes a change; None means none."""
    token = correlation.set_correlation_context(None)
    assert correlation.get_correlation_context() is None
    detach(token)
    assert correlation.get_correlation_context() == "c-1"


async def test_it_does_not_leave_its_task(current):
    """What a task sets is its own."""

    async def other():
        correlation.set_correlation_context("c-2")
        return correlation.get_correlation_context()

    assert await asyncio.create_task(other()) == "c-2"
    assert correlation.get_correlation_context() == "c-1"


@pytest.mark.parametrize("wrong", ["", "a b", "x\r\ny", "ä", "-a", "a" * 129])
def test_an_id_that_could_not_travel_is_refused(wrong):
    """The sentence says what an id looks like."""
    with pytest.raises(ValueError, match="1 to 128 characters"):
        correlation.set_correlation_context(wrong)


def test_the_header_is_added_once(current):
    """A header that is there stays, in whatever case; the caller's dict is not changed."""
    headers = {"Accept": "*/*"}
    assert correlation.add_correlation_header(headers) == {**headers, "X-Correlation-ID": "c-1"}
    assert headers == {"Accept": "*/*"}
    own = {"x-correlation-id": "mine"}
    assert correlation.add_correlation_header(own) == own


def test_without_a_correlation_id_nothing_is_added():
    """There is nothing to say."""
    assert correlation.add_correlation_header({}) == {}
    assert correlation.add_correlation_to_event({"payload": {}}) == {"payload": {}}


@pytest.mark.parametrize("event", [{}, {"metadata": None}, {"metadata": {"version": "1"}}])
def test_an_event_gets_it_in_its_metadata(current, event):
    """``event["metadata"]["correlation_id"]``, other metadata kept, the event not changed."""
    before = repr(event)
    added = correlation.add_correlation_to_event(event)
    assert correlation.extract_correlation_from_event(added) == "c-1"
    assert (added["metadata"]).items() >= (event.get("metadata") or {}).items()
    assert repr(event) == before


def test_an_event_keeps_its_own(current):
    """An answer belongs to what was asked."""
    event = {"metadata": {"correlation_id": "c-9"}}
    assert correlation.add_correlation_to_event(event) == event


_ANY = st.none() | st.text() | st.integers() | st.dictionaries(st.text(), st.none() | st.text())


@given(st.dictionaries(st.sampled_from(["metadata", "payload"]), _ANY))
def test_any_event_can_be_asked(event):
    """What comes from outside is valid or it is not there."""
    found = correlation.extract_correlation_from_event(event)
    assert found is None or is_valid_id(found)


def test_the_trace_context_travels_by_w3c_headers(telemetry):
    """What one side gets, the other sets; names in any case."""
    with glam_sdk.span("here"):
        headers = correlation.get_trace_context()
        here = glam_sdk.trace_id()
    assert headers["traceparent"].split("-")[1] == here
    token = correlation.set_trace_context({k.title(): v for k, v in headers.items()})
    try:
        assert glam_sdk.trace_id() == here
        with glam_sdk.span("there"):
            pass
    finally:
        detach(token)
    assert telemetry.tree() == "here INTERNAL\n  there INTERNAL"
    assert glam_sdk.trace_id() is None


def test_a_header_that_is_no_text_is_left_out():
    """Bytes that were decoded with a loss cost their header, not the call."""
    detach(correlation.set_trace_context({"baggage": "a=\udcff", "x": "é"}))
    assert glam_sdk.trace_id() is None
