"""Remember encoded attributes: most pairs of a key and a value come again and again.

A method, a route, a status or a host is encoded once and looked up from then on; how much is
remembered is bounded, and what has no place is encoded each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Any, Final

from glam_sdk.telemetry.pipeline.lean import wire

_pack_double: Final = Struct("<d").pack
_LONG_KEY: Final = 116  # from here on a pair with a number needs two bytes for its length
_VALUES_PER_KEY: Final = 64
_REMEMBERED_BYTES: Final = 1024 * 1024
_REMEMBERED_LENGTH: Final = 1024  # a statement's text is a value that comes again
_PLACE: Final = 128  # bytes that an entry takes besides its own
_REMEMBERED_TYPES: Final = frozenset({str, int, bool})  # numbers that measure hardly come twice

_Seen = tuple[str, Any, type]


class Pairs(dict[_Seen, bytes]):
    """Hold encoded attributes by key, value and type: ``1``, ``1.0`` and ``True`` are equal keys.

    Args:
        tag: Of the field: that of attributes in the message to be written.
    """

    __slots__ = ("_keys", "_left", "_room", "_tag")

    def __init__(self, tag: bytes) -> None:
        super().__init__()
        self._tag = tag
        self._left = _REMEMBERED_BYTES
        self._keys: dict[str, bytes] = {}
        self._room: dict[str, int] = {}
        """How many values more may be remembered of a key."""

    def encode(self, attributes: Mapping[str, Any]) -> list[bytes]:
        """Return each attribute as a field."""
        values = attributes.values()
        try:
            # No step of the interpreter for a pair that was seen before.
            return list(map(self.__getitem__, zip(attributes, values, map(type, values))))  # noqa: B905
        except TypeError:  # a value without a hash
            return [wire.attribute(self._tag, key, value) for key, value in attributes.items()]

    def __missing__(self, seen: _Seen) -> bytes:
        key, value, kind = seen
        name = self._keys.get(key) or self._key(key)
        pair: bytes | None = None
        if kind is str:
            pair = self._text(name, value)
        elif kind is float and len(name) < _LONG_KEY:
            number = _pack_double(value)
            pair = b"%b%c%b\x12\x09\x21%b" % (self._tag, len(name) + 11, name, number)
        if pair is None:
            pair = wire.attribute(self._tag, key, value)
        if kind in _REMEMBERED_TYPES and (room := self._room.get(key, 0)) and self._takes(pair):
            self._room[key] = room - 1
            self[seen] = pair
        return pair

    def _text(self, name: bytes, value: str) -> bytes | None:
        """Encode a short text: an id, an address, a query."""
        text = wire.utf8(value)
        size = len(text)
        length = len(name) + size + 4
        if length >= 128:  # lengths of more than one byte
            return None
        sizes = (0x12, size + 2, 0x0A, size)
        return b"%b%c%b%c%c%c%c%b" % (self._tag, length, name, *sizes, text)

    def _key(self, key: str) -> bytes:
        encoded = wire.sized(b"\x0a", wire.utf8(key))
        if self._takes(encoded):
            self._keys[key] = encoded
            self._room[key] = _VALUES_PER_KEY
        return encoded

    def _takes(self, encoded: bytes) -> bool:
        """Take a place off the budget, if it is worth it and there is room."""
        size = len(encoded)
        if self._left <= 0 or size > _REMEMBERED_LENGTH:
            return False
        self._left -= size + _PLACE
        return True
