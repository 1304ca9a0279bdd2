"""Encode any object as JSON without ever failing, and hide what a key says is secret."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from glam_sdk._internal.redact import REDACTED, is_sensitive

_MAX_DEPTH: Final = 8
_MAX_TEXT: Final = 32_768
_MAX_ITEMS: Final = 256
_OPTIONS: Final = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
_MAX_INT: Final = 2**63 - 1


def iso_timestamp(created: float | None = None) -> str:
    """Return a moment as ISO 8601 in UTC with microseconds.

    Args:
        created: Seconds since the Unix epoch; now by default.
    """
    moment = datetime.now(UTC) if created is None else datetime.fromtimestamp(created, UTC)
    return moment.isoformat(timespec="microseconds")


def plain(value: Any, key: object = "", depth: int = 0) -> Any:
    """Return a value made of JSON types only, cut to a bounded size, secrets replaced.

    Args:
        value: Anything, also with a failing ``__str__`` or with cycles.
        key: The name the value has; a sensitive one hides it.
        depth: How deep the value lies in what is logged.
    """
    if isinstance(key, str) and key and value is not None and is_sensitive(key):
        return REDACTED
    if value is None or isinstance(value, bool):
        return value
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is int:
        return value if -_MAX_INT <= value <= _MAX_INT else str(value)
    if kind is float:
        return value if value - value == 0 else str(value)  # NaN and infinities are no JSON
    if depth >= _MAX_DEPTH:
        return f"<{kind.__name__}: too deep>"
    try:
        return _structure(value, depth)
    except Exception as exc:  # noqa: BLE001 - foreign __str__, __iter__ and properties run here
        return f"<{kind.__name__}: {type(exc).__name__} while logging it>"


def _structure(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        items = list(value.items())[:_MAX_ITEMS]
        return {_text(str(k)): plain(v, k, depth + 1) for k, v in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v, "", depth + 1) for v in list(value)[:_MAX_ITEMS]]
    if isinstance(value, bytes | bytearray | memoryview):
        return _text(bytes(value[:_MAX_TEXT]).decode("utf-8", "backslashreplace"))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, BaseException):
        return _text(f"{type(value).__name__}: {value}")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return plain(fields, "", depth)
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(), "", depth)
    if isinstance(value, str | int | float):  # subclasses, such as a StrEnum
        return plain(getattr(value, "value", str(value)), "", depth + 1)
    return _text(str(value))


def _text(value: str) -> str:
    if len(value) > _MAX_TEXT:
        value = f"{value[:_MAX_TEXT]}… ({len(value) - _MAX_TEXT} more characters)"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # lone surrogates
            return value.encode("utf-8", "backslashreplace").decode()
    return value


def encode_json(line: Mapping[str, Any]) -> bytes:
    """Encode a line that :func:`plain` prepared; one line of UTF-8, without the newline."""
    try:
        return orjson.dumps(line, option=_OPTIONS)
    except (TypeError, ValueError):
        return orjson.dumps(plain(dict(line)), option=_OPTIONS, default=repr)


def traceback_text(exc: BaseException) -> str:
    """Format an exception with its causes, cut to a bounded size from the front."""
    try:
        text = "".join(traceback.format_exception(exc)).rstrip()
    except Exception as failure:  # noqa: BLE001 - a foreign __str__ may fail
        text = f"{type(exc).__name__} (its traceback failed: {type(failure).__name__})"
    return text if len(text) <= _MAX_TEXT else "…" + text[-_MAX_TEXT:]
