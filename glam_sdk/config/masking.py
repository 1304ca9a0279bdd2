"""Show settings to people without showing the secrets in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import SecretStr

from glam_sdk._internal.redact import REDACTED, is_sensitive

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_PORT_THAT_IS_NONE: Final = re.compile(r"(://[^\[\]:/?#\s@]+):(?!\d{1,5}(?:[/?#,]|$)).*", re.DOTALL)
_QUERY_SECRET: Final = re.compile(
    r"((?:^|[?&;,])[^=&;,?#]*(?:pass|pwd|secret|token|key|auth|sig|cred)[^=&;,?#]*=)[^&#]*",
    re.IGNORECASE,
)
_LONGEST: Final = 120


def mask_text(text: str) -> str:
    """Replace what may be credentials in a URL, however malformed the URL is.

    Everything between the scheme and the last ``@`` goes, and so does a "port" that is not a
    number: in ``nats://app:s3cret`` it is a password whose ``@host`` was forgotten.
    """
    if "@" in text:
        start = scheme.end() if (scheme := _SCHEME.match(text)) else 0
        text = f"{text[:start]}{REDACTED}@{text.rpartition('@')[2]}"
    text = _PORT_THAT_IS_NONE.sub(rf"\1:{REDACTED}", text)
    return _QUERY_SECRET.sub(rf"\1{REDACTED}", text)


def mask_value(name: str, value: object, *, secret: bool = False) -> str:
    """Return a setting's value as text for people: secrets masked, lists and numbers readable.

    Args:
        name: The last part of the setting's path; ``url`` makes a secret show its host.
        value: What was set.
        secret: Whether the value's type says that it is a secret.
    """
    if value is None:
        return "(not set)"
    if secret or isinstance(value, SecretStr) or is_sensitive(name):
        return _mask_secret(name, value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(mask_value(name, item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={mask_value(str(key), inner)}" for key, inner in value.items())
    return mask_text(str(value))


def quote(name: str, value: object, *, secret: bool) -> str:
    """Return a rejected value for an error message: quoted if text, shortened, secrets masked."""
    if value is None or (not value and isinstance(value, list | tuple | Mapping)):
        return "nothing"
    if isinstance(value, str) and not secret and value.lstrip().startswith(("{", "[")):
        return f"{value.lstrip()[0]}…"  # JSON can hide a secret anywhere
    shown = mask_value(name, value, secret=secret)
    if len(shown) > _LONGEST:
        shown = shown[:_LONGEST] + "…"
    if isinstance(value, str) and shown != REDACTED:
        return repr(shown)
    return shown if shown.isprintable() else repr(shown)


def mask_fields(fields: Any) -> Any:
    """Mask the pairs that pydantic prints in a model's ``repr``."""
    for name, value in fields:
        if isinstance(name, str) and isinstance(value, str):
            yield name, mask_value(name, value)
        elif isinstance(value, tuple) and any(isinstance(item, str) for item in value):
            yield name, tuple(mask_text(item) if isinstance(item, str) else item for item in value)
        elif isinstance(value, Mapping):
            yield name, dict(mask_fields(value.items()))
        else:
            yield name, value


def _mask_secret(name: str, value: object) -> str:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str) or name.rpartition("_")[2] != "url" or "://" not in text:
        return REDACTED
    masked = mask_text(text)
    return masked if _SCHEME.match(masked) else REDACTED
