"""Encode any object as JSON without ever failing, and hide what a key says is secret."""

from __future__ import annotations

import dataclasses
import sys
import time as clock
import traceback
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time
from enum import Enum
from functools import lru_cache
from itertools import islice
from math import floor
from typing import Any, Final

import orjson

from glam_sdk._internal.redact import REDACTED, redact_text, secret_rule

_MAX_DEPTH: Final = 8
MAX_TEXT: Final = 32_768
_MAX_ITEMS: Final = 256
_MAX_FIELD: Final = 65_536  # characters that one field may have, all that is nested in it together
_NODE_COST: Final = 16
_MAX_INT: Final = 2**63 - 1
_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
_COMPOUND: Final = object()
_MORE: Final = "…"


def iso_timestamp(created: float | None = None) -> str:
    """Return a moment as ISO 8601 in UTC with microseconds.

    Args:
        created: Seconds since the Unix epoch; now by default.
    """
    moment = clock.time() if created is None else created
    second = floor(moment)
    # Bytes are formatted at a third of the price of text.
    return (b"%b.%06d+00:00" % (whole_second(second), (moment - second) * 1e6)).decode()


@lru_cache(maxsize=16)
def whole_second(second: int) -> bytes:
    """Return the first 19 characters of a timestamp."""
    return datetime.fromtimestamp(second, UTC).isoformat()[:19].encode()


def plain(value: Any, key: str = "") -> Any:
    """Return a value made of JSON types only, cut to a bounded size, secrets replaced.

    Args:
        value: Anything, also with a failing ``__str__`` or with cycles.
        key: The name the value has; a sensitive one hides it.
    """
    shown = _scalar(value, key)
    return shown if shown is not _COMPOUND else _Walk().enter(value, 0)


def _scalar(value: Any, key: str) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if key and (rule := secret_rule(key)) is not None:
        return f"{REDACTED}:{rule}"
    if kind is str:
        return text(value)
    if kind is int:
        return value if -_MAX_INT <= value <= _MAX_INT else _large_number(value)
    if kind is float:
        return value if value - value == 0 else str(value)  # NaN and infinities are no JSON
    return _COMPOUND


def _large_number(value: int) -> str:
    # Python refuses to write more than 4300 decimal digits; hexadecimal ones have no limit.
    return str(value) if value.bit_length() <= 4096 else text(hex(value))


