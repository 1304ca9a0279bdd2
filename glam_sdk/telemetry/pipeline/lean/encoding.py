"""Turn a finished span into the bytes of OTLP's ``Span`` message.

Most of a span has been seen before: its name, its kind, and nearly all of its attributes. Each of
these is encoded once and looked up from then on (see ``pairs``); what is left are two ids, two
times, and the values that really differ.
"""
# The span and the SDK's ReadableSpan have these fields in common; the properties over them cost
# more than the encoding.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import DEFAULT_TRACE_STATE, SpanContext, SpanKind, Status, TraceState

from glam_sdk.telemetry.pipeline.lean import wire
from glam_sdk.telemetry.pipeline.lean.pairs import Pairs
from glam_sdk.telemetry.pipeline.lean.span import LeanSpan
from glam_sdk.telemetry.telling import SpanForm
from glam_sdk.telemetry.tracing import NOTHING, OwnAttributes, SharedAttributes

_pack_root_ids: Final = Struct(">2s16s2sQ").pack
"""Trace id (field 1) and span id (2)."""
_pack_ids: Final = Struct(">2s16s2sQ2sQ").pack
"""The same with the parent's id (field 4)."""
_pack_times: Final = Struct("<BQBQ6s").pack
"""Start (field 7), end (8) and flags (16)."""
_TRACE_ID, _SPAN_ID, _PARENT_ID = b"\x0a\x10", b"\x12\x08", b"\x22\x08"
_START_TAG, _END_TAG = 0x39, 0x41
_pack_time: Final = Struct("<Q").pack
_pack_flags: Final = Struct("<I").pack

_PARENT_IS_LOCAL: Final = 0x100
_PARENT_IS_REMOTE: Final = 0x300
_BELOW_LOCAL: Final = b"\x85\x01" + _pack_flags(_PARENT_IS_LOCAL)
_BELOW_REMOTE: Final = b"\x85\x01" + _pack_flags(_PARENT_IS_REMOTE)
_STATUS_UNSET: Final = b"\x7a\x00"
_REMEMBERED_NAMES: Final = 1024
_USUAL_BYTES: Final = 4096  # of a span or a log record
_REMEMBERED_BYTES: Final = 2048  # of attributes that spans share, such as a statement's text


Told = tuple[SpanForm, SpanContext, SpanContext | None, OwnAttributes, tuple[int, int], bytes]
"""A span that is over: its form, ids, parent, own attributes, times and encoded scope."""


class SpanEncoder:
    """Encode spans and remember what they have in common, within bounds."""

    __slots__ = ("_names", "_pairs")

    def __init__(self) -> None:
        self._pairs = Pairs(b"\x4a")
        self._names: dict[str, tuple[SpanKind, bytes]] = {}

    def encode(self, span: ReadableSpan) -> bytes:
        """Return the body of a ``Span`` message for a finished span of anybody's."""
        context: Any = span._context  # a span has one
        parts = _begin(context, span._parent, span._start_time or 0, span._end_time or 0)
        parts += self._name(span._name, span._kind), _rest(span)
        self._pairs.encode((span.attributes or {}).items(), parts)
        return b"".join(parts)

    def encode_lean(self, span: LeanSpan) -> bytes:
        """Return the same for a span of ours, whose shared attributes are encoded once for all."""
        first, last = span._first, span._last
        # A copy, because another thread may be about to set an attribute.
        own = span._own.copy()
        if span._first is not first or span._last is not last:  # or has just joined them
            first, last, own = NOTHING, NOTHING, span._own.copy()
        name, kind, context = span._name, span._kind, span._context
        known = self._names.get(name)
        is_usual = not span._has_more and context[4] is DEFAULT_TRACE_STATE
        parts = _begin(context, span._parent, span._start_time, span._end_time)  # type: ignore[arg-type]  # it has ended
        parts += (
            known[1] if known is not None and known[0] is kind else self._name(name, kind),
            _STATUS_UNSET if is_usual else _rest(span),
            self._write(first) if first.written is None else first.written,
        )
        self._pairs.encode(own.items(), parts)
        parts.append(self._write(last) if last.written is None else last.written)
        return b"".join(parts)

    def encode_told(self, told: Told) -> bytes:
        """Return the same for a span that went well and is told of when it is over."""
        form, context, parent, own, (start, end), _ = told
        parts = _begin(context, parent, start, end)
        parts.append(self._write_form(form) if form.written is None else form.written)
        self._pairs.encode(own.items(), parts)
        if context[4] is not DEFAULT_TRACE_STATE:
            parts.append(_trace_state(context[4]))
        return b"".join(parts)

    def _write_form(self, form: SpanForm) -> bytes:
        attributes = self._write(form.attributes)
        written = attributes + self._name(form.name, form.kind) + _STATUS_UNSET
        if len(written) <= _REMEMBERED_BYTES:
            form.written = written
        return written

    def _write(self, shared: SharedAttributes) -> bytes:
        written = b"".join(self._pairs.encode(shared.items()))
        if len(written) <= _REMEMBERED_BYTES:
            shared.written = written
        return written

    def _name(self, name: str, kind: SpanKind) -> bytes:
        encoded = wire.sized(b"\x2a", wire.utf8(str(name))) + b"\x30" + wire.varint(kind.value + 1)
        if len(self._names) < _REMEMBERED_NAMES:
            self._names[name] = (kind, encoded)
        return encoded


