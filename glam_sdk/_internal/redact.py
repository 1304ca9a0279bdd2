"""Replace secrets by a marker that never echoes what it hides."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus, urlsplit, urlunsplit

REDACTED: Final = "REDACTED"

_WORDS: Final = (
    "password|passwd|pwd|passphrase|secret|token|api[-_]?key|authorization|cookie|session[-_]?id|"
    "signature|credentials?|private[-_]?key|access[-_]?key|otp|cvv"
)
_EDGE_BEFORE: Final = r"(?:^|[-_.]|(?<=[a-z])(?=[A-Z]))"
_EDGE_AFTER: Final = r"(?:$|[-_.]|(?<=[a-z])(?=[A-Z]))"
# The words in any case, but the borders of camelCase words only where the case really changes.
_SENSITIVE_KEY: Final = re.compile(f"{_EDGE_BEFORE}(?i:{_WORDS}){_EDGE_AFTER}")
# Names that are secret in a URL and harmless elsewhere: OAuth codes and signed links.
_SENSITIVE_IN_QUERY: Final = frozenset({"code", "sig", "auth", "key", "state", "ticket", "jwt"})
_QUERY_PAIR: Final = re.compile(r"([^=&;?]+)=([^&;]*)")


def is_sensitive(key: str) -> bool:
    """Tell whether a key names a secret, such as ``password`` or ``X-Api-Key``."""
    return _SENSITIVE_KEY.search(key) is not None


def redact_query(query: str) -> str:
    """Replace the values of sensitive keys in a URL query; the rest stays as it was sent."""
    if "=" not in query:
        return query
    return _QUERY_PAIR.sub(_redact_pair, query)


def _redact_pair(pair: re.Match[str]) -> str:
    name = unquote_plus(pair[1])
    if name.lower() in _SENSITIVE_IN_QUERY or is_sensitive(name):
        return f"{pair[1]}={REDACTED}"
    return pair[0]


def redact_url(url: str) -> str:
    """Replace user, password and sensitive query values in a URL.

    The credentials become ``REDACTED:REDACTED@`` (OpenTelemetry ``url.full``).
    """
    try:
        parts = urlsplit(url)
        has_credentials = "@" in parts.netloc
    except ValueError:
        return REDACTED
    if not has_credentials and not parts.query:
        return url
    netloc = parts.netloc
    if has_credentials:
        netloc = f"{REDACTED}:{REDACTED}@{netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=netloc, query=redact_query(parts.query)))
