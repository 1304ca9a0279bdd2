"""Remember encoded attributes: most pairs of a key and a value come again and again.

A method, a route, a status or a host is encoded once and looked up from then on; how much is
remembered is bounded, and what has no place is encoded each time.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Any, Final

from glam_sdk.telemetry.pipeline.lean import wire

_pack_double: Final = Struct("<d").pack
_LONG_KEY: Final = 116  # from here on a pair with a number needs two bytes for its length
_LARGE: Final = 1 << 56  # from here on a number takes more than eight bytes, as negative ones do
_VALUES_PER_KEY: Final = 64
_REMEMBERED_BYTES: Final = 1024 * 1024
_REMEMBERED_LENGTH: Final = 1024  # a statement's text is a value that comes again
_PLACE: Final = 128  # bytes that an entry takes besides its own


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

    __slots__ = ("_budget", "_encoded_key", "_key", "_tag")

    def __init__(self, tag: bytes, key: str, budget: _Budget) -> None:
        super().__init__()
        self._tag = tag
        self._key = key
        self._encoded_key = wire.sized(b"\x0a", wire.utf8(key))
        self._budget = budget

    def __missing__(self, value: Any) -> bytes:
        pair = wire.attribute(self._tag, self._key, value)
        if len(self) < _VALUES_PER_KEY and self._budget.allows(pair):
            self[value] = pair
        return pair


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

    def __missing__(self, value: str) -> bytes:
        try:
            text = value.encode()
        except UnicodeEncodeError:  # a lone surrogate
            text = wire.utf8(value)
        size = len(text)
        frame = self._frames.get(size) or self._frame(size)
        if frame is None:
            return super().__missing__(value)
        pair = frame + text
        if len(self) < _VALUES_PER_KEY and self._budget.allows(pair):
            self[value] = pair
        return pair

    def _framed(self, size: int) -> bytes | None:
        length = len(self._encoded_key) + size + 4
        if length >= 128:
            return None
        return b"%b%c%b\x12%c\x0a%c" % (self._tag, length, self._encoded_key, size + 2, size)


class _Ints(_Framed):
    """Encode whole numbers: most are few, but a sequence or a size hardly ever comes twice."""

    __slots__ = ()

    def __missing__(self, value: int) -> bytes:
        if not 0 <= value < _LARGE:
            return super().__missing__(value)
        number = wire.varint(value)
        size = len(number)
        frame = self._frames.get(size) or self._frame(size)
        if frame is None:
            return super().__missing__(value)
        pair = frame + number
        if len(self) < _VALUES_PER_KEY and self._budget.allows(pair):
            self[value] = pair
        return pair

    def _framed(self, size: int) -> bytes | None:
        key = self._encoded_key
        if len(key) >= _LONG_KEY:
            return None
        return b"%b%c%b\x12%c\x18" % (self._tag, len(key) + size + 3, key, size + 1)


class _Floats(_Values):
    """The same for numbers that measure something, and so hardly ever come twice."""

    __slots__ = ()

    def __missing__(self, value: float) -> bytes:
        key = self._encoded_key
        if len(key) >= _LONG_KEY:
            return wire.attribute(self._tag, self._key, value)
        return b"%b%c%b\x12\x09\x21%b" % (self._tag, len(key) + 11, key, _pack_double(value))


class _Uncached:
    """Encode the values of one key, each time."""

    __slots__ = ("_key", "_tag")

    def __init__(self, tag: bytes, key: str) -> None:
        self._tag = tag
        self._key = key

    def __getitem__(self, value: Any) -> bytes:
        return wire.attribute(self._tag, self._key, value)


class _Keys(dict[str, _Values]):
    """Hold the tables of all keys with values of one type."""

    __slots__ = ("_budget", "_kind", "_tag")

    def __init__(self, tag: bytes, kind: type[_Values], budget: _Budget) -> None:
        super().__init__()
        self._tag = tag
        self._kind = kind
        self._budget = budget

    def __missing__(self, key: str) -> _Values:
        values = self._kind(self._tag, key, self._budget)
        if self._budget.allows(values._encoded_key):  # noqa: SLF001 - of the same module
            self[key] = values
        return values


class _OtherKeys:
    """Stand where a table of keys would, for types whose values are rarely the same."""

    __slots__ = ("_tag",)

    def __init__(self, tag: bytes) -> None:
        self._tag = tag

    def __getitem__(self, key: str) -> _Uncached:
        return _Uncached(self._tag, key)


class Pairs(dict[type, _Keys | _OtherKeys]):
    """Hold all tables: type → key → value → the attribute as a field.

    Args:
        tag: Of the field: that of attributes in the message to be written.
    """

    def __init__(self, tag: bytes) -> None:
        budget = _Budget()
        super().__init__(
            {
                str: _Keys(tag, _Texts, budget),
                int: _Keys(tag, _Ints, budget),
                bool: _Keys(tag, _Values, budget),
                float: _Keys(tag, _Floats, budget),
            }
        )
        self._others = _OtherKeys(tag)

    def __missing__(self, _: type) -> _OtherKeys:
        return self._others

    def encode(self, attributes: Iterable[tuple[str, Any]]) -> list[bytes]:
        """Return each attribute as a field."""
        fields: list[bytes] = []  # a comprehension would be a function of its own
        for key, value in attributes:
            fields.append(self[type(value)][key][value])
        return fields
