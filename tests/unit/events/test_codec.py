"""Rules of the wire format, byte for byte and for any input."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glam_sdk.events import Envelope, MalformedEventError, decode, encode
from glam_sdk.events.codec import envelope_from

MOMENT = datetime(2026, 1, 15, 10, 30, 45, 123456, tzinfo=UTC)
text = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


def envelope(**changes):
    values = {
        "event_id": "e-1",
        "subject": "evt.catalog.sync_started",
        "timestamp": MOMENT,
        "payload": {},
        "correlation_id": "corr_1",
        "idempotency_key": "key-1",
        "metadata": {"source_service": "catalog-service", "version": "1.0.0"},
    }
    return Envelope(**{**values, **changes})


def test_the_bytes_are_those_of_the_contract():
    """An old consumer reads exactly the document the contract shows."""
    assert encode(envelope()) == (
        b'{"event_id":"e-1","subject":"evt.catalog.sync_started","correlation_id":"corr_1",'
        b'"idempotency_key":"key-1","timestamp":"2026-01-15T10:30:45.123456+00:00",'
        b'"metadata":{"source_service":"catalog-service","version":"1.0.0"},"payload":{}}'
    )


def test_an_old_consumer_finds_what_it_requires():
    """Id, subject, timestamp and payload are there, the timestamp in its ISO form."""
    event = json.loads(encode(envelope(payload={"a": 1})))
    assert {"event_id", "subject", "timestamp", "payload"} <= event.keys()
    assert datetime.fromisoformat(event["timestamp"]) == MOMENT


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00.000000+00:00"),
        (datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
         "2026-01-01T00:00:00.000000+00:00"),
        (datetime(2026, 1, 1), "2026-01-01T00:00:00.000000+00:00"),  # noqa: DTZ001 - the case
    ],
)  # fmt: skip
def test_timestamps_are_utc_with_microseconds(moment, written):
    """Full seconds keep their microseconds, other zones become UTC, naive ones are taken as UTC."""
    assert json.loads(encode(envelope(timestamp=moment)))["timestamp"] == written


def test_values_json_does_not_know_are_written_as_text():
    """Decimal, UUID and datetime keep their exact value."""
    payload = {
        "total": Decimal("10.10"),
        "id": UUID(int=1),
        "at": MOMENT,
        "tags": {"a"},
        "wait": timedelta(seconds=90),
    }
    assert json.loads(encode(envelope(payload=payload)))["payload"] == {
        "total": "10.10",
        "id": "00000000-0000-0000-0000-000000000001",
        "at": "2026-01-15T10:30:45.123456+00:00",
        "tags": ["a"],
        "wait": "PT1M30S",
    }


@pytest.mark.parametrize("value", [object(), 2**70, "\ud800"])
def test_what_json_cannot_carry_is_refused_with_the_subject(value):
    """An unencodable payload is our error, not the encoder's."""
    with pytest.raises(MalformedEventError, match="sync_started cannot be written"):
        encode(envelope(payload={"v": value}))


def test_the_smallest_old_event_is_read():
    """Four keys are enough; the rest has defaults, and unknown keys are ignored."""
    read = decode(
        b'{"event_id":"e-1","subject":"evt.x.y","timestamp":"2026-01-15T10:30:45",'
        b'"payload":{"a":1},"unknown":[]}'
    )
    assert read == Envelope(
        event_id="e-1",
        subject="evt.x.y",
        timestamp=MOMENT.replace(microsecond=0),
        payload={"a": 1},
        idempotency_key="e-1",
    )


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"correlation_id": "top"}, "top"),
        ({"metadata": {"correlation_id": "inner"}}, "inner"),
        ({"correlation_id": "top", "metadata": {"correlation_id": "inner"}}, "top"),
        ({"correlation_id": None, "metadata": None}, None),
        ({"correlation_id": 5, "metadata": []}, None),
    ],
)
def test_the_correlation_id_is_found_wherever_old_producers_put_it(extra, expected):
    """Top level first, then metadata; anything that is not a text is ignored."""
    event = {"event_id": "e", "subject": "evt.x.y", "payload": {}, **extra}
    event["timestamp"] = "2026-01-15T10:30:45Z"
    assert decode(json.dumps(event).encode()).correlation_id == expected


