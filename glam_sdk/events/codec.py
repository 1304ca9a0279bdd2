"""Turn an envelope into the bytes old services read, and any bytes back into an envelope."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Final

import orjson
from pydantic_core import from_json, to_jsonable_python

from glam_sdk.errors import DomainError
from glam_sdk.events.envelope import Envelope, OpenEnvelope, filled, format_timestamp

_values: Final = itemgetter(
    "event_id",
    "subject",
    "timestamp",
    "payload",
    "correlation_id",
    "idempotency_key",
    "metadata",
)
_moment: Final = datetime.fromisoformat
_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_NAIVE_UTC


class MalformedEventError(DomainError):
    """Say why bytes are not an event, or why an event cannot be written as bytes."""

    code = "MALFORMED_EVENT"


def event_dict(envelope: Envelope) -> dict[str, Any]:
    """Return an event as the object its JSON body has, in the key order old services write.

    ``correlation_id`` is left out when there is none.
    """
    return _body(envelope, format_timestamp(envelope.timestamp))


def _body(envelope: Envelope, timestamp: datetime | str) -> dict[str, Any]:
    body: dict[str, Any] = {"event_id": envelope.event_id, "subject": envelope.subject}
    if envelope.correlation_id is not None:
        body["correlation_id"] = envelope.correlation_id
    body["idempotency_key"] = envelope.idempotency_key
    body["timestamp"] = timestamp
    body["metadata"] = envelope.metadata
    body["payload"] = envelope.payload
    return body


def encode(envelope: Envelope) -> bytes:
    """Return the JSON body of the message: :func:`event_dict` as bytes.

    Decimals become strings, UUIDs and enums their value, datetimes ISO 8601 (naive ones are taken
    as UTC); sets become lists.

    Raises:
        MalformedEventError: The payload holds something JSON cannot carry.
    """
    try:
        body = _body(envelope, _wire_time(envelope.timestamp))
        return orjson.dumps(body, default=to_jsonable_python, option=_OPTIONS)
    except (TypeError, ValueError) as exc:
        raise MalformedEventError(
            f"The payload of {envelope.subject} cannot be written as JSON: {exc}."
        ) from exc


def decode(body: bytes) -> Envelope:
    """Read a message body as :func:`envelope_from` does.

    Raises:
        MalformedEventError: The bytes are not JSON, or not an event.
    """
    try:
        data = from_json(body, cache_strings="keys")  # values hardly ever come again
    except ValueError as exc:
        raise MalformedEventError(f"The message is not JSON: {exc}.") from exc
    if not isinstance(data, dict):
        raise MalformedEventError("The message is JSON, but not an object.")
    return envelope_from(data)


def envelope_from(data: Mapping[str, Any]) -> Envelope:
    """Read an event from the object of its JSON body; keys that are not known are ignored.

    ``event_id``, ``subject``, ``timestamp`` and ``payload`` are required. The correlation id is
    taken from the top level, else from ``metadata``.

    Raises:
        MalformedEventError: It is not an event.
    """
    if type(data) is not dict:  # another mapping may make what it has not
        return _unusual(data)
    try:
        event_id, subject, timestamp, payload, correlation_id, key, metadata = _values(data)
        if (
            type(event_id) is type(subject) is type(correlation_id) is type(key) is str
            and type(payload) is type(metadata) is dict
            and (event_id and subject and correlation_id and key)
        ):
            moment = _moment(timestamp)
            if moment.tzinfo is UTC:
                envelope: Any = OpenEnvelope()  # as filled does, whose call would be felt
                envelope.event_id = event_id
                envelope.subject = subject
                envelope.timestamp = moment
                envelope.payload = payload
                envelope.correlation_id = correlation_id
                envelope.idempotency_key = key
                envelope.metadata = metadata
                envelope.__class__ = Envelope
                found: Envelope = envelope
                return found
    except (KeyError, TypeError, ValueError):
        pass  # it is named there
    return _unusual(data)


def _unusual(data: Mapping[str, Any]) -> Envelope:
    """Read an event that is not written as :func:`encode` writes it, or say what is wrong."""
    get = data.get
    payload = get("payload")
    if not isinstance(payload, dict):
        raise MalformedEventError("The event has no payload object.")
    metadata = get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    event_id = get("event_id")
    if not isinstance(event_id, str) or not event_id:
        raise _missing("event_id")
    subject = get("subject")
    if not isinstance(subject, str) or not subject:
        raise _missing("subject")
    timestamp = get("timestamp")
    if not isinstance(timestamp, str) or not timestamp:
        raise _missing("timestamp")
    try:
        moment = _moment(timestamp)
        if moment.tzinfo is not UTC:
            moment = _in_utc(moment)
    except (ValueError, OverflowError) as exc:
        raise MalformedEventError(
            "The event's timestamp is not ISO 8601, such as 2026-01-15T10:30:45.123456+00:00.",
        ) from exc
    correlation_id, key = get("correlation_id"), get("idempotency_key")
    if not isinstance(correlation_id, str) or not correlation_id:
        correlation_id = metadata.get("correlation_id") or None
    return filled(
        (
            event_id,
            subject,
            moment,
            payload,
            correlation_id if isinstance(correlation_id, str) else None,
            key if isinstance(key, str) and key else event_id,
            metadata,
        )
    )


def _wire_time(moment: datetime) -> datetime | str:
    # orjson writes what we want, and quicker, but leaves microseconds away where there are none.
    return moment if moment.microsecond and moment.tzinfo is UTC else format_timestamp(moment)


def _missing(key: str) -> MalformedEventError:
    return MalformedEventError(f"The event has no {key}; it must be a text that is not empty.")


def _in_utc(moment: datetime) -> datetime:
    # Old producers wrote naive ones; they meant UTC.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
