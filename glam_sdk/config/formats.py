"""Read the notations that settings are written in.

Each parser raises :class:`FormatError`, whose text is the accepted form and never the value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

_HOST: Final = re.compile(r"[\w.\-]+\Z|[0-9A-Fa-f:.]+(?:%[\w.\-]+)?\Z")
_BROKEN_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

NATS_SCHEMES: Final = frozenset({"nats", "tls", "ws", "wss"})
POSTGRES_SCHEMES: Final = frozenset(
    {"postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg"}
)
SQLITE_SCHEMES: Final = frozenset({"sqlite", "sqlite+aiosqlite"})

_NATS_FORM: Final = "addresses such as nats://host:4222 (nats, tls, ws or wss), separated by commas"
_OTLP_FORM: Final = "a URL such as http://collector:4318"
_GRPC_FORM: Final = "a URL such as http://collector:4317, or host:port"
_DATABASE_FORM: Final = (
    "postgresql://user:password@host:5432/name (special characters of the password "
    "percent-encoded) or sqlite:///file.sqlite3"
)


class FormatError(ValueError):
    """Carry the accepted form of a value that was not in it."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Pair a value with a sentence that the start-up log should have about it."""

    value: object
    note: str


def comma_list(text: str) -> list[Any]:
    """Return the items of ``a, b, c``, or of a JSON list."""
    if text.lstrip().startswith("["):
        return list(_json(text, "a list separated by commas, or a JSON list"))
    return [item.strip() for item in text.split(",") if item.strip()]


def pairs(text: str) -> dict[str, Any]:
    """Return ``a=1,b=2``, or a JSON object, as a dict."""
    if text.lstrip().startswith("{"):
        return dict(_json(text, "name=value pairs separated by commas, or a JSON object"))
    return _pairs(text, str)


def resource_attributes(text: str) -> dict[str, Any]:
    """Return the content of ``OTEL_RESOURCE_ATTRIBUTES``: pairs, percent-decoded, last one wins."""
    return _pairs(text, _percent_decode)


def otel_boolean(text: str) -> bool | Noted:
    """Return what OpenTelemetry takes as true: the word ``true`` in any case, and nothing else."""
    word = text.strip().lower()
    if word in {"true", "false"}:
        return word == "true"
    return Noted(value=False, note="counts as false, for only 'true' is true")


def otel_words(text: str) -> list[str]:
    """Return a comma list of OpenTelemetry's names, which know no upper and lower case."""
    return [item.strip().lower() for item in text.split(",") if item.strip()]


def milliseconds(text: str) -> float:
    """Return milliseconds, as OpenTelemetry writes durations, in seconds."""
    if not re.fullmatch(r"\d{1,12}", text.strip(), re.ASCII) or int(text) == 0:
        raise FormatError("a whole number of milliseconds, 1 or more")
    return int(text) / 1000


def nats_server(text: str) -> str:
    """Check one NATS address and return it with its scheme."""
    url = text if "://" in text or "@" in text else f"nats://{text}"
    parts = _split(url)
    if parts is None or parts.scheme not in NATS_SCHEMES or "@" in parts.path:
        raise FormatError(_NATS_FORM)
    if parts.scheme in {"nats", "tls"} and (parts.path.strip("/") or parts.query):
        raise FormatError(_NATS_FORM)
    return url


def otlp_endpoint(text: str, *, grpc: bool) -> str:
    """Check the address of an OTLP receiver; only gRPC's may be a bare ``host:port``."""
    form = _GRPC_FORM if grpc else _OTLP_FORM
    if grpc and "/" not in text and "@" not in text:
        parts = _split(f"http://{text}")
        if parts is None or parts.port is None:
            raise FormatError(form)
        return text
    parts = _split(text)
    if parts is None or parts.scheme not in {"http", "https"} or "@" in parts.path:
        raise FormatError(form)
    return text


def database_url(text: str) -> str:
    """Check the URL of a database that the SDK can talk to."""
    scheme, found, rest = text.partition("://")
    if not found or not text.isprintable():
        raise FormatError(_DATABASE_FORM)
    if scheme in SQLITE_SCHEMES:
        if rest and not rest.startswith("/"):
            raise FormatError("sqlite:///file.sqlite3, with three slashes (four when absolute)")
        return text
    parts = _split(text, host_needed=False)
    if scheme not in POSTGRES_SCHEMES or parts is None or "@" in parts.path:
        raise FormatError(_DATABASE_FORM)
    if not parts.hostname and "host=" not in parts.query:
        raise FormatError(_DATABASE_FORM)
    return text


def http_path(text: str) -> str:
    """Check the path of an endpoint and return it without a slash at its end."""
    if not text.startswith("/") or not text.isprintable() or any(c in text for c in " ?#{}"):
        raise FormatError("a path such as /metrics")
    return text.rstrip("/")


def _split(url: str, *, host_needed: bool = True) -> SplitResult | None:
    if not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if port == 0 or (host_needed and not host) or (host and not _HOST.match(host)):
        return None
    return parts


def _pairs(text: str, decode: Callable[[str], str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in text.split(","):
        if not item.strip():
            continue
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise FormatError("name=value pairs separated by commas")
        found[decode(key.strip())] = decode(value.strip())
    return found


def _percent_decode(text: str) -> str:
    if _BROKEN_PERCENT.search(text):
        raise FormatError("name=value pairs separated by commas, with % written as %25")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise FormatError("name=value pairs, percent-encoded UTF-8") from None  # has the value


def _json(text: str, form: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise FormatError(form) from None  # the cause quotes the value