@pytest.mark.parametrize("missing", ["event_id", "subject", "timestamp", "payload"])
def test_a_missing_key_is_named(missing):
    """Each of the four required keys is reported by its name."""
    event = {"event_id": "e", "subject": "s", "timestamp": "2026-01-15T10:30:45Z", "payload": {}}
    del event[missing]
    with pytest.raises(MalformedEventError, match=missing):
        decode(json.dumps(event).encode())


@pytest.mark.parametrize(
    "moment", ["yesterday", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00+14:00"]
)
def test_an_impossible_timestamp_is_malformed(moment):
    """A timestamp that is not one, or not one in UTC, is our error."""
    event = {"event_id": "e", "subject": "s", "timestamp": moment, "payload": {}}
    with pytest.raises(MalformedEventError, match="timestamp"):
        decode(json.dumps(event).encode())


@given(payload=st.dictionaries(text, json_values, max_size=5), metadata=st.dictionaries(text, text))
def test_any_json_payload_round_trips(payload, metadata):
    """Decoding what was encoded gives the same envelope."""
    metadata.pop("correlation_id", None)
    sent = envelope(payload=payload, metadata=metadata)
    assert decode(encode(sent)) == sent


@given(body=st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused(body):
    """No input makes the decoder raise anything but its own error."""
    with suppress(MalformedEventError):
        assert isinstance(decode(body), Envelope)


@given(
    body=st.fixed_dictionaries(
        dict.fromkeys(("event_id", "subject", "timestamp", "payload"), json_values),
        optional=dict.fromkeys(("metadata", "correlation_id", "idempotency_key"), json_values),
    )
)
def test_any_values_in_the_known_keys_are_read_or_refused(body):
    """Wrong types in the right keys never raise anything but our own error."""
    with suppress(MalformedEventError):
        assert isinstance(decode(json.dumps(body).encode()), Envelope)


class Subjects(StrEnum):
    PLACED = "evt.orders.placed"


def test_a_text_of_a_class_of_its_own_is_a_text():
    """Such as a subject kept in an enum."""
    event = {"event_id": "e-1", "subject": Subjects.PLACED, "payload": {}}
    found = envelope_from({**event, "timestamp": "2026-01-15T10:30:45+00:00"})
    assert found.subject == "evt.orders.placed"


class Text(str):
    """Be a text that is not written as our own encoder writes it."""

    __slots__ = ()


USUAL = json.loads(encode(envelope(payload={"a": 1})))
ODD = [None, "", 5, [], {}, {"correlation_id": "inner"}, "2026-01-15T10:30:45"]
LATER = "2026-01-15T12:30:45+02:00"


@pytest.mark.parametrize("name", ["nothing", *USUAL])
@pytest.mark.parametrize("value", [*ODD, LATER, "left out"])
def test_a_usual_event_is_read_as_any_other(name, value):
    """The short way finds the same as the long one, and leaves to it what is wrong."""

    def read(event):
        try:
            found = envelope_from(event)
        except MalformedEventError as error:
            return str(error)
        return found, found.timestamp.tzinfo

    event = {**USUAL, name: value}
    if value == "left out":
        del event[name]
    texts = {name: Text(value) for name, value in event.items() if isinstance(value, str)}
    assert read(event) == read({**event, **texts})


def test_a_usual_event_cannot_be_changed():
    """It is an envelope like any other."""
    with pytest.raises(AttributeError):
        decode(encode(envelope())).subject = "evt.x.y"


def test_a_mapping_that_makes_what_it_has_not_is_not_asked_to():
    """It is read as it is, and stays so."""
    kept = json.loads(encode(envelope()))
    del kept["metadata"], kept["correlation_id"]
    asked = defaultdict(str, kept)
    assert envelope_from(asked) == envelope_from(kept)
    assert asked == kept
