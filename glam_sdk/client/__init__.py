"""Call other services over HTTP: httpx with spans, propagation, metrics and timeouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glam_sdk._internal.lazy import lazy_exports

if TYPE_CHECKING:
    from glam_sdk.client.http import http_client
    from glam_sdk.client.transport import TelemetryTransport

__all__ = ["TelemetryTransport", "http_client"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "TelemetryTransport": "glam_sdk.client.transport",
        "http_client": "glam_sdk.client.http",
    },
)
