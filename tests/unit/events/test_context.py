"""Rules of the event context and of what it puts on the wire."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from glam_sdk.events import (
    EventContext,
    EventPayload,
    EventWrapper,
    MalformedEventError,
    decode,
    encode,
    get_stream_from_subject,
)

WIRE = (
    b'{"event_id":"e-1","subject":"evt.catalog.sync_started","correlation_id":"c-1",'
    b'"idempotency_key":"k-1","timestamp":"2026-01-15T10:30:45.123456+00:00",'
    b'"metadata":{"source_service":"catalog-service","version":"1.0.0"},"payload":{"n":1}}'
)


class Started(EventPayload):
    n: int


def test_an_event_is_the_same_bytes_after_a_way_through_the_context():
    """Read from an old producer's bytes and written again, nothing has changed."""
    context = EventContext.from_event(json.loads(WIRE))
    assert encode(context.envelope({"n": 1})) == WIRE
    wrapped = EventWrapper.from_context(context, Started(n=1))
    assert json.dumps(wrapped.to_event_dict(), separators=(",", ":")).encode() == WIRE
    assert list(context.to_dict()) == list(json.loads(WIRE))[:-1]
    assert (context.source_service, context.correlation_id) == ("catalog-service", "c-1")
    assert context.timestamp == datetime(2026, 1, 15, 10, 30, 45, 123456, tzinfo=UTC)


def test_a_new_context_fills_in_what_old_consumers_require():
    """Id, key, moment, source and version are there."""
    made = EventContext.create("evt.catalog.opened", source_service="catalog-service")
    event = decode(encode(made.envelope({})))
    assert event.idempotency_key == event.event_id
    assert dict(event.metadata) == {"source_service": "catalog-service", "version": "1.0.0"}
    assert event.correlation_id is not None
    assert event.correlation_id.startswith("corr_")


def test_an_answer_names_what_it_answers():
    """It carries the event's id and source, and keeps the correlation id."""
    asked = EventContext.from_event(json.loads(WIRE))
    answer = asked.create_response_context("evt.ai_processing.done", source_service="ai")
    assert answer.correlation_id == "c-1"
    assert answer.metadata["triggered_by"] == "e-1"
    assert answer.metadata["original_source"] == "catalog-service"
    assert answer.metadata["source_service"] == "ai"
    assert answer.event_id != "e-1"


def test_what_is_no_event_has_no_context():
    """A missing id is named."""
    with pytest.raises(MalformedEventError, match="event_id"):
        EventContext.from_event({"subject": "evt.a.b"})


def test_any_model_can_be_wrapped():
    """The payload is written in JSON's own types."""

    class Data(BaseModel):
        at: datetime

    context = EventContext.create("evt.catalog.opened", source_service="x")
    event = EventWrapper.from_context(context, Data(at=datetime(2026, 1, 1, tzinfo=UTC)))
    assert event.to_event_dict()["payload"] == {"at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize("pattern", ["evt.catalog.>", "evt.catalog.*", "evt.catalog.*.done"])
def test_a_pattern_has_the_stream_of_its_domain(pattern):
    """Old subscribers may listen to several subjects at once."""
    assert get_stream_from_subject(pattern) == "CATALOG"


@pytest.mark.parametrize("pattern", ["evt.*.done", ">", "evt.>"])
def test_a_pattern_over_all_domains_has_no_stream(pattern):
    """A consumer belongs to one stream."""
    with pytest.raises(ValueError, match="not a subject"):
        get_stream_from_subject(pattern)
