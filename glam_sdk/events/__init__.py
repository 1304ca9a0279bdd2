"""Describe what travels between services: subjects, streams, the envelope and typed events.

Nothing here knows NATS; :mod:`glam_sdk.messaging` carries what this area describes.
"""

from glam_sdk.events.codec import (
    MalformedEventError,
    decode,
    encode,
    envelope_from,
    event_dict,
)
from glam_sdk.events.context import EventContext, EventPayload, EventWrapper
from glam_sdk.events.description import asyncapi, events_of
from glam_sdk.events.envelope import (
    MESSAGE_ID_HEADER,
    Envelope,
    answer_metadata,
    format_timestamp,
)
from glam_sdk.events.registry import Event, EventRegistry, envelope_of
from glam_sdk.events.subjects import (
    STREAMS,
    check_subject,
    domain_of,
    get_stream_for_service,
    get_stream_from_subject,
    get_stream_subjects,
    is_pattern,
    subject_matches,
)
from glam_sdk.events.topology import DEAD_LETTER_STREAM, StreamSpec, default_stream

__all__ = [
    "DEAD_LETTER_STREAM",
    "MESSAGE_ID_HEADER",
    "STREAMS",
    "Envelope",
    "Event",
    "EventContext",
    "EventPayload",
    "EventRegistry",
    "EventWrapper",
    "MalformedEventError",
    "StreamSpec",
    "answer_metadata",
    "asyncapi",
    "check_subject",
    "decode",
    "default_stream",
    "domain_of",
    "encode",
    "envelope_from",
    "envelope_of",
    "event_dict",
    "events_of",
    "format_timestamp",
    "get_stream_for_service",
    "get_stream_from_subject",
    "get_stream_subjects",
    "is_pattern",
    "subject_matches",
]
