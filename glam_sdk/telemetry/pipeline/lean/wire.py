r"""Write protobuf by hand, as far as OTLP's attributes need it.

A field is a tag byte (its number times eight, plus its wire type) and a value; what has a length
says it first. Tags are written out where they are used: ``b"\x12"`` is field 2 with a length.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import Final

_log = logging.getLogger("glam_sdk.telemetry")
_pack_double: Final = Struct("<d").pack
_ONE_BYTE: Final = tuple(bytes((n,)) for n in range(128))
_LEAST: Final = -(1 << 63)
_MOST: Final = (1 << 63) - 1
_MASK64: Final = (1 << 64) - 1


def varint(number: int) -> bytes:
    """Return a number that is not negative, seven bits to a byte."""
    if number < 128:
        return _ONE_BYTE[number]
    if number < 16384:
        return bytes((number & 127 | 128, number >> 7))
    start = bytes((number & 127 | 128, number >> 7 & 127 | 128))
    return start + varint(number >> 14)


def sized(tag: bytes, body: bytes) -> bytes:
    """Return a field that says its length."""
    return tag + varint(len(body)) + body


def utf8(text: str) -> bytes:
    """Return text as UTF-8; a lone surrogate, which no UTF-8 has, becomes a question mark."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def any_value(value: object) -> bytes:
    """Return the body of an ``AnyValue``.

    Raises:
        ValueError: An integer has more than 64 bits.
        TypeError: OTLP has no such type.
    """
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, str):
        return sized(b"\x0a", utf8(value))
    if isinstance(value, int):
        number = int(value)
        if not _LEAST <= number <= _MOST:
            raise ValueError(f"{number} has more than 64 bits.")
        return b"\x18" + varint(number & _MASK64)
    if isinstance(value, float):
        return b"\x21" + _pack_double(value)
    if isinstance(value, bytes):
        return sized(b"\x3a", value)
    if isinstance(value, Sequence):
        return sized(b"\x2a", b"".join(sized(b"\x0a", any_value(item)) for item in value))
    if isinstance(value, Mapping):
        pairs = (sized(b"\x0a", key_value(str(key), item)) for key, item in value.items())
        return sized(b"\x32", b"".join(pairs))
    raise TypeError(f"OTLP has no {type(value).__qualname__}.")


def key_value(key: str, value: object) -> bytes:
    """Return the body of a ``KeyValue``."""
    return sized(b"\x0a", utf8(key)) + sized(b"\x12", any_value(value))


def attributes(tag: bytes, pairs: Iterable[tuple[str, object]]) -> bytes:
    """Return attributes as fields of one tag; one that OTLP cannot hold is logged and left out."""
    return b"".join(attribute(tag, key, value) for key, value in pairs)


def attribute(tag: bytes, key: str, value: object) -> bytes:
    """Return one attribute as a field; nothing where OTLP cannot hold it, which is logged."""
    try:
        return sized(tag, key_value(key, value))
    except Exception as exc:  # noqa: BLE001 - one odd value must not cost the others
        _log.warning("telemetry.attribute_not_encoded", extra={"key": key, "reason": str(exc)})
        return b""