class _Frames(dict[int, bytes]):
    """Hold what stands before a span or a log record in its scope, by its length in bytes."""

    def __missing__(self, size: int) -> bytes:
        frame = b"\x12" + wire.varint(size)
        if size < _USUAL_BYTES:
            self[size] = frame
        return frame


_frames: Final = _Frames()


def _begin(context: SpanContext, parent: SpanContext | None, start: int, end: int) -> list[bytes]:
    """Return the first parts of a span: those that never come again."""
    # By places: the names of a span context cost a call each.
    trace_id = context[0].to_bytes(16)
    if parent is None:
        ids = _pack_root_ids(_TRACE_ID, trace_id, _SPAN_ID, context[1])
        flags = _BELOW_LOCAL
    else:
        ids = _pack_ids(_TRACE_ID, trace_id, _SPAN_ID, context[1], _PARENT_ID, parent[1])
        flags = _BELOW_REMOTE if parent[2] else _BELOW_LOCAL
    return [ids, _pack_times(_START_TAG, start, _END_TAG, end, flags)]


def _rest(span: ReadableSpan) -> bytes:
    """Return what few spans have, and the status, which is there too where it is not set."""
    state = span._context[4]  # type: ignore[index]  # a span has a context
    fields = (
        _status(span._status),
        _trace_state(state),
        _count(b"\x50", span.dropped_attributes),
        _events(span),
        _links(span),
    )
    return b"".join(fields)


def _trace_state(state: TraceState) -> bytes:
    if not state:
        return b""
    entries = ",".join(f"{key}={value}" for key, value in state.items())
    return wire.sized(b"\x1a", wire.utf8(entries))


def _status(status: Status) -> bytes:
    """Encode a status; one that is not set is there too, and empty, as the SDK writes it."""
    if status.is_unset:
        return _STATUS_UNSET
    message = wire.sized(b"\x12", wire.utf8(status.description)) if status.description else b""
    return wire.sized(b"\x7a", message + b"\x18" + wire.varint(status.status_code.value))


def _events(span: ReadableSpan) -> bytes:
    parts = []
    for event in span.events:
        body = b"\x09" + _pack_time(event.timestamp) + wire.sized(b"\x12", wire.utf8(event.name))
        body += wire.attributes(b"\x1a", (event.attributes or {}).items())
        body += _count(b"\x20", event.dropped_attributes)
        parts.append(wire.sized(b"\x5a", body))
    return b"".join(parts) + _count(b"\x60", span.dropped_events)


def _links(span: ReadableSpan) -> bytes:
    parts = []
    for link in span.links:
        context: SpanContext = link.context
        body = b"\x0a\x10" + context.trace_id.to_bytes(16)
        body += b"\x12\x08" + context.span_id.to_bytes(8)
        body += wire.attributes(b"\x22", (link.attributes or {}).items())
        body += _count(b"\x28", link.dropped_attributes)
        body += b"\x35" + _pack_flags(_PARENT_IS_REMOTE if context.is_remote else _PARENT_IS_LOCAL)
        parts.append(wire.sized(b"\x6a", body))
    return b"".join(parts) + _count(b"\x70", span.dropped_links)


def _count(tag: bytes, dropped: int) -> bytes:
    return tag + wire.varint(dropped) if dropped else b""


def encode_scope(scope: InstrumentationScope | None) -> bytes:
    """Return what stands in ``ScopeSpans`` before its spans: the scope and its schema."""
    if scope is None:
        return b"\x0a\x00"
    body = wire.sized(b"\x0a", wire.utf8(str(scope.name)))
    if scope.version:
        body += wire.sized(b"\x12", wire.utf8(str(scope.version)))
    body += wire.attributes(b"\x1a", (scope.attributes or {}).items())
    schema = wire.sized(b"\x1a", wire.utf8(str(scope.schema_url))) if scope.schema_url else b""
    return wire.sized(b"\x0a", body) + schema


def encode_resource(resource: Resource) -> bytes:
    """Return what stands in ``ResourceSpans`` before its scopes: the resource and its schema."""
    body = wire.attributes(b"\x0a", resource.attributes.items())
    schema = resource.schema_url
    return wire.sized(b"\x0a", body) + (wire.sized(b"\x1a", wire.utf8(schema)) if schema else b"")


def join_request(resource: bytes, batch: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return an ``ExportTraceServiceRequest`` of encoded spans, grouped by their scopes.

    Of encoded log records it is an ``ExportLogsServiceRequest``: the fields have the same numbers.

    Args:
        resource: From :func:`encode_resource`.
        batch: Pairs of a scope, from :func:`encode_scope`, and a body.
    """
    scopes: dict[bytes, list[bytes]] = {}
    for scope, body in batch:
        parts = scopes.get(scope)
        if parts is None:
            scopes[scope] = parts = [b"\x12", b"", scope]
        parts += _frames[len(body)], body
    # All of it is joined once: to write a quarter of a megabyte again for each part around it takes
    # fresh memory each time.
    whole, total = [b"\x0a", b"", resource], len(resource)
    for parts in scopes.values():
        size = sum(map(len, parts)) - 1
        parts[1] = wire.varint(size)
        total += 1 + len(parts[1]) + size
        whole += parts
    whole[1] = wire.varint(total)
    return b"".join(whole)
