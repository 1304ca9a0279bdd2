"""Remember encoded attributes: most pairs of a key and a value come again and again.

A method, a route, a status or a host is encoded once and looked up from then on; how much is
remembered is bounded, and what has no place is encoded each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from struct import Struct
from typing import Any, Final

from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.pipeline.lean import wire

_pack_double: Final = Struct("<d").pack
_LONG_KEY: Final = 116  # from here on a pair with a number needs two bytes for its length
_LARGE: Final = 1 << 56  # from here on a number takes more than eight bytes, as negative ones do
_VALUES_PER_KEY: Final = 64
_REMEMBERED_BYTES: Final = 1024 * 1024
_REMEMBERED_LENGTH: Final = 1024  # a statement's text is a value that comes again
_PLACE: Final = 128  # bytes that an entry takes besides its own
_TABLE: Final = 512  # bytes that a key's table takes besides, and the way to it


class _Budget:
    """Bound what one encoder remembers over all keys."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = _REMEMBERED_BYTES

    def allows(self, pair: bytes) -> bool:
        """Take one pair off the budget, if it is worth it and there is room."""
        size = len(pair)
        if self.left <= 0 or size > _REMEMBERED_LENGTH:
            return False
        self.left -= size + _PLACE
        return True


class _Values(dict[Any, bytes]):
    """Hold the encoded pairs of one key, value → pair; encode and mostly keep those not seen yet.

    All values of one table have one type: ``1``, ``1.0`` and ``True`` are equal keys of a dict.
    """

    __slots__ = ("_budget", "_encoded_key", "_has_room", "_key", "_tag")

    def __init__(self, tag: bytes, key: str, budget: _Budget) -> None:
        super().__init__()
        self._tag = tag
        self._key = key
        self._encoded_key = wire.sized(b"\x0a", wire.utf8(key))
        self._budget = budget
        self._has_room = True

    def encode(self, value: Any) -> bytes:
        """Return the pair of a value that is not there, and mostly keep it."""
        pair = wire.attribute(self._tag, self._key, value)
        if self._has_room:
            self._keep(value, pair)
        return pair

    def _keep(self, value: Any, pair: bytes) -> None:
        if self._budget.allows(pair):
            self[value] = pair
            self._has_room = len(self) < _VALUES_PER_KEY


class _Framed(_Values):
    """The same where many values differ: what stands before one of a length is made once."""

    __slots__ = ("_frames",)

    def __init__(self, tag: bytes, key: str, budget: _Budget) -> None:
        super().__init__(tag, key, budget)
        self._frames: dict[int, bytes] = {}

    def _frame(self, size: int) -> bytes | None:
        """Make and mostly keep it; None where a length has more than one byte."""
        frame = self._framed(size)
        if frame is not None and self._budget.allows(frame):
            self._frames[size] = frame
        return frame

    def _framed(self, size: int) -> bytes | None:
        raise NotImplementedError


class _Texts(_Framed):
    """Encode text, where the values that differ are: ids, addresses, queries."""

    __slots__ = ()

    def encode(self, value: str) -> bytes:
        try:
            text = value.encode()
        except UnicodeEncodeError:  # a lone surrogate
            text = wire.utf8(value)
        size = len(text)
        frame = self._frames.get(size) or self._frame(size)
        if frame is None:
            return super().encode(value)
        pair = frame + text
        if self._has_room:
            self._keep(value, pair)
        return pair

    def _framed(self, size: int) -> bytes | None:
        length = len(self._encoded_key) + size + 4
        if length >= 128:
            return None
        return b"%b%c%b\x12%c\x0a%c" % (self._tag, length, self._encoded_key, size + 2, size)


class _Ids(_Texts):
    """The same for text that hardly ever comes again: it is neither looked for nor kept."""

    __slots__ = ()

    def __init__(self, tag: bytes, key: str, budget: _Budget) -> None:
        super().__init__(tag, key, budget)
        self._has_room = False

    get = _Texts.encode  # type: ignore[assignment]  # so that it is found at once


