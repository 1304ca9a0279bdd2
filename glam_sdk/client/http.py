"""Make the httpx client a service calls others with."""

from __future__ import annotations

from typing import Any, Final

import httpx

from glam_sdk.client.transport import TelemetryTransport

DEFAULT_TIMEOUT: Final = httpx.Timeout(10.0, connect=2.0)


def http_client(
    base_url: str = "",
    *,
    timeout: httpx.Timeout | float = DEFAULT_TIMEOUT,
    transport: httpx.AsyncBaseTransport | None = None,
    **options: Any,
) -> httpx.AsyncClient:
    """Return an ``httpx.AsyncClient`` whose every request is a CLIENT span that goes on the wire.

    Args:
        base_url: Joined with the relative URLs of requests.
        timeout: Seconds; 10 for each step by default, 2 to connect.
        transport: What really sends; httpx's own by default.
        **options: Further arguments of ``httpx.AsyncClient``.
    """
    pool = {name: options.pop(name) for name in _POOL_OPTIONS if name in options}
    inner = transport or httpx.AsyncHTTPTransport(**pool)
    return httpx.AsyncClient(
        base_url=base_url,
        timeout=timeout,
        transport=TelemetryTransport(inner),
        **options,
    )


_POOL_OPTIONS: Final = ("verify", "cert", "http1", "http2", "limits")
