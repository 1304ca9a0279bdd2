"""Replace secrets by a marker that never echoes what it hides."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_plus, urlsplit, urlunsplit

REDACTED: Final = "REDACTED"

# Borders of words in camelCase, PascalCase with acronyms, kebab-case, dotted.names and a[b].
_BORDER: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")
# Secret wherever they stand in a name, also run together: userpassword, X-ApiKey, DB_PASSWORD2.
_ANYWHERE: Final = re.compile(
    r"password|passwd|passphrase|passcode|secret(?!ar)|apikey|privatekey|accesskey|signingkey"
    r"|encryptionkey|authorization|credential|cardnumber|(?:access|auth|refresh|session|api)token"
)
# Secret only as whole words: a tokenizer, a pinot and a cookiecutter are none.
_WORD: Final = re.compile(
    r"(?:^|_)(pwd|token|jwt|bearer|cookie|session_?id|signature|otp|totp|cvv|cvc|ssn|creds?"
    r"|(?<=_)pass$)s?\d*(?:_|$)"
)
# What is known about a secret, rather than the secret.
_SAFE: Final = re.compile(
    r"(?:^|_)(?:(?:tokens?|passwords?|secrets?|cookies?|signatures?|credentials?)_(?:count|type|name"
    r"|length|size|limit|budget|usage|used|ttl|age|policy|algorithm|version|consent|required|present"
    r"|enabled|valid|expir\w*|\w+_at)"
    r"|(?:max|min|num|prompt|completion|input|output|total|cached)_tokens)$"
)
_LONGEST_CACHED: Final = 128
# Names that are secret in a URL and harmless elsewhere: OAuth codes and signed links.
_SENSITIVE_IN_QUERY: Final = frozenset({"code", "sig", "auth", "key", "state", "ticket", "jwt"})
# User and password before a host: what ends with "@" in the authority, or, in a password that was
# not percent-encoded, what stands after something that cannot be a port. Another "@" behind it may
# be the real end.
_CREDENTIALS: Final = re.compile(
    r"""(?<=://)(?:[^/\s?\#"'<>]*@|[^/\s?\#"'<>@:]*:(?!\d+(?:[/?\#,\s"']|$))[^\s"'<>@]{1,256}@)"""
    r"""(?:[^\s"'<>,]{0,256}@)?"""
)
_HOST: Final = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::\d*)?")
_NEXT_URL: Final = re.compile(r",(?=[A-Za-z][A-Za-z0-9+.\-]*://)")


def secret_rule(key: str) -> str | None:
    """Return the word that makes a key's value a secret, such as ``password``, or None."""
    return _cached_rule(key) if len(key) <= _LONGEST_CACHED else _find_rule(key)


def _find_rule(key: str) -> str | None:
    name = _BORDER.sub("_", key).lower()
    found = _ANYWHERE.search(name.replace("_", ""))
    word = found[0] if found else None
    if word is None and (found := _WORD.search(name)):
        word = found[1]
    return None if word is None or _SAFE.search(name) else word


_cached_rule = lru_cache(maxsize=4096)(_find_rule)


def is_sensitive(key: str) -> bool:
    """Tell whether a key names a secret, such as ``password`` or ``X-Api-Key``."""
    return secret_rule(key) is not None


def redact_query(query: str) -> str:
    """Replace the values of sensitive keys in a URL query; the rest stays as it was sent."""
    if "=" not in query:
        return query
    return "&".join(_redact_pairs(part) for part in query.split("&"))


def _redact_pairs(part: str) -> str:
    """Redact in what stands between two ``&``: a pair, or several in the old ``;`` notation."""
    shown: list[str] = []
    for pair in part.split(";"):
        name, equals, _ = pair.partition("=")
        plain = unquote_plus(name)
        if equals and (is_sensitive(plain) or plain.lower() in _SENSITIVE_IN_QUERY):
            # Whatever follows may be the rest of the secret: a semicolon need not be encoded.
            return ";".join([*shown, f"{name}={REDACTED}"])
        shown.append(pair)
    return part


def redact_url(url: str) -> str:
    """Replace user, password and sensitive query values in a URL.

    The credentials become ``REDACTED:REDACTED@`` (OpenTelemetry ``url.full``). A URL that cannot be
    read is replaced whole.
    """
    if "," in url and len(several := _NEXT_URL.split(url)) > 1:
        return ",".join(redact_url(one) for one in several)
    try:
        parts = urlsplit(url)
    except ValueError:
        return REDACTED
    # A password with a bare "/", "?" or "#" ends the authority early: what seems a port is none.
    if not all(map(_HOST.fullmatch, parts.netloc.rpartition("@")[2].split(","))):
        return REDACTED
    if "@" in parts.netloc:
        # A second "@" may be part of the path, or the end of a password with an "@" in it.
        scheme, rest = url.partition("//")[0], url.rpartition("@")[2]
        return _redact_parameters(f"{scheme}//{REDACTED}:{REDACTED}@{rest}")
    if "@" in url and not parts.netloc:
        return f"{REDACTED}@{_redact_parameters(url.rpartition('@')[2])}"
    return _redact_parameters(url) if parts.query or parts.fragment else url


def _redact_parameters(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(
        parts._replace(query=redact_query(parts.query), fragment=redact_query(parts.fragment))
    )


def redact_text(text: str) -> str:
    """Replace user and password of every URL in a text."""
    return _CREDENTIALS.sub(f"{REDACTED}:{REDACTED}@", text)
