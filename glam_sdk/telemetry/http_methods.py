"""Name a request's method the same way at both ends (OpenTelemetry HTTP conventions)."""

from __future__ import annotations

from glam_sdk.telemetry import conventions as conv


def known_method(method: str) -> str:
    """Return the method, or ``_OTHER`` for one no standard names: a client must not make series."""
    return method if method in conv.HTTP_KNOWN_METHODS else conv.HTTP_METHOD_OTHER


def span_method(method: str) -> str:
    """Return how the span's name begins; ``HTTP`` for an unknown method."""
    return "HTTP" if method == conv.HTTP_METHOD_OTHER else method
