"""Describe events for others: AsyncAPI 3 with the JSON Schema of each payload."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

from glam_sdk._internal.version import __version__
from glam_sdk.events.registry import Event
from glam_sdk.events.subjects import get_stream_from_subject

_ENVELOPE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["event_id", "subject", "timestamp", "payload"],
    "properties": {
        "event_id": {"type": "string"},
        "subject": {"type": "string"},
        "correlation_id": {"type": "string"},
        "idempotency_key": {"type": "string"},
        "timestamp": {"type": "string", "format": "date-time"},
        "metadata": {"type": "object"},
        "payload": {"type": "object"},
    },
}
_HEADERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        name: {"type": "string"} for name in ("Nats-Msg-Id", "traceparent", "tracestate", "baggage")
    },
}


def events_of(*modules: ModuleType) -> list[type[Event]]:
    """Return the event classes with a subject that modules declare or import, by subject."""
    found = {
        member.event_subject: member
        for module in modules
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Event) and member.event_subject
    }
    return [found[subject] for subject in sorted(found)]


def asyncapi(
    events: Iterable[type[Event]], *, title: str, version: str = "1.0.0"
) -> dict[str, Any]:
    """Return an AsyncAPI 3.0 document of event classes.

    Args:
        events: Classes with a subject.
        title: Of the document.
        version: Of the document.
    """
    schemas: dict[str, Any] = {"Envelope": _ENVELOPE}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for name, event in _named(events).items():
        subject = event.event_subject
        schema = event.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[name] = schema
        channels[name] = {
            "address": subject,
            "messages": {name: _message(name, event)},
            "bindings": {"nats": {}},
            "x-stream": get_stream_from_subject(subject),
        }
        operations[f"send{name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version, "x-generator": f"glam_sdk {__version__}"},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"schemas": schemas},
    }


def _named(events: Iterable[type[Event]]) -> dict[str, type[Event]]:
    """Return the classes by name; those that share one get their subject's name."""
    listed = list(events)
    counts = Counter(event.__name__ for event in listed)
    return {
        event.__name__ if counts[event.__name__] == 1 else event.event_subject.replace(".", "_"): (
            event
        )
        for event in listed
    }


def _message(name: str, event: type[Event]) -> dict[str, Any]:
    payload = {"properties": {"payload": {"$ref": f"#/components/schemas/{name}"}}}
    key = {"x-key": event.event_key} if event.event_key else {}
    return {
        "name": event.event_subject,
        "summary": inspect.cleandoc(event.__doc__ or ""),
        **key,
        "x-version": event.event_version,
        "headers": _HEADERS,
        "payload": {"allOf": [{"$ref": "#/components/schemas/Envelope"}, payload]},
    }
