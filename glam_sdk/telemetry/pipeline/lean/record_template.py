"""Write log records of one kind from a template, as ``telemetry/log_template.py`` does with lines.

What the records of a request's or a message's lines have in common, keys and most values, is one
text of bytes.
"""

from __future__ import annotations

from functools import cache
from struct import Struct
from typing import Final

from glam_sdk.telemetry.log_line import attributes_of
from glam_sdk.telemetry.log_template import Filled, LineTemplate
from glam_sdk.telemetry.pipeline.lean.pairs import Pairs, Way

pack_times: Final = Struct("<BQBQ").pack
_pack_double: Final = Struct("<d").pack
TIME_TAG, OBSERVED_TAG = 0x09, 0x59
OWNER: Final = b"\x4a\x10%b\x52\x08%b\x45%c\x00\x00\x00"
_FLAGS: Final = tuple(b"\x45%c\x00\x00\x00" % flags for flags in range(256))
_SHORT_ID: Final = 100  # bytes, so that all lengths around it have one byte


class RecordTemplate:
    """Hold the parts that log records of one kind are joined of.

    Args:
        template: Of the lines.
        head: Level and message, encoded.
        pairs: Encode the other values.
    """

    __slots__ = ("_ids", "_own", "_pairs", "_parts", "_values")

    def __init__(self, template: LineTemplate, head: bytes, pairs: Pairs) -> None:
        parts = [b"", head]
        # Where something is to be put, and what tells how it is encoded.
        self._ids: list[tuple[int, tuple[bytes, ...]]] = []
        self._values: list[tuple[int, type, Way]] = []
        for name in template.ids:
            self._ids.append((len(parts), frames_of(name)))
            parts += b"", b""
        self._own = len(parts)
        parts.append(b"")
        for name, value in attributes_of(template.line).items():
            kind = type(value)
            (pair,) = pairs.encode(((name, value),))
            if name in template.ids:
                continue
            if name in template.varying:
                way = pairs.way_of(kind, name)
                if kind is float:  # which is all that differs: so the rest is written once
                    parts.append(pair[:-8])
                    way = _pack_double, _pack_double
                self._values.append((len(parts), kind, way))
                pair = b""
            parts.append(pair)
        self._parts = [*parts, b"\x4a\x10", b"", b"\x52\x08", b"", b""]
        self._pairs = pairs

    def fill(self, filled: Filled) -> bytes | None:
        """Return the body of a ``LogRecord`` message; None for one of another kind."""
        created, span, ids, own, values = filled
        moment, parts = int(created * 1e9), self._parts.copy()
        parts[0] = pack_times(TIME_TAG, moment, OBSERVED_TAG, moment)
        for (at, frames), each in zip(self._ids, ids, strict=True):
            size = len(each)
            if size > _SHORT_ID:
                return None
            parts[at], parts[at + 1] = frames[size], each
        if own:
            parts[self._own] = b"".join(self._pairs.encode(own.items()))
        for (at, kind, (find, make)), value in zip(self._values, values, strict=True):
            if type(value) is not kind:
                return None
            pair = find(value)
            parts[at] = make(value) if pair is None else pair
        # A span context by places: its names cost a call each.
        parts[-4], parts[-2] = span[0].to_bytes(16), span[1].to_bytes(8)
        parts[-1] = _FLAGS[span[3] & 255]
        return b"".join(parts)


@cache
def frames_of(name: str) -> tuple[bytes, ...]:
    """Return what stands before an id in an attribute of this name, by the id's length in bytes.

    An id never comes again: so it is no use to remember it encoded.
    """
    key = name.encode()
    return tuple(
        b"\x32%c\x0a%c%b\x12%c\x0a%c" % (size + len(key) + 6, len(key), key, size + 2, size)
        for size in range(_SHORT_ID + 1)
    )
