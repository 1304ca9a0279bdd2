"""Build the database URL that SQLAlchemy gets, and the one that people may see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit, urlunsplit

from glam_sdk._internal.redact import REDACTED
from glam_sdk.config.masking import mask_text

if TYPE_CHECKING:
    from glam_sdk.config.settings import DatabaseSettings

_REACHED_FROM_OUTSIDE: Final = frozenset({"localhost", "127.0.0.1", "host.docker.internal"})


def sqlalchemy_url(database: DatabaseSettings) -> str:
    """Return the URL with its asynchronous driver: given, put together, or an SQLite file."""
    if database.url is not None:
        scheme, _, rest = database.url.get_secret_value().partition("://")
        if scheme == "sqlite":
            scheme = "sqlite+aiosqlite"
        elif scheme in {"postgres", "postgresql"}:
            scheme = f"postgresql+{database.async_driver}"
        return f"{scheme}://{rest}"
    if not database.host:
        return f"sqlite+aiosqlite:///{database.sqlite_path}"
    host = f"[{database.host}]" if ":" in database.host else database.host
    name = quote(database.name or "", safe="")
    return f"postgresql+{database.async_driver}://{_login(database)}{host}:{port(database)}/{name}"


def port(database: DatabaseSettings) -> int:
    """Return the port to use: the external one when the host is reached from outside Docker."""
    if database.port_external is not None and database.host in _REACHED_FROM_OUTSIDE:
        return database.port_external
    return database.port


def without_password(url: str) -> str:
    """Return a well-formed database URL with its password REDACTED; the user stays."""
    parts = urlsplit(url)
    login, at, address = parts.netloc.rpartition("@")
    user, colon, _ = login.partition(":")
    shown = f"{user}:{REDACTED}{at}" if colon else f"{user}{at}"
    query = mask_text(f"?{parts.query}")[1:] if parts.query else ""
    # Not geturl(): it drops the empty authority that SQLite's three slashes need.
    bare = urlunsplit(("", "", parts.path, query, ""))
    return f"{parts.scheme}://{shown}{address}{bare}"


def _login(database: DatabaseSettings) -> str:
    if not database.user:
        return ""
    user = quote(database.user, safe="")
    if database.password is None:
        return f"{user}@"
    return f"{user}:{quote(database.password.get_secret_value(), safe='')}@"