class _Ints(_Framed):
    """Encode whole numbers: most are few, but a sequence or a size hardly ever comes twice."""

    __slots__ = ()

    def encode(self, value: int) -> bytes:
        if not 0 <= value < _LARGE:
            return super().encode(value)
        number = wire.varint(value)
        size = len(number)
        frame = self._frames.get(size) or self._frame(size)
        if frame is None:
            return super().encode(value)
        pair = frame + number
        if self._has_room:
            self._keep(value, pair)
        return pair

    def _framed(self, size: int) -> bytes | None:
        key = self._encoded_key
        if len(key) >= _LONG_KEY:
            return None
        return b"%b%c%b\x12%c\x18" % (self._tag, len(key) + size + 3, key, size + 1)


class _Floats(_Values):
    """The same for numbers that measure something, and so hardly ever come twice."""

    __slots__ = ()

    def encode(self, value: float) -> bytes:
        key = self._encoded_key
        if len(key) >= _LONG_KEY:
            return wire.attribute(self._tag, self._key, value)
        return b"%b%c%b\x12\x09\x21%b" % (self._tag, len(key) + 11, key, _pack_double(value))


Way = tuple[Callable[[Any], bytes | None], Callable[[Any], bytes]]
"""How the pair of a value is found, and how it is made."""


class _OtherKeys:
    """Stand where the ways of all keys would, for types whose values are rarely the same."""

    __slots__ = ("_tag",)

    def __init__(self, tag: bytes) -> None:
        self._tag = tag

    def __getitem__(self, key: str) -> Way:
        return _find_nothing, partial(wire.attribute, self._tag, key)


def _find_nothing(_: Any) -> None:
    return


_KINDS: Final[dict[type, type[_Values]]] = {
    str: _Texts,
    int: _Ints,
    bool: _Values,
    float: _Floats,
}
_IDS: Final = frozenset({conv.MESSAGING_MESSAGE_ID, conv.MESSAGING_MESSAGE_CONVERSATION_ID})
_OTHERS: Final = (tuple, list, bytes, dict, type(None))


class Pairs:
    """Hold all tables: type → key → value → the attribute as a field.

    Args:
        tag: Of the field: that of attributes in the message to be written.
    """

    __slots__ = ("_budget", "_others", "_tag", "_ways")

    def __init__(self, tag: bytes) -> None:
        self._tag = tag
        self._budget = _Budget()
        self._others = _OtherKeys(tag)
        # Not the tables themselves: CPython finds faster in plain dicts, and calls what it finds.
        self._ways: dict[type, dict[str, Way] | _OtherKeys] = {kind: {} for kind in _KINDS}
        self._ways.update(dict.fromkeys(_OTHERS, self._others))

    def encode(
        self, attributes: Iterable[tuple[str, Any]], fields: list[bytes] | None = None
    ) -> list[bytes]:
        """Return each attribute as a field, behind those that are there already."""
        if fields is None:
            fields = []
        ways = self._ways
        for key, value in attributes:
            try:
                find, make = ways[type(value)][key]
            except KeyError:
                find, make = self.way_of(type(value), key)
            field = find(value)
            fields.append(make(value) if field is None else field)
        return fields

    def way_of(self, kind: type, key: str) -> Way:
        """Return the way to a key's values of one type; new ones are mostly kept."""
        ways = self._ways.get(kind, self._others)
        if not isinstance(ways, dict) or key in ways:
            return ways[key]
        table = _Ids if kind is str and key in _IDS else _KINDS[kind]
        values = table(self._tag, key, self._budget)
        way = values.get, values.encode
        if self._budget.allows(values._encoded_key):  # noqa: SLF001 - of the same module
            self._budget.left -= _TABLE
            ways[key] = way
        return way