class _Walk:
    """Go through one nested value with a budget, so that neither width nor cycles matter."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _MAX_FIELD

    def _value(self, value: Any, key: str, depth: int) -> Any:
        self._left -= _NODE_COST
        shown = _scalar(value, key)
        if shown is _COMPOUND:
            return self.enter(value, depth)
        if type(shown) is str:
            self._left -= len(shown)
        return shown

    def enter(self, value: Any, depth: int) -> Any:
        """Return what is not a plain scalar as JSON types; a fault becomes a text that says so."""
        if depth >= _MAX_DEPTH:
            return f"<{type(value).__name__}: too deep>"
        try:
            shown = self._open(value, depth + 1)
        except Exception as exc:  # noqa: BLE001 - foreign __str__, __iter__ and properties run here
            return f"<{type(value).__name__}: {type(exc).__name__} while logging it>"
        if type(shown) is str:
            self._left -= len(shown)
        return shown

    def _open(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(value.items(), depth)
        if isinstance(value, list | tuple | AbstractSet):
            if hasattr(value, "_fields"):  # a named tuple
                return self._mapping(zip(value._fields, value, strict=False), depth)
            return self._items(value, depth)
        if isinstance(value, Enum):
            return self._value(value.value, "", depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            shown = (f.name for f in dataclasses.fields(value) if f.repr)
            return self._mapping(((name, getattr(value, name)) for name in shown), depth)
        if not isinstance(value, type) and hasattr(value, "model_dump"):
            return self._mapping(value.model_dump().items(), depth)
        return _foreign_scalar(value)

    def _mapping(self, items: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for number, (key, value) in enumerate(islice(items, _MAX_ITEMS + 1)):
            if number == _MAX_ITEMS or self._left <= 0:
                shown[_MORE] = _MORE
                break
            name = text(key if isinstance(key, str) else str(_foreign_scalar(key)))
            self._left -= len(name)
            shown[name] = self._value(value, name, depth)
        return shown

    def _items(self, items: Iterable[Any], depth: int) -> list[Any]:
        shown: list[Any] = []
        for number, value in enumerate(islice(items, _MAX_ITEMS + 1)):
            if number == _MAX_ITEMS or self._left <= 0:
                shown.append(_MORE)
                break
            shown.append(self._value(value, "", depth))
        return shown


def _foreign_scalar(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return text(bytes(value[:MAX_TEXT]).decode("utf-8", "backslashreplace"))
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, str):
        return text(str.__str__(value))
    if isinstance(value, float):
        return _scalar(float.__float__(value), "")
    if isinstance(value, int):
        return _scalar(int.__int__(value), "")
    if isinstance(value, BaseException):
        return text(f"{type(value).__name__}: {value}")
    return text(str(value))


def text(value: str) -> str:
    """Return a text that can be encoded, cut to a bounded size, passwords in URLs replaced."""
    if "://" in value and "@" in value:
        value = redact_text(value[: 2 * MAX_TEXT])
    if len(value) > MAX_TEXT:
        value = value[:MAX_TEXT] + _MORE
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # lone surrogates
            return value.encode("utf-8", "backslashreplace").decode()
    return value


def safe_str(value: object) -> str:
    """Return ``str(value)``, or what went wrong with it."""
    if type(value) is str:
        return text(value)
    shown = plain(value)
    return shown if isinstance(shown, str) else encode_json(shown).decode()


def encode_json(line: Any) -> bytes:
    """Encode what :func:`plain` prepared; one line of UTF-8, without the newline."""
    try:
        return orjson.dumps(line)
    except (TypeError, ValueError):
        return orjson.dumps(plain(line), option=_OPTIONS, default=repr)


def interpolated(message: object, args: object) -> str:
    """Return ``message % args``, and both as they are where they do not fit together."""
    shown = message if isinstance(message, str) else safe_str(message)
    if not args:
        return shown
    if isinstance(args, tuple) and len(args) == 1 and isinstance(args[0], Mapping):
        args = args[0]  # for placeholders with names, as the standard library has it
    try:
        return str(shown % args)
    except Exception:  # noqa: BLE001 - a wrong placeholder or a failing __str__ costs no line
        return f"{shown} {safe_str(args)}"


def current_exception(exc_info: object) -> BaseException | None:
    """Return the exception that an ``exc_info`` argument of any of its forms names."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple) and len(exc_info) == 3:
        exc_info = exc_info[1]
    elif exc_info:
        exc_info = sys.exc_info()[1]
    return exc_info if isinstance(exc_info, BaseException) else None


def exception_type(exc: BaseException) -> str:
    """Return the full name of an exception's class (``exception.type``)."""
    kind = type(exc)
    name = kind.__qualname__
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


def exception_message(exc: BaseException) -> str:
    """Return what an exception says (``exception.message``)."""
    try:
        return text(str(exc))
    except Exception as failure:  # noqa: BLE001 - a foreign __str__ may fail
        return f"<{type(failure).__name__} while reading it>"


def traceback_text(exc: BaseException) -> str:
    """Format an exception with its causes and groups, cut to a bounded size from the front."""
    try:
        formatted = "".join(traceback.format_exception(exc)).rstrip()
    except Exception as failure:  # noqa: BLE001 - a foreign exception may fail to be shown
        formatted = f"{type(exc).__name__} (its traceback failed: {type(failure).__name__})"
    return text(formatted if len(formatted) <= MAX_TEXT else _MORE + formatted[1 - MAX_TEXT :])
