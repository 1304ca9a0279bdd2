"""Call other services over HTTP: httpx with spans, propagation, retries and circuit breakers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glam_sdk._internal.lazy import lazy_exports

if TYPE_CHECKING:
    from glam_sdk.client.circuit import CircuitPolicy, CircuitState
    from glam_sdk.client.errors import raise_for_upstream
    from glam_sdk.client.http import http_client
    from glam_sdk.client.retry import RetryPolicy
    from glam_sdk.client.transport import TelemetryTransport
    from glam_sdk.errors import classify_http_error

__all__ = [
    "CircuitPolicy",
    "CircuitState",
    "RetryPolicy",
    "TelemetryTransport",
    "classify_http_error",
    "http_client",
    "raise_for_upstream",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "CircuitPolicy": "glam_sdk.client.circuit",
        "CircuitState": "glam_sdk.client.circuit",
        "RetryPolicy": "glam_sdk.client.retry",
        "TelemetryTransport": "glam_sdk.client.transport",
        "classify_http_error": "glam_sdk.errors",
        "http_client": "glam_sdk.client.http",
        "raise_for_upstream": "glam_sdk.client.errors",
    },
)
